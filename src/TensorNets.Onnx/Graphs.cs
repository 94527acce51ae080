using Onnx;

namespace TensorNets.Onnx;

/// <summary>Walks over all that a model holds: subgraphs and functions too.</summary>
internal static class Graphs
{
    /// <summary>Every node of a graph, with those of its subgraphs.</summary>
    internal static IEnumerable<NodeProto> Nodes(GraphProto graph) =>
        graph.Node.SelectMany(node => Subgraphs(node).SelectMany(Nodes).Prepend(node));

    /// <summary>The graphs that a node holds as attributes.</summary>
    internal static IEnumerable<GraphProto> Subgraphs(NodeProto node) =>
        node.Attribute.SelectMany(attribute => attribute.G is { } graph ? attribute.Graphs.Prepend(graph) : attribute.Graphs);

    /// <summary>Every tensor of a model: initializers and attributes, of subgraphs and functions too.</summary>
    internal static IEnumerable<TensorProto> Tensors(ModelProto model) =>
        Tensors(model.Graph).Concat(model.Functions.SelectMany(function => function.Node.SelectMany(Tensors)));

    private static IEnumerable<TensorProto> Tensors(GraphProto graph) =>
        graph.Initializer.Concat(graph.SparseInitializer.SelectMany(Tensors)).Concat(graph.Node.SelectMany(Tensors));

    private static IEnumerable<TensorProto> Tensors(NodeProto node) =>
        node.Attribute.SelectMany(attribute =>
            attribute.Tensors
                .Concat(attribute.T is { } tensor ? [tensor] : [])
                .Concat(attribute.SparseTensor is { } sparse ? Tensors(sparse) : [])
                .Concat(attribute.SparseTensors.SelectMany(Tensors)))
            .Concat(Subgraphs(node).SelectMany(Tensors));

    private static IEnumerable<TensorProto> Tensors(SparseTensorProto sparse) =>
        new[] { sparse.Values, sparse.Indices }.Where(tensor => tensor is not null);

    /// <summary>Whether a node's operator is one of ONNX itself.</summary>
    internal static bool IsStandard(NodeProto node) => IsStandard(node.Domain);

    internal static bool IsStandard(string domain) => domain is "" or "ai.onnx";

    /// <summary>The version of ONNX's own operators that a model asks for; 0 where it says none.</summary>
    internal static long Opset(ModelProto model) =>
        model.OpsetImport.Where(import => IsStandard(import.Domain)).Select(import => import.Version).DefaultIfEmpty(0).Max();

    /// <summary>An attribute of a node, or null.</summary>
    internal static AttributeProto? Attribute(NodeProto node, string name) =>
        node.Attribute.FirstOrDefault(attribute => attribute.Name == name);

    /// <summary>A whole number of a node's attributes.</summary>
    internal static long Integer(NodeProto node, string name, long otherwise) => Attribute(node, name)?.I ?? otherwise;

    /// <summary>A real number of a node's attributes.</summary>
    internal static float Real(NodeProto node, string name, float otherwise) => Attribute(node, name)?.F ?? otherwise;

    /// <summary>The list of a node's attribute, or as many of the same number.</summary>
    internal static long[] Integers(NodeProto node, string name, int count, long otherwise) =>
        Attribute(node, name) is { Ints.Count: > 0 } attribute ? [.. attribute.Ints] : [.. Enumerable.Repeat(otherwise, count)];
}
