using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

public sealed partial class OnnxModel
{
    /// <summary>Values that are asked of ONNX Runtime at once: no more are held in memory side by side.</summary>
    private const int Portion = 16;

    /// <summary>The layers as a source of kernels, to be planned and compressed as those of a model are.</summary>
    /// <param name="inputs">Inputs of the model by name, such as <see cref="OnnxInputs.Noise"/>; the model is run once, for the shapes of
    /// what its layers are applied to. Null: every layer counts as applied at one position.</param>
    /// <returns>The source, which reads the numbers of this model when they are asked for. Biases count as other parameters.</returns>
    /// <exception cref="TensorNetException">ONNX Runtime refuses the model or the inputs.</exception>
    /// <example><code>var source = model.Source(OnnxInputs.Noise(model));</code></example>
    public LayerSource Source(IReadOnlyDictionary<string, Tensor>? inputs = null)
    {
        var shapes = inputs is null ? [] : Shapes(inputs);
        var layers = Weighted.Select(layer => SourceOf(layer, shapes)).ToList();
        return new(layers, Parameters - Weighted.Sum(layer => layer.Parameters), OfFirst(inputs));
    }

    /// <summary>The layers whose geometry is known.</summary>
    private IEnumerable<OnnxLayer> Weighted => Layers.Where(layer => layer.Geometry is not null);

    private IReadOnlyList<long> OfFirst(IReadOnlyDictionary<string, Tensor>? inputs) =>
        inputs is not null && OnnxInputs.Shapes(this) is [var first, ..] && inputs.TryGetValue(first.Key, out var tensor) ? tensor.shape
            : [];

    /// <summary>The shapes of what layers are applied to.</summary>
    private Dictionary<string, long[]> Shapes(IReadOnlyDictionary<string, Tensor> inputs)
    {
        var shapes = new Dictionary<string, long[]>();
        Watch(Weighted, [inputs], (value, tensor) => shapes[value] = tensor.shape);
        return shapes;
    }

    /// <summary>Runs inputs through the model and shows what layers are applied to, value by value.</summary>
    internal void Watch(IEnumerable<OnnxLayer> layers, IEnumerable<IReadOnlyDictionary<string, Tensor>> batches, Action<string, Tensor> see)
    {
        var values = layers.SelectMany(layer => layer.Nodes.Select(node => node.Input[layer.Applied])).Distinct().ToList();
        if (values.Count == 0) return;
        var given = Proto.Graph.Input.Select(input => input.Name).ToHashSet();
        var made = values.Where(value => !given.Contains(value)).ToList();
        using var session = new OnnxSession(Proto, Path, made);
        foreach (var batch in batches)
        {
            foreach (var value in values.Where(given.Contains).Where(batch.ContainsKey)) see(value, batch[value]);
            foreach (var portion in made.Chunk(Portion))
            {
                using var scope = NewDisposeScope();
                foreach (var (value, tensor) in session.Run(batch, portion)) see(value, tensor);
            }
        }
    }

    private SourceLayer SourceOf(OnnxLayer layer, Dictionary<string, long[]> shapes)
    {
        var inputs = layer.Nodes.Select(node => shapes.GetValueOrDefault(node.Input[layer.Applied])).OfType<long[]>()
            .Select(shape => shape.Length == 1 ? [1, .. shape] : layer.Turned(shape)).ToList();
        var geometry = inputs.Count > 0 ? NodeGeometry.Padded(layer, inputs[0]) : layer.Geometry!;
        if (inputs.Count == 0) inputs.Add([.. SourceLayerModule.smallestInput(geometry)]);
        return new(
            layer.Path,
            layer.Operator,
            geometry,
            inputs,
            layer.Kept,
            FuncConvert.FromFunc(() => FSharpResult<Tensor, FSharpList<TensorNetError>>.NewOk(Weight(layer))),
            FSharpOption<FSharpFunc<Unit, FSharpResult<Tensor, FSharpList<TensorNetError>>>>.None);
    }

    /// <summary>The weight of a layer as TorchSharp's layers have it; the caller owns it.</summary>
    internal Tensor Weight(OnnxLayer layer)
    {
        var weight = TensorData.Read(Index.Constants[layer.Weight]);
        if (!layer.InFirst) return weight;
        using var scope = NewDisposeScope();
        using (weight) return weight.mT.contiguous().MoveToOuterDisposeScope();
    }

    private static RunningMoment Moment(OnnxLayer layer) =>
        new SecondMoment($"The input of '{layer.Path}'", layer.Applied == 1 ? 2 : layer.Geometry!.Kernel.Length + 1);

    /// <summary>Σ of what layers without groups are applied to: the mean of x xᵀ over all positions, in float64, from inputs run through
    /// the model in ONNX Runtime, by which plans and fits weigh errors.</summary>
    /// <param name="batches">Inputs by name, batch by batch.</param>
    /// <param name="mostChannels">The most channels of a layer, for which Σ takes 8 bytes times their square.</param>
    /// <returns>Σ by the paths of layers, channels × channels; the caller owns them.</returns>
    /// <exception cref="TensorNetException">ONNX Runtime refuses the model or a batch; what a layer is applied to is not
    /// finite.</exception>
    /// <example><code>var sigmas = model.Covariances([OnnxInputs.Noise(model)]);</code></example>
    public IReadOnlyDictionary<string, Tensor> Covariances(IEnumerable<IReadOnlyDictionary<string, Tensor>> batches,
        long mostChannels = 4096)
    {
        ArgumentNullException.ThrowIfNull(batches);
        var layers = Layers.Where(layer => layer is { Kept: "", Geometry: { Groups: 1 } g } && g.InChannels <= mostChannels).ToList();
        var sums = layers.ToDictionary(layer => layer.Path, Moment);
        var readers = layers.SelectMany(layer => layer.Nodes.Select(node => (Value: node.Input[layer.Applied], layer.Path)))
            .ToLookup(pair => pair.Value, pair => pair.Path);
        try
        {
            Watch(layers, batches, (value, tensor) =>
            {
                foreach (var path in readers[value]) sums[path].Add(tensor);
            });
            return sums.Where(pair => pair.Value.IsReached).ToDictionary(pair => pair.Key, pair => pair.Value.Mean().OrThrow());
        }
        finally
        {
            foreach (var sum in sums.Values) sum.Dispose();
        }
    }
}
