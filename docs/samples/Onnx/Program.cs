#:project ../../../src/TensorNets.CSharp
#:project ../../../src/TensorNets.Onnx
#:package TorchSharp-cpu@0.107.0
#:package OnnxSharp@0.3.2
#:package Microsoft.ML.OnnxRuntime@1.31.1

// An ONNX file of whatever origin in, a smaller one out, both held against each other in ONNX Runtime.
using Google.Protobuf;
using Onnx;
using TensorNets.CSharp;
using TensorNets.Onnx;
using TorchSharp;
using static TorchSharp.torch;

Native.Quiet();
random.manual_seed(1);
var path = args.Length > 0 ? args[0] : Untrained("network.onnx");

var model = OnnxModel.Load(path);
var inputs = OnnxInputs.Noise(model); // or images of yours, by the names of the graph's inputs
var source = model.Source(inputs);
var plan = Model.Plan(source, Budgets.ParameterRatio(2));
model.Check(plan);

var report = Model.Compress(source, plan);
model.With(report, plan).Save("smaller.onnx");

var comparison = OnnxVerify.Compare(model, OnnxModel.Load("smaller.onnx"), [inputs], threads: 1, pairs: 3);
Console.WriteLine($"{plan.DenseParameters} -> {plan.Parameters} parameters, {report.Layers.Count} of {model.Layers.Count} layers as chains of nodes");
Console.WriteLine($"file {(new FileInfo("smaller.onnx").Length < 0.6 * new FileInfo(path).Length ? "smaller" : "not smaller")}, outputs differ by {100 * comparison.Relative:F0} % of their size");

// A small network, node by node, where no file is named.
static string Untrained(string path)
{
    var graph = new GraphProto { Name = "untrained" };
    graph.Input.Add(Value("image", 1, 3, 32, 32));
    graph.Output.Add(Value("scores", 1, 10));
    graph.Initializer.Add([Weight("w1", 32, 3, 3, 3), Weight("w2", 64, 32, 3, 3), Weight("w3", 64, 64, 3, 3), Weight("w4", 10, 64)]);
    graph.Node.Add([
        Node("Conv", "a", ("pads", [1, 1, 1, 1]), "image", "w1"), Node("Relu", "b", null, "a"),
        Node("Conv", "c", ("pads", [1, 1, 1, 1]), "b", "w2"), Node("Relu", "d", null, "c"),
        Node("Conv", "e", null, "d", "w3"), Node("GlobalAveragePool", "f", null, "e"),
        Node("Flatten", "g", null, "f"), Node("Gemm", "scores", ("transB", [1]), "g", "w4"),
    ]);
    var file = new ModelProto { IrVersion = 8, Graph = graph };
    file.OpsetImport.Add(new OperatorSetIdProto { Version = 13 });
    File.WriteAllBytes(path, file.ToByteArray());
    return path;
}

static NodeProto Node(string operation, string output, (string Name, long[] Numbers)? attribute, params string[] inputs)
{
    var node = new NodeProto { OpType = operation, Name = output, Output = { output }, Input = { inputs } };
    if (attribute is not var (name, numbers)) return node;
    var written = new AttributeProto { Name = name, Type = AttributeProto.Types.AttributeType.Ints };
    if (operation == "Gemm") (written.Type, written.I) = (AttributeProto.Types.AttributeType.Int, numbers[0]);
    else written.Ints.Add(numbers);
    node.Attribute.Add(written);
    return node;
}

static TensorProto Weight(string name, params long[] shape)
{
    using var numbers = randn(shape) / Math.Sqrt(shape[1..].Aggregate(1L, (product, n) => product * n));
    return new TensorProto { Name = name, DataType = 1, Dims = { shape }, FloatData = { numbers.data<float>().ToArray() } };
}

static ValueInfoProto Value(string name, params long[] shape)
{
    var dimensions = shape.Select(n => new TensorShapeProto.Types.Dimension { DimValue = n });
    var tensor = new TypeProto.Types.Tensor { ElemType = 1, Shape = new TensorShapeProto { Dim = { dimensions } } };
    return new ValueInfoProto { Name = name, Type = new TypeProto { TensorType = tensor } };
}
