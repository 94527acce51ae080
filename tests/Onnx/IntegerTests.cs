using Expecto;
using Google.Protobuf;
using Microsoft.FSharp.Core;
using Microsoft.ML.OnnxRuntime;
using Onnx;
using TensorNets.CSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>Cores of few bits as integers in ONNX.</summary>
internal static class IntegerTests
{
    /// <summary>Layers that are drawn; more by the environment variable.</summary>
    private static int Cases => int.TryParse(Environment.GetEnvironmentVariable("LAW_CASES"), out var cases) ? cases : 150;

    internal static Test All => TestList("integers", [
        TestCase("what ONNX Runtime restores of any layer's integers are its cores to the bit", ToTheBit),
        TestCase("a model of an old opset is raised, keeps its integers, and means what it meant", Raised),
        TestCase("a plan for bytes is written with the bits of each layer, dense kernels of few bits too", PlannedBits),
        TestCase("every core of a format is integers, unless scales belong to groups", CountsFloats),
        TestCase("nodes whose attributes are inputs later, or that flatten, mean the same in a raised opset", Rewritten),
        TestCase("an opset that changes what a node means is not raised, and the node is named", NotRaised),
    ]);

    private static readonly Scales[] Kinds = [Scales.PerSlice, Scales.PerCore, Scales.NewPerGroup(4)];

    private static void ToTheBit()
    {
        int restored = 0, floating = 0;
        foreach (var seed in Enumerable.Range(0, Cases))
        {
            using var scope = NewDisposeScope();
            var drawn = LayerCase.Draw(seed);
            if (LayerStages.check(drawn.Geometry, drawn.Spec).IsError) continue;
            using var layer = ChainTests.Layer(drawn);
            var (bits, scales) = (2 + seed % 7, Kinds[seed % 5 < 3 ? 0 : seed % 5 - 2]);
            CSharp.Model.Quantize(layer, new(bits, scales));
            var axes = drawn.Geometry.Kernel.IsEmpty ? (seed / 4) % 2 + 2 : 2;
            var plain = Onnx.OnnxModel.OfLayer(layer, 13, axes);
            var model = Onnx.OnnxModel.OfLayer(layer, 13, axes, integers: true);
            var nodes = model.Proto.Graph.Node.Where(node => node.OpType == "DequantizeLinear").ToList();
            if (nodes.Count > 0) Expect.Equal(bits <= 4 ? 21 : 13, model.Opset);
            Expect.True(nodes.All(node => model.Index.Constants[node.Input[0]].DataType == (bits <= 4 ? 22 : 3)), $"{drawn}: other types");
            var values = nodes.Select(node => node.Output[0]).ToList();
            var x = new Dictionary<string, Tensor> { ["x"] = ChainTests.Input(drawn, axes) };
            using var before = new Onnx.OnnxSession(plain.Proto, "layer", threads: 1);
            using var after = new Onnx.OnnxSession(model.Proto, "layer", values, threads: 1);
            var found = after.Run(x, [.. values, "y"]);
            foreach (var value in values)
            {
                var core = Onnx.TensorData.Read(plain.Index.Constants[value[..^"/restored".Length]]);
                Expect.SequenceEqual(core.shape, found[value].shape);
                Expect.True(found[value].bytes.SequenceEqual(core.bytes), $"{drawn}: {value}");
            }

            var expected = before.Run(x, ["y"])["y"];
            var error = ((found["y"] - expected).norm() / expected.norm().clamp_min(1e-30)).item<float>();
            Expect.True(error < 1e-5, $"relative error {error} of {drawn}");
            if (scales.IsPerGroup) continue;
            restored += values.Count;
            floating += model.Proto.Graph.Node.Count(node => node.OpType is "Conv" or "ConvTranspose" or "Gemm" or "MatMul") - values.Count;
        }

        Console.WriteLine($"{restored} cores restored, {floating} weights of several cores");
        Expect.True(restored > floating, $"only {restored} of {restored + floating} weights are integers");
    }

    /// <summary>Two convolutions of opset 8 in a file of IR 3, whose initializers are inputs.</summary>
    private static GraphBuilder Old(string last) => new GraphBuilder(3, 8)
        .Input("x", [1, 8, 9, 9]).Output("y", [1, 16, 9, 9])
        .Weight("u", [16, 8, 3, 3], seed: 1, isInput: true).Weight("v", [16, 16, 3, 3], seed: 2, isInput: true)
        .Weight("s", [16], isInput: true)
        .Node("Conv", ["x", "u"], "a", ("pads", new long[] { 1, 1, 1, 1 })).Node("BatchNormalization", ["a", "s", "s", "s", "p"], "b",
            ("spatial", 1L))
        .Weight("p", [16], isInput: true)
        .Node("Relu", ["b"], "c").Node("Conv", ["c", "v"], "d", ("pads", new long[] { 1, 1, 1, 1 })).Node(last, ["d"], "y");

    /// <summary>The model of a graph whose batch norm has variances.</summary>
    private static Onnx.OnnxModel Read(GraphBuilder graph)
    {
        var positive = graph.Graph.Initializer.First(initializer => initializer.Name == "p");
        using var numbers = Onnx.TensorData.Read(positive).abs();
        positive.RawData = Onnx.TensorData.Write("p", numbers, positive.DataType).RawData;
        return graph.Read();
    }

    private static (Onnx.OnnxModel Model, CompressReport Report) Compressed(GraphBuilder graph, int bits)
    {
        var model = Read(graph);
        var source = model.Source(Onnx.OnnxInputs.Noise(model));
        var plan = CSharp.Model.Plan(source, Budget.NewParameterRatio(2), new(KeepFirst: false, KeepLast: false));
        return (model, CSharp.Model.Compress(source, plan, new(Workers: 1, Quantize: new(bits))));
    }

    private static void Raised()
    {
        foreach (var bits in new[] { 8, 6, 4, 3 })
        {
            using var scope = NewDisposeScope();
            var (model, report) = Compressed(Old("Sigmoid"), bits);
            var floats = model.With(report);
            Expect.Equal(8, floats.Opset);
            using var file = new MemoryStream(model.With(report, integers: true).Proto.ToByteArray());
            var smaller = Onnx.OnnxModel.Read(file);
            Expect.Equal(bits <= 4 ? 21 : 13, smaller.Opset);
            IReadOnlyDictionary<string, Tensor>[] batches = [Onnx.OnnxInputs.Noise(model)];
            var same = Onnx.OnnxVerify.Compare(floats, smaller, batches, pairs: 0).Relative;
            Expect.True(same < 1e-6, $"{bits} bits: the integers are {same} from their floats");
            var layers = Onnx.OnnxVerify.Compare(model, smaller, batches, pairs: 0).Layers;
            Expect.Equal(report.Layers.Count, layers.Count);
            Expect.True(Onnx.OnnxFile.Size(smaller.Proto) < Onnx.OnnxFile.Size(floats.Proto) * (bits <= 4 ? .25 : .4), "too large");
            var made = smaller.Proto.Graph.Node.CountBy(node => node.OpType).ToDictionary();
            Expect.Equal(made["Conv"], made["DequantizeLinear"]);
            Expect.True(!Loaded(smaller).Contains("DequantizeLinear"), "ONNX Runtime keeps the integers");
        }
    }

    private static void PlannedBits()
    {
        using var scope = NewDisposeScope();
        var model = Read(Old("Sigmoid"));
        var source = model.Source(Onnx.OnnxInputs.Noise(model));
        var plan = CSharp.Model.Plan(source, Budgets.ByteRatio(4), new(KeepFirst: false, KeepLast: false));
        var (first, second) = (plan.Layers[0].Path, plan.Layers[1].Path);
        plan = CSharp.Model.ChooseBits(CSharp.Model.KeepDense(plan, first), first, 8);
        plan = CSharp.Model.ChooseBits(CSharp.Model.Choose(plan, second, Formats.Cp(20)), second, 4);
        model.Check(plan);
        var report = CSharp.Model.Compress(source, plan, new(Workers: 1, Sweeps: 3, Corrections: 3));
        Expect.SequenceEqual([8, 4], report.Layers.Select(layer => CSharp.Model.Integers(layer.Layer)!.Bits));
        Expect.Equal(plan.Layers[0].Choice.Bytes, CSharp.Model.Bytes(report.Layers[0].Layer));
        var (floats, integers) = (model.With(report, plan), model.With(report, plan, integers: true));
        var types = integers.Proto.Graph.Node.Where(node => node.OpType == "DequantizeLinear")
            .Select(node => integers.Index.Constants[node.Input[0]].DataType).Distinct().Order();
        Expect.SequenceEqual([3, 22], types);
        var same = Onnx.OnnxVerify.Compare(floats, integers, [Onnx.OnnxInputs.Noise(model)], pairs: 0).Relative;
        Expect.True(same < 1e-6, $"the integers are {same} from their floats");
        CountsEntries(model, report, integers);
        var refused = Read(Old("LpNormalization"));
        Expect.Throws<TensorNetException>(() => refused.Check(plan));
    }

    /// <summary>Every core is counted as integers, or as a layer in floats.</summary>
    private static void CountsEntries(Onnx.OnnxModel model, CompressReport report, Onnx.OnnxModel integers)
    {
        var entries = report.Layers.Sum(layer => layer.Layer.Factors.Sum(core => core.numel()));
        var floats = Floats(integers);
        var scales = integers.Parameters - floats - (model.Parameters - model.Layers.Sum(layer => layer.Parameters));
        Expect.Equal(entries, integers.Integers + floats);
        Expect.Equal(entries, integers.Layers.Sum(layer => layer.Parameters));
        Expect.True(scales > 0 && scales < entries / 4, $"{scales} scales of {entries} entries");
        Expect.True(integers.Layers.All(layer => layer.Shape.Count > 0 && layer.DType is "Int8" or "Int4" or "Float"), $"{integers}");
    }

    /// <summary>Numbers of layers that are written in floating point.</summary>
    private static long Floats(Onnx.OnnxModel model) =>
        model.Layers.Where(layer => layer.DType == "Float").Sum(layer => layer.Parameters);

    private static void CountsFloats()
    {
        using var scope = NewDisposeScope();
        var model = Read(Old("Sigmoid"));
        var source = model.Source(Onnx.OnnxInputs.Noise(model));
        var plan = CSharp.Model.Plan(source, Budgets.LayerError(0), new(KeepFirst: false, KeepLast: false));
        Format[] formats =
            [Formats.Cp(7), Formats.Tucker2(5, 6), Formats.Tucker(5, 4, 6), Formats.TensorTrain(4, 6), Formats.TensorChain(2, 4, 3)];
        foreach (var (format, scales) in formats.SelectMany(_ => Kinds, (format, scales) => (format, scales)))
        {
            var chosen = plan.Layers.Aggregate(plan, (made, layer) => CSharp.Model.Choose(made, layer.Path, format));
            var settings = new CompressSettings(Workers: 1, Sweeps: 2, Corrections: 0, Quantize: new(8, scales));
            var report = CSharp.Model.Compress(source, chosen, settings);
            var written = model.With(report, chosen, integers: true);
            var entries = report.Layers.Sum(layer => layer.Layer.Factors.Sum(core => core.numel()));
            var floats = Floats(written);
            Expect.Equal(entries, written.Integers + floats);
            Expect.Equal(scales.IsPerGroup, floats > 0);
            foreach (var layer in report.Layers) layer.Layer.Dispose();
        }
    }

    /// <summary>The operators that ONNX Runtime keeps when it loads a model without looking for arithmetic of integers.</summary>
    private static List<string> Loaded(Onnx.OnnxModel model)
    {
        var file = Path.GetTempFileName();
        try
        {
            using var options = new SessionOptions { OptimizedModelFilePath = file };
            options.LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL;
            options.AddSessionConfigEntry("session.disable_quant_qdq", "1");
            using var session = new InferenceSession(model.Proto.ToByteArray(), options);
            return [.. ModelProto.Parser.ParseFrom(File.ReadAllBytes(file)).Graph.Node.Select(node => node.OpType)];
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>A convolution of an old opset, and behind it an operator.</summary>
    private static GraphBuilder Followed(long opset, long[] shape, string operation, params (string Name, object Value)[] attributes) =>
        new GraphBuilder(4, opset).Input("x", [2, 8, 5, 6]).Output("y", shape).Weight("u", [6, 8, 3, 3], seed: 1)
            .Node("Conv", ["x", "u"], "d", ("pads", new long[] { 1, 1, 1, 1 })).Node(operation, ["d"], "y", attributes);

    private static IEnumerable<GraphBuilder> Rewritable()
    {
        long[] same = [2, 6, 5, 6];
        yield return Followed(9, same, "Clip", ("min", -.1f), ("max", .3f));
        yield return Followed(7, same, "Clip", ("max", .3f));
        yield return Followed(10, same, "Clip", ("min", 0f));
        yield return Followed(8, same, "Clip");
        yield return Followed(9, same, "Dropout", ("ratio", .3f));
        yield return Followed(10, [2, 7, 8, 6], "Pad", ("pads", new long[] { 0, 1, 2, 0, 0, 0, 1, 0 }), ("value", .5f));
        yield return Followed(7, [2, 6, 7, 6], "Pad", ("pads", new long[] { 0, 0, 2, 0, 0, 0, 0, 0 }), ("mode", "reflect"));
        yield return Followed(9, [2, 4, 3, 6], "Slice", ("starts", new long[] { 1, 2 }), ("ends", new long[] { 5, 99 }), ("axes", new long[] { 1, 2 }));
        yield return Followed(9, [1, 4, 5, 6], "Slice", ("starts", new long[] { 1, 2 }), ("ends", new long[] { 2, 6 }));
        yield return Followed(11, [1, 2, 6, 5, 6], "Unsqueeze", ("axes", new long[] { 0 }));
        foreach (var operation in new[] { "Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp" })
        {
            yield return Followed(9, [2, 6, 1, 1], $"Reduce{operation}", ("axes", new long[] { 2, 3 }));
            yield return Followed(12, [2, 5, 6], $"Reduce{operation}", ("axes", new long[] { 1 }), ("keepdims", 0L));
            // The product of all numbers would be zero.
            if (operation != "Prod") yield return Followed(11, [1, 1, 1, 1], $"Reduce{operation}");
        }

        foreach (var operation in new[] { "Softmax", "LogSoftmax", "Hardmax" })
        {
            yield return Followed(8, same, operation);
            foreach (var axis in new[] { 0L, 1, 2, 3 }) yield return Followed(9, same, operation, ("axis", axis));
            foreach (var axis in new[] { -1L, -2, -4 }) yield return Followed(12, same, operation, ("axis", axis));
        }

        foreach (var (opset, own) in new[] { (9L, true), (12L, true), (11L, false) })
        {
            var halves = Followed(opset, [2, 3, 5, 6], "Split", [("axis", 1L), .. own ? new[] { ("split", (object)new long[] { 3, 3 }) } : []]);
            halves.Graph.Node[^1].Output.Add("z");
            yield return halves;
        }

        var squeezed = Followed(9, [2, 6, 5, 6], "Squeeze", ("axes", new long[] { 2 }));
        squeezed.Graph.Node[^1].Input[0] = "e";
        squeezed.Graph.Node.Insert(1, Onnx.Nodes.Of("Unsqueeze", "Unsqueeze_e", ["d"], "e", Onnx.Nodes.List("axes", [2])));
        yield return squeezed;
        var resized = Followed(11, [2, 6, 10, 12], "Resize", ("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"));
        resized.Graph.Node[^1].Input.Add(["r", "s"]);
        resized.Graph.Initializer.Add(new TensorProto { Name = "r", DataType = 1, Dims = { 0 } });
        resized.Graph.Initializer.Add(new TensorProto { Name = "s", DataType = 1, Dims = { 4 }, FloatData = { 1, 1, 2, 2 } });
        yield return resized;
    }

    private static void Rewritten()
    {
        using var scope = NewDisposeScope();
        var graphs = Rewritable().ToList();
        foreach (var bits in new[] { 8, 4 })
        {
            // All have the same convolution.
            var first = graphs[0].Read();
            var source = first.Source(Onnx.OnnxInputs.Noise(first));
            var plan = CSharp.Model.Plan(source, Budget.NewParameterRatio(2), new(KeepFirst: false, KeepLast: false));
            var report = CSharp.Model.Compress(source, plan, new(Workers: 1, Quantize: new(bits)));
            foreach (var graph in graphs)
            {
                var model = graph.Read();
                var (floats, integers) = (model.With(report), model.With(report, integers: true));
                Expect.True(integers.Opset >= 13, $"opset {integers.Opset}");
                var same = Onnx.OnnxVerify.Compare(floats, integers, [Onnx.OnnxInputs.Noise(model)], pairs: 0).Relative;
                Expect.True(same < 1e-5, $"{same} at {bits} bits: {graph.Graph.Node[^1]}");
            }
        }
    }

    private static void NotRaised()
    {
        using var scope = NewDisposeScope();
        var (model, report) = Compressed(Old("LpNormalization"), 6);
        var message = Expect.Throws<TensorNetException>(() => model.With(report, integers: true)).Message;
        Expect.True(message.Contains("LpNormalization_y") && message.Contains("13"), message);
        Expect.Equal(message, Expect.Throws<TensorNetException>(() => model.CheckBits(6)).Message);
        Expect.Equal(8, model.With(report).Opset);
    }
}
