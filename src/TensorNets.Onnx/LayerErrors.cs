using System.Text.Json.Nodes;
using Onnx;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>How far each layer that was replaced is from the original one, both applied to what the original layer is applied to: the nodes
/// that took its place stand beside it in one graph.</summary>
internal sealed class LayerErrors : IDisposable
{
    /// <summary>Layers whose outputs are asked for at once.</summary>
    private const int Portion = 8;

    /// <summary>What stands before the names of nodes that are put beside those they stand for.</summary>
    private const string Beside = "beside/";

    private readonly List<JsonNode> _records;
    private readonly List<string> _values;
    private readonly OnnxSession? _session;
    private readonly ErrorSums _sums = new();

    /// <summary>The layers of a model that another one, by its metadata, has replaced; of any other model none.</summary>
    internal LayerErrors(OnnxModel before, OnnxModel after, int threads)
    {
        _records = [.. OnnxModel.Records(after.Proto).Where(record => Paths(record, "outputs").All(before.Index.Producers.ContainsKey))];
        _values = [.. _records.SelectMany(record => Paths(record, "outputs")).Distinct()];
        if (_records.Count == 0) return;
        var editor = new GraphEditor(before.Proto, new GraphIndex(before.Proto.Graph));
        if (after.Opset > before.Opset) OpsetRaising.Raise(editor, after.Opset, before.Path);
        var both = editor.Done();
        foreach (var record in _records) PutBeside(both, after.Proto, Paths(record, "nodes").ToHashSet());
        _session = new OnnxSession(both, before.Path, _values.Concat(_values.Select(value => Beside + value)), threads);
    }

    /// <summary>Adds what the layers give for a batch of the network's inputs.</summary>
    internal void Add(IReadOnlyDictionary<string, Tensor> batch)
    {
        foreach (var portion in _values.Chunk(Portion))
        {
            using var scope = NewDisposeScope();
            var found = _session!.Run(batch, [.. portion, .. portion.Select(value => Beside + value)]);
            foreach (var value in portion) _sums.Add(value, found[value], found[Beside + value]);
        }
    }

    /// <summary>The errors over all batches, layer by layer.</summary>
    internal IReadOnlyList<OnnxError> All() => [.. _records.Select(record => new OnnxError(
        (string?)record["path"] ?? "", _sums.Relative(Paths(record, "outputs")), (double?)record["error"] ?? double.NaN))];

    public void Dispose() => _session?.Dispose();

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
