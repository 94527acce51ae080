using TensorNets.Onnx;
using TensorNets.Tool.Files;

namespace TensorNets.Tool.Output;

/// <summary>How the written file runs, held against the original in ONNX Runtime on one thread.</summary>
/// <param name="Inputs"><c>noise</c>, or the folder of the inputs.</param>
/// <param name="OutputError">‖difference‖ / ‖original‖ of all outputs together.</param>
/// <param name="Outputs">The same of each output.</param>
/// <param name="Layers">The same of each layer that was replaced, applied to what the original layer is applied to.</param>
/// <param name="Milliseconds">The median time of the written file.</param>
/// <param name="DenseMilliseconds">That of the original.</param>
/// <param name="TimeRatio">The median of the ratio of both, pair by pair.</param>
internal sealed record Verified(
    string Inputs,
    double OutputError,
    IReadOnlyList<OutputLine> Outputs,
    IReadOnlyList<OutputLine> Layers,
    double Milliseconds,
    double DenseMilliseconds,
    double TimeRatio)
{
    /// <summary>A ratio of times that says more than noise.</summary>
    private const double Slower = 1.1;

    /// <summary>The name and version of this object's form.</summary>
    public string Schema => "tensornets.run/1";

    internal static Verified Of(OnnxComparison found, Inputs inputs) => new(
        inputs.Data == "" ? "noise" : inputs.Data,
        found.Relative,
        [.. found.Outputs.Select(OutputLine.Of)],
        [.. found.Layers.Select(OutputLine.Of)],
        found.Times?.After ?? double.NaN,
        found.Times?.Before ?? double.NaN,
        found.Times?.Ratio ?? double.NaN);

    /// <summary>A line for people.</summary>
    public override string ToString() =>
        $"In ONNX Runtime, one thread, on {Inputs}: outputs differ by {Text.Real(OutputError)} of their size, "
        + $"{Text.Real(Milliseconds)} ms for {Text.Real(DenseMilliseconds)} ms ({Text.Real(TimeRatio)} of it, the median of pairs)."
        + (TimeRatio > Slower ? " It is slower than it was: a budget of time, as --latency 1.2, leaves layers dense that gain none." : "");
}

/// <summary>How far an output, or what a layer gives, is from the original.</summary>
/// <param name="Name">The name of the output or layer.</param>
/// <param name="Error">‖difference‖ / ‖original‖.</param>
/// <param name="KernelError">‖K − T‖ / ‖K‖ of the layer's kernel; null of outputs.</param>
internal sealed record OutputLine(string Name, double Error, double KernelError)
{
    internal static OutputLine Of(OnnxError found) => new(found.Name, found.Relative, found.Predicted);
}
