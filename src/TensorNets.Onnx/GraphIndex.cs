using Onnx;

namespace TensorNets.Onnx;

/// <summary>Which values of a main graph are constants, what makes the others, and what reads each.</summary>
internal sealed class GraphIndex
{
    /// <summary>Initializers and the values of Constant nodes by name.</summary>
    internal Dictionary<string, TensorProto> Constants { get; } = [];

    /// <summary>The name of the constant integers that DequantizeLinear makes a weight of, through a Cast or not; null: it does
    /// not.</summary>
    internal string? Integers(string name)
    {
        NodeProto? Maker(string value) =>
            Producers.TryGetValue(value, out var node) && Graphs.IsStandard(node) && node.Input.Count > 0 ? node : null;
        var maker = Maker(name);
        if (maker?.OpType == "Cast") maker = Maker(maker.Input[0]);
        return maker?.OpType == "DequantizeLinear" && Constants.ContainsKey(maker.Input[0]) ? maker.Input[0] : null;
    }

    /// <summary>The node that makes a value.</summary>
    internal Dictionary<string, NodeProto> Producers { get; } = [];

    /// <summary>The nodes of the main graph that read a value, once for each place.</summary>
    internal ILookup<string, NodeProto> Readers { get; }

    /// <summary>Values that leave the main graph or are read in subgraphs.</summary>
    internal HashSet<string> Outside { get; }

    /// <summary>Initializers that are sparse.</summary>
    internal HashSet<string> Sparse { get; }

    /// <summary>Every name that a value or a node has, in subgraphs too.</summary>
    internal HashSet<string> Names { get; }

    internal GraphIndex(GraphProto graph)
    {
        foreach (var node in graph.Node)
        {
            foreach (var output in node.Output) Producers[output] = node;
            if (Graphs.IsStandard(node) && node is { OpType: "Constant", Output.Count: > 0 }
                && Graphs.Attribute(node, "value")?.T is { } value)
            {
                Constants[node.Output[0]] = value;
            }
        }

        foreach (var initializer in graph.Initializer) Constants[initializer.Name] = initializer;
        Readers = graph.Node.SelectMany(node => node.Input.Select(input => (input, node))).ToLookup(pair => pair.input, pair => pair.node);
        var inner = graph.Node.SelectMany(Graphs.Subgraphs).SelectMany(Graphs.Nodes).ToList();
        Outside = [.. graph.Output.Select(output => output.Name), .. inner.SelectMany(node => node.Input), .. InnerOutputs(graph)];
        Sparse = [.. graph.SparseInitializer.Select(sparse => sparse.Values?.Name ?? "")];
        Names =
        [
            .. graph.Input.Select(input => input.Name), .. Constants.Keys, .. Sparse, .. Outside,
            .. graph.Node.Concat(inner).SelectMany(node => node.Input.Concat(node.Output).Append(node.Name)),
        ];
    }

    /// <summary>A subgraph may hand out a value of the graph around it as it is.</summary>
    private static IEnumerable<string> InnerOutputs(GraphProto graph) =>
        Graphs.Nodes(graph).SelectMany(Graphs.Subgraphs).SelectMany(inner => inner.Output).Select(output => output.Name);

    /// <summary>A name that nothing has yet, which is taken with that.</summary>
    internal string Fresh(string wanted)
    {
        var name = wanted;
        for (var i = 2; !Names.Add(name); i++) name = $"{wanted}_{i}";
        return name;
    }
}
