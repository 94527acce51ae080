using System.Text.Json.Nodes;

namespace TensorNets.Onnx;

/// <summary>A network in the place of a layer's weight.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Network">The network of its kernel.</param>
/// <param name="Input">The shape of its input, channels second, of a product last; null: unknown.</param>
internal sealed record Replacement(OnnxLayer Layer, Network Network, IReadOnlyList<long>? Input)
{
    /// <summary>What the metadata call the network; empty where nothing is to stand there.</summary>
    internal string Format { get; init; } = "";

    /// <summary>‖K − T‖ / ‖K‖.</summary>
    internal double Error { get; init; } = double.NaN;

    /// <summary>S in the layer's norm.</summary>
    internal double Sensitivity { get; init; } = double.NaN;

    /// <summary>S / ‖T‖^(2 − 2/N), N the number of cores.</summary>
    internal double Relative { get; init; } = double.NaN;

    /// <summary>The least S that a change of gauge gives.</summary>
    internal double Balanced { get; init; } = double.NaN;

    /// <summary>What the plan says of the layer, as the plan's own JSON has it; null: there is no plan.</summary>
    internal JsonNode? Plan { get; init; }

    /// <summary>The integers that the network stands for, where those are written; null: its floating-point numbers are.</summary>
    internal QuantizedNetwork? Integers { get; init; }

    /// <summary>What the metadata say.</summary>
    internal JsonObject Record(IEnumerable<string> nodes) => new()
    {
        ["path"] = Layer.Path,
        ["nodes"] = new JsonArray([.. nodes.Select(node => JsonValue.Create(node))]),
        ["outputs"] = new JsonArray([.. Layer.Nodes.Select(node => JsonValue.Create(node.Output[0]))]),
        ["spec"] = Format,
        ["operator"] = Layer.Operator,
        ["shape"] = new JsonArray([.. Layer.Shape.Select(size => JsonValue.Create(size))]),
        ["geometry"] = Layer.Geometry!.ToString(),
        ["error"] = Known(Error),
        ["sensitivity"] = Known(Sensitivity),
        ["relative"] = Known(Relative),
        ["balanced"] = Known(Balanced),
        ["plan"] = Plan?.DeepClone(),
    };

    private static JsonValue? Known(double value) => double.IsFinite(value) ? JsonValue.Create(value) : null;
}
