using Google.Protobuf;
using Onnx;
using static Onnx.AttributeProto.Types;

namespace TensorNets.Onnx;

/// <summary>Nodes and what they are made of.</summary>
internal static class Nodes
{
    internal static NodeProto Of(string operation, string name, IEnumerable<string> inputs, string output,
        params AttributeProto[] attributes)
    {
        var node = new NodeProto { OpType = operation, Name = name };
        node.Input.AddRange(inputs);
        node.Output.Add(output);
        node.Attribute.AddRange(attributes);
        return node;
    }

    internal static AttributeProto Whole(string name, long number) => new() { Name = name, Type = AttributeType.Int, I = number };

    internal static AttributeProto Real(string name, float number) => new() { Name = name, Type = AttributeType.Float, F = number };

    internal static AttributeProto Words(string name, string text) =>
        new() { Name = name, Type = AttributeType.String, S = ByteString.CopyFromUtf8(text) };

    internal static AttributeProto List(string name, IEnumerable<long> numbers)
    {
        var list = new AttributeProto { Name = name, Type = AttributeType.Ints };
        list.Ints.AddRange(numbers);
        return list;
    }

    internal static NodeProto Constant(string name, TensorProto numbers)
    {
        var node = Of("Constant", name, [], numbers.Name);
        node.Attribute.Add(new AttributeProto { Name = "value", Type = AttributeType.Tensor, T = numbers });
        return node;
    }

    /// <summary>What a graph says of a value: its type and shape; sizes below 0 are open.</summary>
    internal static ValueInfoProto Value(string name, int type, IEnumerable<long> shape)
    {
        var tensor = new TypeProto.Types.Tensor { ElemType = type, Shape = new TensorShapeProto() };
        tensor.Shape.Dim.AddRange(shape.Select(size => size < 0 ? new TensorShapeProto.Types.Dimension()
            : new TensorShapeProto.Types.Dimension { DimValue = size }));
        return new() { Name = name, Type = new TypeProto { TensorType = tensor } };
    }
}
