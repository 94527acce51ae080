using System.Text.Json.Nodes;
using Onnx;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>Holds one model against another in ONNX Runtime.</summary>
public static partial class OnnxVerify
{
    /// <summary>Layers whose outputs are asked for at once.</summary>
    private const int Portion = 8;

    /// <summary>What stands before the names of nodes that are put beside those they stand for.</summary>
    private const string Beside = "beside/";

    /// <summary>Both models in ONNX Runtime on the same inputs: how far outputs are apart, and those of every layer that was replaced,
    /// applied to what the original layer is applied to; and how long both take.</summary>
    /// <param name="before">The original.</param>
    /// <param name="after">What <see cref="OnnxModel.With"/> made of it, or a file of that; of any other model with the same inputs and
    /// outputs no layers are told.</param>
    /// <param name="batches">Inputs by name, batch by batch, such as one of <see cref="OnnxInputs.Noise"/>; they are gone through
    /// twice, and none is held longer than it is used.</param>
    /// <param name="threads">Threads of ONNX Runtime.</param>
    /// <param name="pairs">Runs of both models, one after the other, on the first batch, whose median is told; 0: none.</param>
    /// <returns>Errors and times; as text a table.</returns>
    /// <exception cref="TensorNetException">ONNX Runtime refuses a model or a batch; there is no batch; an output of the original is one
    /// of the other's not.</exception>
    /// <example><code>var comparison = OnnxVerify.Compare(model, smaller, [OnnxInputs.Noise(model)]);</code></example>
    public static OnnxComparison Compare(
        OnnxModel before, OnnxModel after, IEnumerable<IReadOnlyDictionary<string, Tensor>> batches, int threads = 1, int pairs = 21)
    {
        ArgumentNullException.ThrowIfNull(before);
        ArgumentNullException.ThrowIfNull(after);
        ArgumentNullException.ThrowIfNull(batches);
        using var first = new OnnxSession(before.Proto, before.Path, threads: threads);
        using var second = new OnnxSession(after.Proto, after.Path, threads: threads);
        if (first.Outputs.Except(second.Outputs).FirstOrDefault() is { } missing)
        {
            throw Errors.Unsupported("The outputs of the other model", string.Join(", ", second.Outputs),
                $"those of the original, such as {missing}");
        }

        var sums = new Dictionary<string, Sum>();
        OnnxTimes? times = null;
        var count = 0;
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            var found = second.Run(batch, first.Outputs);
            foreach (var (name, tensor) in first.Run(batch, first.Outputs)) Add(sums, name, tensor, found[name]);
            if (count++ == 0 && pairs > 0) times = Times(first, second, batch, pairs);
        }

        if (count == 0) throw Errors.Unsupported("The batches", "none", "at least one");
        var layers = Layers(before, after, batches, threads);
        return new(
            Error(sums.Values),
            [.. sums.Select(pair => new OnnxError(pair.Key, Error([pair.Value]), double.NaN))],
            layers,
            times);
    }

    private sealed record Sum(double Difference, double Norm);

    private static void Add(Dictionary<string, Sum> sums, string name, Tensor expected, Tensor found)
    {
        using var scope = NewDisposeScope();
        if (!expected.shape.SequenceEqual(found.shape))
        {
            throw Errors.Unsupported($"The shape of '{name}'", Errors.Shape(found.shape), Errors.Shape(expected.shape));
        }

        var (a, b) = (expected.to(ScalarType.Float64), found.to(ScalarType.Float64));
        var old = sums.GetValueOrDefault(name) ?? new(0, 0);
        sums[name] = new(old.Difference + (b - a).square().sum().item<double>(), old.Norm + a.square().sum().item<double>());
    }

    // ‖difference‖ / ‖expected‖; where nothing is expected, 0 or infinite.
    private static double Error(IEnumerable<Sum> sums)
    {
        var (difference, norm) = sums.Aggregate((0.0, 0.0), (all, sum) => (all.Item1 + sum.Difference, all.Item2 + sum.Norm));
        return difference == 0 ? 0 : Math.Sqrt(difference / norm);
    }

    private static List<OnnxError> Layers(OnnxModel before, OnnxModel after, IEnumerable<IReadOnlyDictionary<string, Tensor>> batches,
        int threads)
    {
        var records = OnnxModel.Records(after.Proto).Where(record => Paths(record, "outputs").All(before.Index.Producers.ContainsKey))
            .ToList();
        if (records.Count == 0) return [];
        var both = before.Proto.Clone();
        if (after.Opset > before.Opset) OpsetRaising.Raise(both, after.Opset, before.Path);
        foreach (var record in records) PutBeside(both, after.Proto, Paths(record, "nodes").ToHashSet());
        var values = records.SelectMany(record => Paths(record, "outputs")).Distinct().ToList();
        using var session = new OnnxSession(both, before.Path, values.Concat(values.Select(value => Beside + value)), threads);
        var sums = new Dictionary<string, Sum>();
        foreach (var batch in batches)
        {
            foreach (var portion in values.Chunk(Portion))
            {
                using var scope = NewDisposeScope();
                var found = session.Run(batch, [.. portion, .. portion.Select(value => Beside + value)]);
                foreach (var value in portion) Add(sums, value, found[value], found[Beside + value]);
            }
        }

        return [.. records.Select(record => new OnnxError(
            (string?)record["path"] ?? "",
            Error(Paths(record, "outputs").Select(value => sums[value])),
            (double?)record["error"] ?? double.NaN))];
    }

    private static OnnxTimes Times(OnnxSession first, OnnxSession second, IReadOnlyDictionary<string, Tensor> batch, int pairs)
    {
        using var one = first.Prepare(batch);
        using var other = second.Prepare(batch);
        return one.Against(other, pairs);
    }

    private static IEnumerable<string> Paths(JsonNode record, string key) => (record[key] as JsonArray ?? [])
        .Select(name => (string?)name ?? "");

    // Puts nodes of another model into one, applied to what the model's own are applied to.
    private static void PutBeside(ModelProto model, ModelProto other, HashSet<string> names)
    {
        var nodes = other.Graph.Node.Where(node => names.Contains(node.Name)).Select(node => node.Clone()).ToList();
        var made = nodes.SelectMany(node => node.Output).ToHashSet();
        string Renamed(string value) => made.Contains(value) ? Beside + value : value;
        var read = nodes.SelectMany(node => node.Input).ToHashSet();
        var known = model.Graph.Initializer.Select(initializer => initializer.Name).ToHashSet();
        var added = other.Graph.Initializer.Where(initializer => read.Contains(initializer.Name) && !known.Contains(initializer.Name))
            .ToList();
        model.Graph.Initializer.AddRange(added);
        model.Graph.Input.AddRange(other.Graph.Input.Where(input => added.Exists(initializer => initializer.Name == input.Name)));
        foreach (var node in nodes)
        {
            node.Name = Beside + node.Name;
            for (var i = 0; i < node.Input.Count; i++) node.Input[i] = Renamed(node.Input[i]);
            for (var i = 0; i < node.Output.Count; i++) node.Output[i] = Renamed(node.Output[i]);
        }

        model.Graph.Node.AddRange(nodes);
    }
}
