using Onnx;
using static Onnx.AttributeProto.Types;
using static Onnx.TensorProto.Types;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>Small models, node by node.</summary>
internal sealed class GraphBuilder
{
    internal GraphProto Graph { get; } = new() { Name = "graph" };

    internal ModelProto Model { get; }

    internal GraphBuilder(long ir = 8, long opset = 13)
    {
        Model = new ModelProto { IrVersion = ir, Graph = Graph, ProducerName = "tests" };
        Model.OpsetImport.Add(new OperatorSetIdProto { Version = opset });
    }

    private static ValueInfoProto Value(string name, DataType type, long[] shape)
    {
        var tensor = new TypeProto.Types.Tensor { ElemType = (int)type, Shape = new TensorShapeProto() };
        foreach (var size in shape)
        {
            tensor.Shape.Dim.Add(size < 0 ? new TensorShapeProto.Types.Dimension { DimParam = "n" } : new TensorShapeProto.Types.Dimension { DimValue = size });
        }

        return new ValueInfoProto { Name = name, Type = new TypeProto { TensorType = tensor } };
    }

    internal GraphBuilder Input(string name, long[] shape, DataType type = DataType.Float)
    {
        Graph.Input.Add(Value(name, type, shape));
        return this;
    }

    internal GraphBuilder Output(string name, long[] shape, DataType type = DataType.Float)
    {
        Graph.Output.Add(Value(name, type, shape));
        return this;
    }

    /// <summary>An initializer of random numbers, or of those given.</summary>
    internal GraphBuilder Weight(string name, long[] shape, DataType type = DataType.Float, ulong seed = 1, bool isInput = false)
    {
        Graph.Initializer.Add(Numbers(name, shape, type, seed));
        return isInput ? Input(name, shape, type) : this;
    }

    internal static TensorProto Numbers(string name, long[] shape, DataType type = DataType.Float, ulong seed = 1)
    {
        using var generator = new TorchSharp.torch.Generator(seed);
        using var noise = randn(shape, dtype: ScalarType.Float32, generator: generator);
        return Onnx.TensorData.Write(name, noise, (int)type);
    }

    internal GraphBuilder Constant(string name, long[] shape, ulong seed = 1)
    {
        var node = new NodeProto { OpType = "Constant" };
        node.Output.Add(name);
        node.Attribute.Add(new AttributeProto { Name = "value", Type = AttributeType.Tensor, T = Numbers("", shape, DataType.Float, seed) });
        Graph.Node.Add(node);
        return this;
    }

    /// <summary>A node; attributes are whole numbers, real numbers, words or lists of whole numbers.</summary>
    internal GraphBuilder Node(string operation, string[] inputs, string output, params (string Name, object Value)[] attributes)
    {
        var node = new NodeProto { OpType = operation, Name = $"{operation}_{output}" };
        node.Input.AddRange(inputs);
        node.Output.Add(output);
        node.Attribute.AddRange(attributes.Select(pair => Attribute(pair.Name, pair.Value)));
        Graph.Node.Add(node);
        return this;
    }

    private static AttributeProto Attribute(string name, object value)
    {
        switch (value)
        {
            case long number: return new() { Name = name, Type = AttributeType.Int, I = number };
            case float number: return new() { Name = name, Type = AttributeType.Float, F = number };
            case string text: return new() { Name = name, Type = AttributeType.String, S = Google.Protobuf.ByteString.CopyFromUtf8(text) };
            default:
                var list = new AttributeProto { Name = name, Type = AttributeType.Ints };
                list.Ints.AddRange((long[])value);
                return list;
        }
    }

    internal Onnx.OnnxModel Read() => Onnx.OnnxModel.Read(new MemoryStream(Google.Protobuf.MessageExtensions.ToByteArray(Model)));
}
