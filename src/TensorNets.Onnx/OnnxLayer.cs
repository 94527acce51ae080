using Onnx;

namespace TensorNets.Onnx;

/// <summary>A convolution or matrix product of a graph with the weight that it reads: what can be compressed, or why it cannot.</summary>
/// <param name="Path">The name of its first node; of a node without a name of its own, the name of its first output.</param>
/// <param name="Operator">The operator, such as <c>Conv</c>.</param>
/// <param name="Shape">The shape of the weight as the file has it; empty where the weight is not in the file.</param>
/// <param name="Parameters">Entries of the weight, of integers too that DequantizeLinear restores.</param>
/// <param name="Geometry">Channels, kernel, steps and groups; null where it has none that the
/// library knows. The padding of <c>auto_pad</c>, which depends on the size of the input, is not in it.</param>
/// <param name="Kept">Why the layer stays as it is; empty where it can be compressed.</param>
public sealed record OnnxLayer(
    string Path,
    string Operator,
    IReadOnlyList<long> Shape,
    long Parameters,
    ConvGeometry? Geometry,
    string Kept)
{
    /// <summary>ONNX's name of the type of the weight's entries; empty where the weight is not in the file.</summary>
    internal string DType { get; init; } = "";

    /// <summary>The name of the weight in the graph.</summary>
    internal string Weight { get; init; } = "";

    /// <summary>The nodes that apply it, in the order of the graph.</summary>
    internal IReadOnlyList<NodeProto> Nodes { get; init; } = [];

    /// <summary>The input that the nodes apply the weight to: 0, or 1 where the weight stands on the left.</summary>
    internal int Applied { get; init; }

    /// <summary>Whether the weight's rows are input features.</summary>
    internal bool InFirst { get; init; }

    /// <summary>The shape of an input with the channels of a product last, or such a shape as the nodes take it.</summary>
    internal long[] Turned(IReadOnlyList<long> shape) =>
        Applied == 1 && shape.Count > 1 ? [.. shape.SkipLast(2), shape[^1], shape[^2]] : [.. shape];
}
