using TensorNets.CSharp;
using TensorNets.Onnx;
using TensorNets.Tool.Output;
using static TorchSharp.torch;

namespace TensorNets.Tool.Files;

/// <summary>An ONNX file: layers with all that is known of them.</summary>
internal sealed class GraphFile(string path) : NetworkFile(path)
{
    private readonly Lazy<OnnxModel> _model = new(() => OnnxModel.Load(path));

    internal override string Format => "onnx";

    internal override bool KnowsOrder => true;

    private protected override string Ending => ".onnx";

    internal override FileReport Report()
    {
        var model = _model.Value;
        var chains = ChainedLayer.Of(model).SelectMany(replaced => replaced.Nodes.Select(node => (Node: node, Layer: replaced)))
            .DistinctBy(pair => pair.Node).ToDictionary(pair => pair.Node, pair => pair.Layer);
        // Nodes of one chain are one layer, where the first of them stands.
        var layers = model.Layers.GroupBy(layer => (object?)chains.GetValueOrDefault(layer.Path) ?? layer)
            .Select(Line).ToList();
        var others = model.Parameters - layers.Sum(layer => layer.Parameters);
        return new(Path, Format, Bytes, model.Parameters, [.. layers, LayerLine.NoLayer("(in no layer)", "", [], "", others)]);
    }

    private static LayerLine Line(IGrouping<object, OnnxLayer> group)
    {
        if (group.Key is ChainedLayer replaced) return LayerLine.Of(replaced, group.Sum(layer => layer.Parameters));
        var layer = group.First();
        return LayerLine.Unfactorized(layer.Path, layer.Operator, layer.Shape, "", layer.Parameters, layer.Kept);
    }

    internal override IReadOnlyList<StoredLayer> FactorizedLayers() =>
        throw new ToolException(
            $"'{Path}' is an .onnx file, whose factorized layers are chains of nodes",
            "tensornets inspect lists S as it was when each layer was made");

    internal override LayerSource Source(Inputs inputs)
    {
        using var scope = NewDisposeScope();
        return _model.Value.Source(Batches(inputs).First());
    }

    internal override IReadOnlyDictionary<string, Tensor>? Covariances(Inputs inputs) =>
        inputs.Data == "" ? null : _model.Value.Covariances(Batches(inputs));

    internal override Func<PlannedLayer, IReadOnlyList<PlanCandidate>, IReadOnlyList<double>> CandidateTimes() =>
        OnnxVerify.CandidateTimes(_model.Value);

    internal override QuantizeSettings? Quantize(int? bits)
    {
        if (bits is { } found) _model.Value.CheckBits(found);
        return base.Quantize(bits);
    }

    internal override void Check(CompressionPlan plan) => _model.Value.Check(plan);

    internal override void Save(string output, CompressionPlan plan, CompressReport report) =>
        _model.Value.With(report, plan, integers: true).Save(output);

    internal override Verified? Verify(string output, Inputs inputs) =>
        Verified.Of(Compare(OnnxModel.Load(output), inputs, pairs: 11), inputs);

    /// <summary>This network against another one in ONNX Runtime.</summary>
    internal OnnxComparison Compare(GraphFile other, Inputs inputs) => Compare(other._model.Value, inputs, pairs: 21);

    private OnnxComparison Compare(OnnxModel other, Inputs inputs, int pairs)
    {
        using var scope = NewDisposeScope();
        return OnnxVerify.Compare(_model.Value, other, [.. Batches(inputs)], threads: 1, pairs: pairs);
    }

    private IEnumerable<IReadOnlyDictionary<string, Tensor>> Batches(Inputs inputs)
    {
        var names = OnnxInputs.Shapes(_model.Value).Select(input => input.Key).ToList();
        return inputs.Data != "" ? DataFolder.Read(inputs.Data, names) : [OnnxInputs.Noise(_model.Value, inputs.Shapes(names[0]))];
    }
}
