namespace TensorNets.Tool.Output;

/// <summary>What is in a file, layer by layer.</summary>
/// <param name="File">The path as it was given.</param>
/// <param name="Format"><c>safetensors</c>, <c>pth</c> or <c>onnx</c>.</param>
/// <param name="Bytes">The size of the file.</param>
/// <param name="Parameters">Numbers in all tensors.</param>
/// <param name="Layers">What the numbers belong to.</param>
internal sealed record FileReport(string File, string Format, long Bytes, long Parameters, IReadOnlyList<LayerLine> Layers)
{
    /// <summary>The name and version of this object's form.</summary>
    public string Schema => "tensornets.inspect/1";

    /// <summary>How many layers are dense and can be factorized.</summary>
    public int Factorizable => Layers.Count(layer => layer.IsFactorizable);

    /// <summary>The parameters of those.</summary>
    public long FactorizableParameters => Layers.Where(layer => layer.IsFactorizable).Sum(layer => layer.Parameters);
}

/// <summary>A layer of a file, or a tensor that is in none.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Kind">What it is, such as Conv2d.</param>
/// <param name="Shape">The shape of its weight, dense.</param>
/// <param name="DType">The dtype of its numbers.</param>
/// <param name="Parameters">How many they are.</param>
/// <param name="State"><c>dense</c>: it can be factorized; <c>factorized</c>; <c>kept</c>: it cannot, or is no layer.</param>
/// <param name="Network">The format and ranks of a factorized layer, or why one is kept.</param>
/// <param name="Error">‖K − T‖ / ‖K‖ when a factorized layer was made.</param>
internal sealed record LayerLine(
    string Name, string Kind, IReadOnlyList<long> Shape, string DType, long Parameters, string State, string Network, double Error)
{
    /// <summary>S in the layer's norm when a factorized layer was made; null where the file does not say it.</summary>
    public double Sensitivity { get; init; } = double.NaN;

    /// <summary>Whether it is dense and can be factorized.</summary>
    internal bool IsFactorizable => State == "dense";

    /// <summary>A layer whose place a chain of nodes has taken, with the numbers that the chain holds.</summary>
    internal static LayerLine Of(Onnx.ChainedLayer layer, string dtype, long parameters) =>
        new(layer.Path, layer.Operator, layer.Shape, dtype, parameters, "factorized", layer.Network, layer.Error)
        {
            Sensitivity = layer.Sensitivity,
        };

    internal static LayerLine Of(SafeTensorEntry entry) =>
        NoLayer(entry.Name, "tensor", [.. entry.Shape], entry.DType.ToString(), Numbers(entry));

    internal static LayerLine Of(SourceLayer layer, TorchSharp.torch.ScalarType dtype) =>
        Unfactorized(layer.Path, layer.Kind, layer.Shape, dtype.ToString(), layer.Parameters, layer.Kept);

    internal static LayerLine Of(StoredLayer stored) => new(
        stored.Paths[0],
        stored.Kind,
        stored.Shape,
        stored.Layer.Factors[0].dtype.ToString(),
        stored.Layer.ParameterCount,
        "factorized",
        Text.Network(stored),
        stored.KernelError);

    /// <summary>A layer that is not factorized; <paramref name="kept"/> says why it cannot be, if it cannot.</summary>
    internal static LayerLine Unfactorized(
        string name, string kind, IReadOnlyList<long> shape, string dtype, long parameters, string kept) =>
        new(name, kind, shape, dtype, parameters, kept == "" ? "dense" : "kept", kept, double.NaN);

    /// <summary>What is in no layer.</summary>
    internal static LayerLine NoLayer(string name, string kind, IReadOnlyList<long> shape, string dtype, long parameters) =>
        new(name, kind, shape, dtype, parameters, "kept", "", double.NaN);

    /// <summary>How many numbers a tensor has.</summary>
    internal static long Numbers(SafeTensorEntry entry) => entry.Shape.Aggregate(1L, (product, size) => product * size);
}
