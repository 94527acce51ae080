using System.Diagnostics;
using Microsoft.ML.OnnxRuntime;

namespace TensorNets.Onnx;

/// <summary>A session with its inputs at hand, to be timed.</summary>
internal sealed class PreparedRun(InferenceSession session, Dictionary<string, OrtValue> inputs) : IDisposable
{
    /// <summary>Runs before times are taken.</summary>
    private const int WarmUp = 3;

    private readonly RunOptions options = new();

    /// <summary>Runs once; the milliseconds that it takes.</summary>
    private double Run()
    {
        var from = Stopwatch.GetTimestamp();
        using var results = session.Run(options, inputs, session.OutputNames);
        return Stopwatch.GetElapsedTime(from).TotalMilliseconds;
    }

    /// <summary>Times of this and another, one after the other in pairs.</summary>
    internal OnnxTimes Against(PreparedRun other, int pairs)
    {
        for (var i = 0; i < WarmUp; i++) (Run(), other.Run()).GetHashCode();
        var times = Enumerable.Range(0, pairs).Select(_ => (Before: Run(), After: other.Run())).ToList();
        return new(Median(times.Select(pair => pair.Before)), Median(times.Select(pair => pair.After)),
            Median(times.Select(pair => pair.After / pair.Before)));
    }

    private static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return (sorted[sorted.Count / 2] + sorted[(sorted.Count - 1) / 2]) / 2;
    }

    public void Dispose()
    {
        options.Dispose();
        foreach (var value in inputs.Values) value.Dispose();
    }
}
