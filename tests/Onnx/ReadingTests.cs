using Expecto;
using Google.Protobuf;
using Onnx;
using static Expecto.CSharp.Runner;
using static Onnx.TensorProto.Types;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>What is found in files, wherever it stands in them, and what is refused.</summary>
internal static class ReadingTests
{
    internal static Test All => TestList("reading", [
        TestCase("a weight is found as an initializer, one that is an input too, a constant, in half precision and beside the file", WeightsAreFound),
        TestCase("layers that read one weight are one", SharedWeights),
        TestCase("what is not compressed says why", Reasons),
        TestCase("a file that is none is refused in words", BadFiles),
        TestCase("numbers beside the file are read within its folder and nowhere else", ExternalNumbers),
    ]);

    private static GraphBuilder Plain() => new GraphBuilder().Input("x", [1, 4, 8, 8]).Output("y", [1, 6, 6, 6]);

    private static void WeightsAreFound()
    {
        GraphBuilder Conv(GraphBuilder graph) => graph.Node("Conv", ["x", "w"], "y");
        var models = new[]
        {
            Conv(Plain().Weight("w", [6, 4, 3, 3])),
            Conv(Plain().Weight("w", [6, 4, 3, 3], isInput: true)),
            Conv(Plain().Weight("w", [6, 4, 3, 3], DataType.Float16)),
            Conv(Plain().Weight("w", [6, 4, 3, 3], DataType.Bfloat16)),
            Conv(Plain().Constant("w", [6, 4, 3, 3])),
        };
        foreach (var graph in models)
        {
            var layer = graph.Read().Layers.Single();
            Expect.Equal("", layer.Kept);
            Expect.Equal("Conv_y", layer.Path);
            Expect.Equal(216L, layer.Parameters);
            Expect.Equal("Conv2d 4 -> 6, kernel [3, 3]", layer.Geometry!.ToString());
        }
    }

    private static void SharedWeights()
    {
        var graph = new GraphBuilder().Input("x", [2, 5]).Output("y", [2, 5]).Output("z", [2, 5]).Weight("w", [5, 5])
            .Node("MatMul", ["x", "w"], "a").Node("MatMul", ["a", "w"], "y").Node("Gemm", ["a", "w", "b"], "z", ("transB", 1L)).Weight("b", [5]);
        var model = graph.Read();
        Expect.Equal("its weight is shared by layers of different kinds", model.Layers.Single().Kept);
        graph.Graph.Node.RemoveAt(2);
        graph.Graph.Output.RemoveAt(1);
        Expect.Equal(2, graph.Read().Layers.Single().Nodes.Count);
        Expect.Equal("", graph.Read().Layers.Single().Kept);
    }

    private static void Reasons()
    {
        string Kept(GraphBuilder graph) => graph.Read().Layers.Single().Kept;
        Expect.True(Kept(Plain().Weight("w", [4, 1, 3, 3]).Node("Conv", ["x", "w"], "y", ("group", 4L))).Contains("depthwise"), "depthwise");
        Expect.True(Kept(Plain().Input("w", [6, 4, 3, 3]).Node("Conv", ["x", "w"], "y")).Contains("input of the graph"), "input");
        Expect.True(Kept(Plain().Weight("v", [6, 4, 3, 3]).Node("Relu", ["v"], "w").Node("Conv", ["x", "w"], "y")).Contains("computed in the graph (Relu)"), "computed");
        Expect.True(Kept(Plain().Weight("v", [6, 4, 3, 3]).Node("DequantizeLinear", ["v"], "w").Node("Conv", ["x", "w"], "y")).Contains("quantized"), "quantized");
        Expect.True(Kept(Plain().Weight("w", [6, 4, 3, 3]).Node("Conv", ["x", "w"], "y").Node("Relu", ["w"], "z")).Contains("read by Relu too"), "read");
        Expect.True(Kept(Plain().Weight("w", [6, 4, 3, 3]).Node("Conv", ["x", "w"], "y").Output("w", [6, 4, 3, 3])).Contains("leaves the graph"), "leaves");
        Expect.True(Kept(new GraphBuilder(opset: 4).Input("x", [1, 4, 8, 8]).Weight("w", [6, 4, 3, 3]).Node("Conv", ["x", "w"], "y")).Contains("opset is 4"), "opset");
        var lacking = Plain().Weight("w", [6, 4, 3, 3]).Node("Conv", ["x", "w"], "y");
        lacking.Graph.Initializer[0].Dims[0] = 1L << 40;
        Expect.True(Kept(lacking).Contains("holds 864 bytes"), "lacking");
    }

    private static void BadFiles()
    {
        string Refused(byte[] bytes) => Expect.Throws<TensorNetException>(() => Onnx.OnnxModel.Read(new MemoryStream(bytes))).Message;
        Expect.True(Refused([]).Contains("no graph"), "empty");
        Expect.True(Refused([1, 2, 3, 4]).Contains("no ONNX model"), "noise");
        var whole = Plain().Weight("w", [6, 4, 3, 3]).Node("Conv", ["x", "w"], "y").Model.ToByteArray();
        Expect.True(Refused(whole[..(whole.Length / 2)]).Contains("no ONNX model"), "cut");
        Expect.True(Refused(new GraphBuilder(ir: 2).Model.ToByteArray()).Contains("IR version is 2"), "ir");
        Expect.True(Expect.Throws<TensorNetException>(() => Onnx.OnnxModel.Load("no/such.onnx")).Message.Contains("no such file"), "missing");
    }

    private static void ExternalNumbers()
    {
        var folder = Directory.CreateTempSubdirectory("tensornets").FullName;
        try
        {
            var path = Path.Combine(folder, "model.onnx");
            var model = Plain().Weight("w", [6, 4, 8, 8]).Node("Conv", ["x", "w"], "y").Read();
            model.Save(path, externalData: true);
            Expect.True(new FileInfo(path).Length < 1000, "the numbers stand in the file");
            var again = Onnx.OnnxModel.Load(path);
            Expect.Equal(model.Proto, again.Proto);
            again.Save(path, externalData: true);
            Expect.Equal(model.Proto, Onnx.OnnxModel.Load(path).Proto);

            foreach (var (key, value, words) in new[]
            {
                ("location", "/etc/passwd", "within its folder"), ("location", "../x", "within its folder"), ("location", "none", "missing"),
                ("offset", "-1", "whole number"), ("offset", "1000000", "is said to have"), ("length", "99999999999", "is said to have"),
            })
            {
                var bad = ModelProto.Parser.ParseFrom(File.ReadAllBytes(path));
                bad.Graph.Initializer[0].ExternalData.Single(entry => entry.Key == key).Value = value;
                File.WriteAllBytes(Path.Combine(folder, "bad.onnx"), bad.ToByteArray());
                var message = Expect.Throws<TensorNetException>(() => Onnx.OnnxModel.Load(Path.Combine(folder, "bad.onnx"))).Message;
                Expect.True(message.Contains(words), message);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
