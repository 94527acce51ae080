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
        TestCase("a weight is found as an initializer, one that is an input too, a constant, in half precision and beside the file",
            WeightsAreFound),
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
            .Node("MatMul", ["x", "w"], "a").Node("MatMul", ["a", "w"], "y")
            .Node("Gemm", ["a", "w", "b"], "z", ("transB", 1L)).Weight("b", [5]);
        var model = graph.Read();
        Expect.Equal("its weight is shared by layers of different kinds", model.Layers.Single().Kept);
        graph.Graph.Node.RemoveAt(2);
        graph.Graph.Output.RemoveAt(1);
        Expect.Equal(2, graph.Read().Layers.Single().Nodes.Count);
        Expect.Equal("", graph.Read().Layers.Single().Kept);

        // A weight by the name of another layer is not that layer's.
        var named = Plain().Input("v", [6, 4, 3, 3]).Weight("Conv_y", [6, 4, 3, 3]).Output("z", [1, 6, 6, 6])
            .Node("Conv", ["x", "v"], "y").Node("Conv", ["x", "Conv_y"], "z");
        Expect.SequenceEqual(["Conv_y", "Conv_z"], named.Read().Layers.Select(layer => layer.Path));
        Expect.Equal("", named.Read().Layers[1].Kept);
    }

    private static void Reasons()
    {
        void Says(string words, GraphBuilder graph)
        {
            var kept = graph.Read().Layers.Single().Kept;
            Expect.True(kept.Contains(words), $"expected {words}, found: {kept}");
        }

        GraphBuilder Conv(GraphBuilder graph) => graph.Node("Conv", ["x", "w"], "y");
        GraphBuilder Own() => Conv(Plain().Weight("w", [6, 4, 3, 3]));
        Says("depthwise", Plain().Weight("w", [4, 1, 3, 3]).Node("Conv", ["x", "w"], "y", ("group", 4L)));
        Says("input of the graph", Conv(Plain().Input("w", [6, 4, 3, 3])));
        Says("computed in the graph (Relu)", Conv(Plain().Weight("v", [6, 4, 3, 3]).Node("Relu", ["v"], "w")));
        var quantized = Conv(Plain().Weight("v", [6, 4, 3, 3], DataType.Int8).Node("DequantizeLinear", ["v"], "w"));
        Says("quantized", quantized);
        Expect.Equal(216L, quantized.Read().Layers[0].Parameters);
        Expect.Equal(216L, quantized.Read().Integers);
        quantized.Graph.Initializer[0].Dims[0] = 1L << 40;
        Expect.Equal(0L, quantized.Read().Integers);
        // Two nodes of one weight are one layer, as they are where it is no integers.
        var twice = new GraphBuilder().Input("x", [2, 5]).Output("y", [2, 5]).Weight("v", [5, 5], DataType.Int8).Weight("s", [])
            .Node("DequantizeLinear", ["v", "s"], "w").Node("MatMul", ["x", "w"], "a").Node("MatMul", ["a", "w"], "y").Read();
        Expect.Equal(twice.Integers, twice.Layers.Single().Parameters);
        // No valid graph, but a file may hold it: nodes that make each other's inputs.
        foreach (var operation in (string[])["Cast", "DequantizeLinear"])
        {
            var round = Conv(Plain().Node(operation, ["w"], "v").Node(operation, ["v"], "w"));
            Says("it", round);
            Expect.Equal(0L, round.Read().Integers);
        }

        Says("read by Relu too", Own().Node("Relu", ["w"], "z"));
        Says("leaves the graph", Own().Output("w", [6, 4, 3, 3]));
        Says("opset is 4", Conv(new GraphBuilder(opset: 4).Input("x", [1, 4, 8, 8]).Weight("w", [6, 4, 3, 3])));
        var lacking = Own();
        lacking.Graph.Initializer[0].Dims[0] = 1L << 40;
        Says("holds 864 bytes", lacking);
    }

    private static void BadFiles()
    {
        string Refused(byte[] bytes) => Expect.Throws<TensorNetException>(() => Onnx.OnnxModel.Read(new MemoryStream(bytes))).Message;
        Expect.True(Refused([]).Contains("no graph"), "empty");
        Expect.True(Refused([1, 2, 3, 4]).Contains("no ONNX model"), "noise");
        var whole = Plain().Weight("w", [6, 4, 3, 3]).Node("Conv", ["x", "w"], "y").Model.ToByteArray();
        Expect.True(Refused(whole[..(whole.Length / 2)]).Contains("no ONNX model"), "cut");
        Expect.True(Refused(new GraphBuilder(ir: 2).Model.ToByteArray()).Contains("IR version is 2"), "ir");
        var missing = Expect.Throws<TensorNetException>(() => Onnx.OnnxModel.Load("no/such.onnx")).Message;
        Expect.True(missing.Contains("no such file"), missing);
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
                ("location", "/etc/passwd", "within its folder"), ("location", "../x", "within its folder"),
                ("location", "none", "missing"), ("offset", "-1", "whole number"), ("offset", "1000000", "is said to have"),
                ("length", "99999999999", "is said to have"),
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
