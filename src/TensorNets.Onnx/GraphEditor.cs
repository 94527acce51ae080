using Onnx;

namespace TensorNets.Onnx;

/// <summary>A copy of a model in which nodes are exchanged and numbers added.</summary>
internal sealed class GraphEditor
{
    /// <summary>The last format of files whose initializers have to be inputs too.</summary>
    internal const long InputsToo = 3;

    private readonly GraphIndex index;
    private readonly Dictionary<NodeProto, List<NodeProto>> replacements = new(ReferenceEqualityComparer.Instance);
    private readonly HashSet<string> removed = [];

    internal GraphEditor(ModelProto model, GraphIndex index)
    {
        (Source, this.index) = (model, index);
        Model = model.Clone();
    }

    /// <summary>The model as it came.</summary>
    internal ModelProto Source { get; }

    internal ModelProto Model { get; }

    internal long Opset => Graphs.Opset(Model);

    /// <summary>A name that nothing has yet.</summary>
    internal string Fresh(string wanted) => index.Fresh(wanted);

    /// <summary>A constant of the model.</summary>
    internal TensorProto Constant(string name) => index.Constants[name];

    /// <summary>What the file says of the number of axes of a value; null where it says nothing.</summary>
    internal int? Rank(string name) =>
        Source.Graph.ValueInfo.Concat(Source.Graph.Input).FirstOrDefault(value => value.Name == name)?.Type?.TensorType?.Shape?.Dim.Count;

    /// <summary>Adds numbers to the graph where an old constant stands: as an initializer, which in old files is an input too, or, there,
    /// as a node before those given.</summary>
    internal string Add(TensorProto numbers, string old, List<NodeProto> nodes)
    {
        var isInitializer = Source.Graph.Initializer.Any(initializer => initializer.Name == old);
        if (Model.IrVersion > InputsToo || isInitializer)
        {
            Model.Graph.Initializer.Add(numbers);
            if (Model.IrVersion <= InputsToo) Model.Graph.Input.Add(Nodes.Value(numbers.Name, numbers.DataType, numbers.Dims));
        }
        else
        {
            nodes.Insert(0, Nodes.Constant(Fresh($"{numbers.Name}/constant"), numbers));
        }

        return numbers.Name;
    }

    /// <summary>Puts nodes in the place of one of the source.</summary>
    internal void Replace(NodeProto old, List<NodeProto> nodes) => replacements[old] = nodes;

    /// <summary>Takes a constant out that nothing reads any more.</summary>
    internal void Remove(string constant) => removed.Add(constant);

    /// <summary>The model with all that was asked for.</summary>
    internal ModelProto Done()
    {
        var graph = Model.Graph;
        var copies = graph.Node.ToList();
        graph.Node.Clear();
        foreach (var (node, copy) in Source.Graph.Node.Zip(copies))
        {
            if (replacements.TryGetValue(node, out var nodes)) graph.Node.AddRange(nodes);
            else if (!(node is { OpType: "Constant", Output.Count: 1 } && removed.Contains(node.Output[0]))) graph.Node.Add(copy);
        }

        Keep(graph.Initializer, tensor => tensor.Name);
        Keep(graph.Input, input => input.Name);
        Keep(graph.ValueInfo, value => value.Name);
        return Model;
    }

    private void Keep<T>(Google.Protobuf.Collections.RepeatedField<T> items, Func<T, string> name)
    {
        var kept = items.Where(item => !removed.Contains(name(item))).ToList();
        items.Clear();
        items.AddRange(kept);
    }
}
