using Onnx;
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
        var value = Onnx.Nodes.Value(name, (int)type, shape);
        foreach (var dim in value.Type.TensorType.Shape.Dim.Where(dim => !dim.HasDimValue)) dim.DimParam = "n";
        return value;
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
        var node = Onnx.Nodes.Constant("", Numbers(name, shape, DataType.Float, seed));
        node.Attribute[0].T.Name = "";
        Graph.Node.Add(node);
        return this;
    }

    /// <summary>A node; attributes are whole numbers, real numbers, words or lists of whole numbers.</summary>
    internal GraphBuilder Node(string operation, string[] inputs, string output, params (string Name, object Value)[] attributes)
    {
        AttributeProto[] all = [.. attributes.Select(pair => Attribute(pair.Name, pair.Value))];
        Graph.Node.Add(Onnx.Nodes.Of(operation, $"{operation}_{output}", inputs, output, all));
        return this;
    }

    private static AttributeProto Attribute(string name, object value) => value switch
    {
        long number => Onnx.Nodes.Whole(name, number),
        float number => Onnx.Nodes.Real(name, number),
        string text => Onnx.Nodes.Words(name, text),
        _ => Onnx.Nodes.List(name, (long[])value),
    };

    internal Onnx.OnnxModel Read() => Onnx.OnnxModel.Read(new MemoryStream(Google.Protobuf.MessageExtensions.ToByteArray(Model)));
}
