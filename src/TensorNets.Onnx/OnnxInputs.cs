using Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>Inputs of models: a tensor for each name.</summary>
public static class OnnxInputs
{
    /// <summary>Names and shapes of what a model has to be given; −1 stands for a size that the file leaves open.</summary>
    /// <param name="model">The model.</param>
    /// <returns>The shapes in the order of the graph.</returns>
    /// <example><code>var shapes = OnnxInputs.Shapes(model);</code></example>
    public static IReadOnlyList<KeyValuePair<string, IReadOnlyList<long>>> Shapes(OnnxModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return [.. Given(model).Select(input => KeyValuePair.Create<string, IReadOnlyList<long>>(input.Name, Shape(input)))];
    }

    // The type of the numbers of each input; null: it holds something else.
    internal static IReadOnlyDictionary<string, ScalarType?> Types(OnnxModel model) =>
        Given(model).ToDictionary(input => input.Name, input => TensorData.TypeOf(input.Type?.TensorType?.ElemType ?? 0));

    private static IEnumerable<ValueInfoProto> Given(OnnxModel model) =>
        model.Proto.Graph.Input.Where(input => !model.Index.Constants.ContainsKey(input.Name) && !model.Index.Sparse.Contains(input.Name));

    private static long[] Shape(ValueInfoProto input) => [.. (input.Type?.TensorType?.Shape?.Dim ?? [])
        .Select(dim => dim.HasDimValue && dim.DimValue >= 0 ? dim.DimValue : -1)];

    /// <summary>Noise from the normal distribution for every input; zeros where an input holds whole numbers.</summary>
    /// <param name="model">The model.</param>
    /// <param name="shapes">Shapes of inputs by name. Where none is given, that of the file holds, with one for an open first
    /// size.</param>
    /// <param name="seed">The seed of the noise.</param>
    /// <returns>A tensor for each input; the caller owns them.</returns>
    /// <exception cref="TensorNetException"><c>Unsupported</c> for an input of an open size or no numbers.</exception>
    /// <example><code>var inputs = OnnxInputs.Noise(model, seed: 2);</code></example>
    public static IReadOnlyDictionary<string, Tensor> Noise(OnnxModel model, IReadOnlyDictionary<string, long[]>? shapes = null,
        ulong seed = 1)
    {
        ArgumentNullException.ThrowIfNull(model);
        using var generator = new Generator(seed);
        var known = Given(model).Select(input => input.Name).ToList();
        if (shapes?.Keys.FirstOrDefault(name => !known.Contains(name)) is { } stranger)
        {
            throw Errors.Unsupported("The name of an input", stranger, string.Join(", ", known));
        }

        var problems = Given(model).Select(input => Problem(input, Wanted(input, shapes))).OfType<TensorNetError>().ToList();
        if (problems.Count > 0) throw new TensorNetException(problems);
        return Given(model).ToDictionary(input => input.Name, input => Drawn(input, Wanted(input, shapes), generator));
    }

    private static long[] Wanted(ValueInfoProto input, IReadOnlyDictionary<string, long[]>? shapes)
    {
        if (shapes is not null && shapes.TryGetValue(input.Name, out var own)) return own;
        var shape = Shape(input);
        if (shape.Length > 1 && shape[0] == -1) shape[0] = 1;
        return shape;
    }

    private static TensorNetError? Problem(ValueInfoProto input, long[] shape) =>
        input.Type?.TensorType is not { } type || TensorData.TypeOf(type.ElemType) is null
            ? TensorNetError.NewUnsupported($"Input '{input.Name}'", $"{input.Type?.ValueCase}", "a tensor of numbers")
            : shape.Any(size => size < 0) || shape.Aggregate(1.0, (n, size) => n * size) > int.MaxValue
            ? TensorNetError.NewUnsupported($"The shape of input '{input.Name}'", Errors.Shape(shape),
                "given (in the tool by --input), with a number for each size that is open (-1)")
            : null;

    private static Tensor Drawn(ValueInfoProto input, long[] shape, Generator generator)
    {
        var type = TensorData.TypeOf(input.Type.TensorType.ElemType)!.Value;
        if (!TensorData.IsReal(input.Type.TensorType.ElemType)) return zeros(shape, dtype: type, device: CPU);
        using var noise = randn(shape, dtype: ScalarType.Float32, device: CPU, generator: generator);
        return noise.to(type, copy: true);
    }
}
