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

    internal override bool IsGraph => true;

    private protected override string Ending => ".onnx";

    internal override FileReport Report()
    {
        var model = _model.Value;
        var layers = Chained().Select(Line).ToList();
        var all = model.Parameters + model.Integers;
        var others = all - layers.Sum(layer => layer.Parameters);
        return new(Path, Format, Bytes, all, [.. layers, LayerLine.NoLayer("(in no layer)", "", [], "", others)]);
    }

    /// <summary>The layers of the graph; nodes of one chain are one layer, where the first of them stands, by what the metadata say of
    /// it.</summary>
    private IEnumerable<IGrouping<object, OnnxLayer>> Chained()
    {
        var model = _model.Value;
        var chains = ChainedLayer.Of(model).SelectMany(replaced => replaced.Nodes.Select(node => (Node: node, Layer: replaced)))
            .DistinctBy(pair => pair.Node).ToDictionary(pair => pair.Node, pair => pair.Layer);
        return model.Layers.GroupBy(layer => (object?)chains.GetValueOrDefault(layer.Path) ?? layer);
    }

    private static LayerLine Line(IGrouping<object, OnnxLayer> group)
    {
        if (group.Key is ChainedLayer replaced)
        {
            var types = group.Select(layer => layer.DType).Where(type => type != "").Distinct();
            return LayerLine.Of(replaced, string.Join(", ", types), Parameters(group));
        }

        var layer = group.First();
        return LayerLine.Unfactorized(layer.Path, layer.Operator, layer.Shape, layer.DType, layer.Parameters, layer.Kept);
    }

    private static long Parameters(IEnumerable<OnnxLayer> chain) => chain.Sum(layer => layer.Parameters);

    internal override IReadOnlyList<LayerSensitivity> Sensitivities() =>
        [.. Chained().Where(group => group.Key is ChainedLayer)
            .Select(group => LayerSensitivity.Of((ChainedLayer)group.Key, Parameters(group)))];

    internal override LayerSource Source(Inputs inputs)
    {
        using var scope = NewDisposeScope();
        foreach (var batch in Batches(inputs)) return _model.Value.Source(batch);
        return _model.Value.Source();
    }

    internal override IReadOnlyDictionary<string, Tensor>? Covariances(Inputs inputs) =>
        inputs.Data == "" ? null : _model.Value.Covariances(Batches(inputs));

    internal override Func<PlannedLayer, IReadOnlyList<PlanCandidate>, IReadOnlyList<double>> CandidateTimes() =>
        OnnxVerify.CandidateTimes(_model.Value);

    internal override OnnxTimes Times(CompressionPlan plan, Inputs inputs)
    {
        foreach (var batch in Batches(inputs)) return OnnxVerify.PlanTimes(_model.Value, plan, batch);
        return base.Times(plan, inputs);
    }

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
        return OnnxVerify.Compare(_model.Value, other, Batches(inputs), threads: 1, pairs: pairs);
    }

    /// <summary>What the network is given, batch by batch; each is disposed when the next one is asked for.</summary>
    private IEnumerable<IReadOnlyDictionary<string, Tensor>> Batches(Inputs inputs)
    {
        var (shapes, types) = (OnnxInputs.Shapes(_model.Value), OnnxInputs.Types(_model.Value));
        var typed = inputs.Shapes(shapes.Select(input => input.Key).FirstOrDefault(""));
        if (inputs.Data == "") return DataFolder.Disposing(Enumerable.Range(0, 1).Select(_ => OnnxInputs.Noise(_model.Value, typed)));
        var given = shapes.Select(input => new GraphInput(input.Key, typed.GetValueOrDefault(input.Key) ?? input.Value, types[input.Key])
        {
            TakesFewer = input.Value is [< 0, ..],
        });
        return new DataFolder(inputs.Data, [.. given], inputs.Colours).Read();
    }
}
