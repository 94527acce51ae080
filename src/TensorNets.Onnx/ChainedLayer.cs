using System.Text.Json.Nodes;

namespace TensorNets.Onnx;

/// <summary>What a model's metadata say of a layer that was replaced by a chain of nodes.</summary>
/// <param name="Path">The layer's path in the dense model.</param>
/// <param name="Operator">Its operator there.</param>
/// <param name="Shape">The shape of its weight there.</param>
/// <param name="Nodes">The names of the chain's nodes.</param>
/// <param name="Network">The format and ranks that the plan chose; the spec where there was no plan.</param>
/// <param name="Error">‖K − T‖ / ‖K‖; NaN: unknown.</param>
/// <param name="Sensitivity">S in the layer's norm; NaN: unknown.</param>
internal sealed record ChainedLayer(
    string Path, string Operator, IReadOnlyList<long> Shape, IReadOnlyList<string> Nodes, string Network, double Error, double Sensitivity)
{
    /// <summary>S / ‖T‖^(2 − 2/N), N the number of cores; NaN: unknown.</summary>
    internal double Relative { get; init; } = double.NaN;

    /// <summary>The least S that a change of gauge gives; NaN: unknown.</summary>
    internal double Balanced { get; init; } = double.NaN;

    /// <summary>The layers of which a model's metadata tell; what they tell in another form counts as unknown.</summary>
    internal static IReadOnlyList<ChainedLayer> Of(OnnxModel model) =>
        [.. OnnxModel.Records(model.Proto).OfType<JsonObject>().Select(Of).Where(layer => layer.Path != "")];

    private static ChainedLayer Of(JsonObject record) => new(
        Value(record["path"], ""),
        Value(record["operator"], ""),
        Values(record["shape"], 0L),
        Values(record["nodes"], ""),
        Chosen(record["plan"] as JsonObject) is { Length: > 0 } format ? format : Value(record["spec"], ""),
        Value(record["error"], double.NaN),
        Value(record["sensitivity"], double.NaN))
    {
        Relative = Value(record["relative"], double.NaN),
        Balanced = Value(record["balanced"], double.NaN),
    };

    private static string Chosen(JsonObject? plan) =>
        plan?["candidates"] is JsonArray candidates && Value(plan["chosen"], -1) is var chosen && chosen >= 0 && chosen < candidates.Count
            && candidates[chosen] is JsonObject candidate
            ? Value(candidate["format"], "") + (Value(candidate["separate"], false) ? " separate" : "")
            : "";

    private static T Value<T>(JsonNode? node, T unknown) =>
        node is JsonValue value && value.TryGetValue<T>(out var found) ? found : unknown;

    private static IReadOnlyList<T> Values<T>(JsonNode? node, T unknown) =>
        node is JsonArray array ? [.. array.Select(item => Value(item, unknown))] : [];
}
