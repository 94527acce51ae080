using System.Globalization;
using Microsoft.FSharp.Collections;

namespace TensorNets.Onnx;

/// <summary>How far a value of one model is from that of another.</summary>
/// <param name="Name">The output, or the path of the layer.</param>
/// <param name="Relative">‖difference‖ / ‖original‖ over all batches.</param>
/// <param name="Predicted">‖K − T‖ / ‖K‖ of the layer's kernel, as it was compressed; NaN where it is not known.</param>
public sealed record OnnxError(string Name, double Relative, double Predicted);

/// <summary>Times of one run of two models, medians over pairs.</summary>
/// <param name="Before">Milliseconds of the original.</param>
/// <param name="After">Milliseconds of the other.</param>
/// <param name="Ratio">The median of the ratio of after to before, pair by pair.</param>
public sealed record OnnxTimes(double Before, double After, double Ratio);

/// <summary>One model held against another in ONNX Runtime.</summary>
/// <param name="Relative">‖difference‖ / ‖original‖ of all outputs together.</param>
/// <param name="Outputs">Each output.</param>
/// <param name="Layers">Each layer that was replaced, applied to what the original layer is applied to.</param>
/// <param name="Times">How long both take; null where that was not asked for.</param>
public sealed record OnnxComparison(double Relative, IReadOnlyList<OnnxError> Outputs, IReadOnlyList<OnnxError> Layers, OnnxTimes? Times)
{
    /// <summary>Outputs, layers and times as a table.</summary>
    public override string ToString()
    {
        static string Number(double value) => double.IsNaN(value) ? "" : value.ToString("G3", CultureInfo.InvariantCulture);
        static FSharpList<string> Row(string kind, OnnxError error) =>
            ListModule.OfSeq([kind, error.Name, Number(error.Relative), Number(error.Predicted)]);
        var table = TextTable.write(
            ListModule.OfSeq(["", "name", "relative error", "kernel error"]),
            ListModule.OfSeq(Outputs.Select(output => Row("output", output)).Concat(Layers.Select(layer => Row("layer", layer)))));
        return Times is null ? table : string.Create(
            CultureInfo.InvariantCulture, $"{table}\n{Times.Before:F2} ms before, {Times.After:F2} ms after: {Times.Ratio:F2} of it");
    }
}
