using System.Text.Json.Nodes;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using Onnx;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

public sealed partial class OnnxModel
{
    /// <summary>The key of the model's metadata under which layers that were replaced stand, in JSON.</summary>
    internal const string MetadataKey = "tensornets.layers";

    private const int MetadataVersion = 1;

    private static readonly System.Text.Json.JsonDocumentOptions Once = new() { AllowDuplicateProperties = false };

    /// <summary>Refuses a plan some of whose formats or bits cannot be written as standard nodes.</summary>
    /// <param name="plan">A plan for the source of this model.</param>
    /// <exception cref="TensorNetException"><c>PathNotFound</c> for a layer that the model has not; <c>Unsupported</c>, naming the
    /// network.</exception>
    /// <example><code>model.Check(plan);</code></example>
    public void Check(CompressionPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        foreach (var planned in plan.Layers.Where(planned => planned.IsFactorized))
        {
            var geometry = Layer(planned.Path).Geometry!;
            LayerStages.check(geometry, PlanMaking.spec(planned.Choice.Axes, planned.Choice.Format, geometry).OrThrow()).OrThrow();
            if (planned.Choice.Bits > 0) CheckBits(planned.Choice.Bits);
        }
    }

    /// <summary>Refuses a model whose opset cannot be raised to the one that integers of so many bits need.</summary>
    /// <param name="bits">Bits of an entry, 2 to 8.</param>
    /// <exception cref="TensorNetException"><c>Unsupported</c>, naming a node that might mean something else there.</exception>
    /// <example><code>model.CheckBits(8);</code></example>
    public void CheckBits(int bits) => OpsetRaising.Check(Proto, OpsetRaising.For(bits), Path);

    private OnnxLayer Layer(string path) =>
        Layers.FirstOrDefault(layer => layer.Path == path && layer.Geometry is not null)
        ?? throw new TensorNetException([ModulePath.unknown(path, Layers.Select(layer => layer.Path))]);

    /// <summary>The model with what has been compressed in the place of its layers: for each a chain of standard nodes, named after the old
    /// one; weights that nothing reads any more are gone. Networks, errors, S and what the plan says of each layer stand
    /// in the metadata under <c>tensornets.layers</c>.</summary>
    /// <param name="report">What was compressed of the source of this model.</param>
    /// <param name="plan">The plan, from which the order of stages takes the sizes of inputs; null: any sizes.</param>
    /// <param name="dense">Paths of layers that stay dense after all, such as those that <see cref="OnnxVerify.LayerTimes"/> finds slower;
    /// null: none.</param>
    /// <param name="integers">Whether a layer that was rounded to integers keeps them: each core that is the weight of a node as int4 (2 to
    /// 4 bits; opset 21) or int8 (5 to 8 bits; opset 13) with scales along an axis and DequantizeLinear, whose values are the layer's to
    /// the bit. The opset is raised to that where it is lower. A core whose scales belong to groups of entries, and one that is applied
    /// together with others, is written in floating point. False: every core is.</param>
    /// <returns>The model; this one is not changed.</returns>
    /// <exception cref="TensorNetException"><c>PathNotFound</c>; <c>Unsupported</c> where a network cannot be written, which
    /// <see cref="Check"/> finds beforehand, or where the opset cannot be raised, which <see cref="CheckBits"/> finds.</exception>
    /// <example><code>model.With(report, plan).Save("smaller.onnx");</code></example>
    public OnnxModel With(
        CompressReport report, CompressionPlan? plan = null, IReadOnlyCollection<string>? dense = null, bool integers = false)
    {
        ArgumentNullException.ThrowIfNull(report);
        using var scope = NewDisposeScope();
        foreach (var path in dense ?? []) Layer(path);
        var inputs = plan?.Layers.ToDictionary(planned => planned.Path, planned => planned.Inputs.FirstOrDefault()) ?? [];
        var entries = plan is null ? [] : Entries(plan);
        return Replace([.. report.Layers.Where(made => dense?.Contains(made.Path) != true)
            .Select(made => Of(made, Layer(made.Path), inputs.GetValueOrDefault(made.Path), integers) with
            {
                Plan = entries.GetValueOrDefault(made.Path),
            })]);
    }

    /// <summary>A layer that was compressed, with what the metadata say of it.</summary>
    private static Replacement Of(CompressedLayer made, OnnxLayer layer, IReadOnlyList<long>? input, bool integers)
    {
        var network = made.Layer.Network();
        var readings = SensitivityPenalty.readings(made.Layer);
        return new(layer, network, input)
        {
            Format = $"{made.Layer.Spec}",
            Error = made.KernelError,
            Sensitivity = made.Sensitivity,
            Relative = readings.IsOk ? readings.ResultValue[0].Relative : double.NaN,
            Balanced = Gauge.leastIn(made.Layer.Norm, network).OrThrow(),
            Integers = integers ? LayerQuantization.current(made.Layer)?.Value : null,
        };
    }

    /// <summary>A layer as it is planned, with noise for cores whose kernel is about as large as the layer's own.</summary>
    internal Replacement Noise(PlannedLayer planned)
    {
        using var scope = NewDisposeScope();
        var layer = Layer(planned.Path);
        var spec = PlanMaking.spec(planned.Choice.Axes, planned.Choice.Format, planned.Geometry).OrThrow();
        var network = NetworkModule.random(ScalarType.Float32, 1, spec);
        network.Cores[0].mul_(Weight(layer).to(ScalarType.Float32).square().mean().sqrt());
        foreach (var core in network.Cores) core.MoveToOuterDisposeScope();
        return new(layer, network, planned.Inputs.FirstOrDefault());
    }

    /// <summary>The model with chains of standard nodes in the place of layers: what each network's stages are.</summary>
    internal OnnxModel Replace(IReadOnlyList<Replacement> networks)
    {
        using var scope = NewDisposeScope();
        var editor = new GraphEditor(Proto, new GraphIndex(Proto.Graph));
        if (networks.Min(replacement => replacement.Integers?.Bits) is { } least)
        {
            OpsetRaising.Raise(editor, OpsetRaising.For(least), Path);
        }

        var records = new JsonArray();
        foreach (var replacement in networks)
        {
            var (layer, network, input) = replacement;
            var size = ListModule.OfSeq(layer.Geometry!.Kernel.IsEmpty || input is null ? [] : input.Skip(2));
            var integers = replacement.Integers is { } own ? FSharpOption<QuantizedNetwork>.Some(own) : null;
            var staged = LayerStages.ofNetwork(layer.Geometry, size, integers, network).OrThrow();
            var writer = new ChainWriter(editor, replacement, staged);
            records.Add(replacement.Record(writer.Write()));
        }

        if (records.Count > 0 && networks.Any(replacement => replacement.Format != "")) Record(editor.Model, records);
        return new(editor.Done(), Path);
    }

    /// <summary>What a plan's own JSON says of each layer, by paths.</summary>
    private static Dictionary<string, JsonNode> Entries(CompressionPlan plan) =>
        JsonNode.Parse(PlanJson.write(plan))!["layers"]!.AsArray().Zip(plan.Layers)
            .ToDictionary(pair => pair.Second.Path, pair => pair.First!);

    /// <summary>Adds records to those that stand in the metadata.</summary>
    private static void Record(ModelProto model, JsonArray records)
    {
        var old = Records(model);
        foreach (var entry in model.MetadataProps.Where(entry => entry.Key == MetadataKey).ToList()) model.MetadataProps.Remove(entry);
        var all = new JsonArray([.. old.Concat(records).Select(record => record!.DeepClone())]);
        var json = new JsonObject { ["version"] = MetadataVersion, ["layers"] = all };
        model.MetadataProps.Add(new StringStringEntryProto { Key = MetadataKey, Value = json.ToJsonString() });
    }

    /// <summary>What the metadata say of layers that were replaced; nothing where they say it in another form.</summary>
    internal static IReadOnlyList<JsonNode> Records(ModelProto model)
    {
        try
        {
            var text = model.MetadataProps.FirstOrDefault(entry => entry.Key == MetadataKey)?.Value;
            return text is null || JsonNode.Parse(text, null, Once) is not JsonObject json || (int?)json["version"] != MetadataVersion
                || json["layers"] is not JsonArray layers
                ? []
                : [.. layers.OfType<JsonNode>()];
        }
        catch (Exception error) when (error is System.Text.Json.JsonException or InvalidOperationException or FormatException)
        {
            return [];
        }
    }
}
