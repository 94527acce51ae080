using System.Diagnostics;
using Microsoft.ML.OnnxRuntime;

namespace TensorNets.Onnx;

/// <summary>A session with its inputs at hand, to be timed.</summary>
internal sealed class PreparedRun(InferenceSession session, Dictionary<string, OrtValue> inputs) : IDisposable
{
    private readonly RunOptions options = new();

    /// <summary>Runs once; the milliseconds that it takes.</summary>
    internal double Run()
    {
        var from = Stopwatch.GetTimestamp();
        using var results = session.Run(options, inputs, session.OutputNames);
        return Stopwatch.GetElapsedTime(from).TotalMilliseconds;
    }

    public void Dispose()
    {
        options.Dispose();
        foreach (var value in inputs.Values) value.Dispose();
    }
}
