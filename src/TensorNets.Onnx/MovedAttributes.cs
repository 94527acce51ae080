using Onnx;
using static Onnx.AttributeProto.Types;
using static Onnx.TensorProto.Types;

namespace TensorNets.Onnx;

/// <summary>What earlier versions of ONNX's operators have as attributes and later ones take as inputs.</summary>
internal static class MovedAttributes
{
    /// <summary>The version that has inputs in the place of attributes, in their order behind the first.</summary>
    private sealed record Move(long At, params string[] Attributes);

    private static readonly Dictionary<string, Move> Moves = new()
    {
        ["Clip"] = new(11, "min", "max"),
        ["Dropout"] = new(12, "ratio"),
        ["Pad"] = new(11, "pads", "value"),
        ["ReduceL1"] = new(18, "axes"),
        ["ReduceL2"] = new(18, "axes"),
        ["ReduceLogSum"] = new(18, "axes"),
        ["ReduceLogSumExp"] = new(18, "axes"),
        ["ReduceMax"] = new(18, "axes"),
        ["ReduceMean"] = new(18, "axes"),
        ["ReduceMin"] = new(18, "axes"),
        ["ReduceProd"] = new(18, "axes"),
        ["ReduceSum"] = new(13, "axes"),
        ["ReduceSumSquare"] = new(18, "axes"),
        ["Slice"] = new(10, "starts", "ends", "axes"),
        ["Split"] = new(13, "split"),
        ["Squeeze"] = new(13, "axes"),
        ["Unsqueeze"] = new(13, "axes"),
    };

    /// <summary>Whether a node of one version can be written as one of another. Real numbers need the type of the values beside them: that
    /// is known where a model has but one.</summary>
    internal static bool CanMove(NodeProto node, long found, long version, bool isFloat) =>
        Due(node, found, version) is not { } move
        || (node.OpType == "Dropout" ? node.Output.Count == 1
            : isFloat || move.Attributes.All(name => Graphs.Attribute(node, name) is not { Type: AttributeType.Float }));

    /// <summary>Writes a node of one version as one of another, in place.</summary>
    internal static void Write(NodeProto node, long found, long version, GraphEditor editor)
    {
        if (Due(node, found, version) is not { } move) return;
        foreach (var (i, name) in move.Attributes.Index())
        {
            if (Graphs.Attribute(node, name) is not { } attribute) continue;
            node.Attribute.Remove(attribute);
            while (node.Input.Count <= i) node.Input.Add("");
            var numbers = Numbers(editor.Fresh($"{node.Output[0]}/{name}"), attribute);
            editor.Model.Graph.Initializer.Add(numbers);
            node.Input.Add(numbers.Name);
        }
    }

    /// <summary>Whether all floating-point numbers that a model names are float32.</summary>
    internal static bool IsFloat(ModelProto model)
    {
        var inputs = model.Graph.Input.Select(input => input.Type?.TensorType?.ElemType ?? 0);
        var casts = Graphs.Nodes(model.Graph).Where(node => node.OpType == "Cast").Select(node => (int)Graphs.Integer(node, "to", 0));
        return Graphs.Tensors(model).Select(tensor => tensor.DataType).Concat(inputs).Concat(casts)
            .All(type => (DataType)type is not (DataType.Float16 or DataType.Bfloat16 or DataType.Double));
    }

    private static Move? Due(NodeProto node, long found, long version) =>
        Moves.TryGetValue(node.OpType, out var move) && found < move.At && version >= move.At ? move : null;

    private static TensorProto Numbers(string name, AttributeProto attribute)
    {
        if (attribute.Type == AttributeType.Float)
        {
            return new() { Name = name, DataType = (int)DataType.Float, FloatData = { attribute.F } };
        }

        return new() { Name = name, DataType = (int)DataType.Int64, Dims = { attribute.Ints.Count }, Int64Data = { attribute.Ints } };
    }
}
