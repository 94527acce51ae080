using System.Globalization;
using Expecto;
using Google.Protobuf;
using Onnx;
using static Expecto.CSharp.Runner;
using static Onnx.TensorProto.Types;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>Networks in the place of weights: every operator, wherever the weight stands.</summary>
internal static class WritingTests
{
    private const string Cp = "s r, k r, t r -> s k t", Train = "s a, a k b, b t -> s k t", Matrix = "s a, a t -> s t";

    internal static Test All => TestList("writing", [
        .. Cases().Select(drawn =>
            TestCase($"a network in the place of its own dense weight changes nothing: {drawn.Name}", () => Same(drawn))),
        TestCase("a model compressed by a plan differs layer by layer as the kernels do, and says so in its metadata", Planned),
        TestCase("no tensor is left behind", Counted),
        TestCase("a network that has no chain is refused by name, in the plan too", Refused),
    ]);

    private sealed record Case(string Name, GraphBuilder Graph, string Spec, long[] Input)
    {
        internal double Tolerance { get; init; } = 1e-5;
    }

    private static GraphBuilder With(long[] input, long[] output, long ir = 8, long opset = 13, DataType type = DataType.Float) =>
        new GraphBuilder(ir, opset).Input("x", input, type).Output("y", output, type);

    private static IEnumerable<Case> Cases()
    {
        long[] image = [2, 4, 7, 7];
        Case Conv(string name, GraphBuilder graph, string spec, params (string, object)[] attributes)
        {
            string[] inputs = graph.Graph.Initializer.Any(w => w.Name == "b") ? ["x", "w", "b"] : ["x", "w"];
            return new(name, graph.Node("Conv", inputs, "y", attributes), spec, image);
        }

        var open = new long[] { -1, 4, -1, -1 };
        GraphBuilder Plain(long ir = 8, bool isInput = false) =>
            With(open, [-1, 6, -1, -1], ir).Weight("w", [6, 4, 3, 3], isInput: isInput);
        yield return Conv("CP", Plain(), $"{Cp} | s=4 k=9 t=6 r=3");
        yield return Conv("CP by dimension, with bias", Plain().Weight("b", [6]), "s r, h r, w r, t r -> s h w t | s=4 h=3 w=3 t=6 r=3",
            ("pads", new long[] { 1, 0, 2, 1 }));
        yield return Conv("auto_pad", Plain(), $"{Train} | s=4 k=9 t=6 a=2 b=3",
            ("auto_pad", "SAME_LOWER"), ("strides", new long[] { 2, 2 }));
        yield return Conv("auto_pad by dimension", Plain(), "s a, a h b, b w c, c t -> s h w t | s=4 h=3 w=3 t=6 a=2 b=3 c=2",
            ("auto_pad", "SAME_UPPER"), ("strides", new long[] { 2, 3 }));
        yield return Conv("a ring", Plain(), "a s b, b k c, c t a -> s k t | s=4 k=9 t=6 a=2 b=2 c=2");
        yield return Conv("channels in factors, with bias", Plain().Weight("b", [6]),
            "p a, q a k b, b u, b v -> p q k u v | p=2 q=2 k=9 u=2 v=3 a=2 b=2");
        yield return Conv("IR 3", Plain(3, true), $"{Train} | s=4 k=9 t=6 a=2 b=3");
        yield return Conv("IR 3, weight in a node", With(open, [-1, 6, -1, -1], 3).Constant("w", [6, 4, 3, 3]), $"{Cp} | s=4 k=9 t=6 r=3");
        yield return Conv("groups", With(open, [-1, 6, -1, -1]).Weight("w", [6, 2, 3, 3]),
            "g s r, g k r, g t r -> g s k t | g=2 s=2 k=9 t=3 r=2", ("group", 2L));
        var line = With([-1, 4, -1], [-1, 6, -1]).Weight("w", [6, 4, 3]).Node("Conv", ["x", "w"], "y", ("dilations", new long[] { 2 }));
        yield return new("Conv of 1 dimension", line, $"{Cp} | s=4 k=3 t=6 r=2", [2, 4, 9]);
        var volume = With([-1, 4, -1, -1, -1], [-1, 6, -1, -1, -1]).Weight("w", [6, 4, 2, 2, 2]).Node("Conv", ["x", "w"], "y");
        yield return new("Conv of 3 dimensions", volume, $"{Cp} | s=4 k=8 t=6 r=2", [1, 4, 4, 5, 4]);
        var transposed = With(open, [-1, 6, -1, -1]).Weight("w", [4, 6, 3, 3]).Weight("b", [6]).Node("ConvTranspose", ["x", "w", "b"], "y",
            ("strides", new long[] { 2, 2 }), ("output_padding", new long[] { 1, 0 }), ("pads", new long[] { 1, 0, 1, 0 }));
        yield return new("ConvTranspose", transposed, $"{Train} | s=4 k=9 t=6 a=2 b=3", image);
        foreach (var drawn in Products()) yield return drawn;
    }

    private static IEnumerable<Case> Products()
    {
        const string factors = "p u a, a q v -> p q u v | p=2 q=2 u=2 v=3 a=2";
        string[] own = ["x", "w"], biased = ["x", "w", "b"];
        Case Gemm(string name, GraphBuilder graph, string[] inputs, string spec, params (string, object)[] attributes) =>
            new(name, graph.Node("Gemm", inputs, "y", attributes), spec, [3, 4]);
        GraphBuilder Flat(long opset = 13) => With([-1, 4], [-1, 6], opset: opset);
        yield return Gemm("Gemm", Flat().Weight("w", [6, 4]).Weight("b", [6]), biased, $"{Matrix} | s=4 t=6 a=2",
            ("transB", 1L), ("alpha", .5f), ("beta", 2f));
        yield return Gemm("Gemm of opset 9", Flat(9).Weight("w", [4, 6]).Weight("b", [3, 6]), biased, $"{Matrix} | s=4 t=6 a=2",
            ("beta", 2f));
        yield return Gemm("Gemm without bias", Flat().Weight("w", [4, 6]), own, $"{Matrix} | s=4 t=6 a=2", ("alpha", 3f));
        yield return Gemm("Gemm in factors", Flat().Weight("w", [4, 6]).Weight("b", [6]), biased, factors, ("alpha", 3f), ("beta", .5f));
        Case MatMul(string name, GraphBuilder graph, string spec, params long[] input) =>
            new(name, graph.Node("MatMul", own, "y"), spec, input);
        GraphBuilder Deep() => With([-1, -1, 4], [-1, -1, 6]).Weight("w", [4, 6]);
        GraphBuilder Of(DataType type) => With([-1, 4], [-1, 6], type: type).Weight("w", [4, 6], type);
        yield return MatMul("MatMul", Deep(), $"{Matrix} | s=4 t=6 a=2", 2, 3, 4);
        yield return MatMul("MatMul in factors", Deep(), factors, 2, 3, 4);
        var left = With([-1, 4, -1], [-1, 6, -1]).Weight("w", [6, 4]).Node("MatMul", ["w", "x"], "y");
        yield return new("MatMul from the left", left, $"{Matrix} | s=4 t=6 a=2", [2, 4, 3]);
        yield return MatMul("MatMul in float64", Of(DataType.Double), $"{Matrix} | s=4 t=6 a=2", 2, 4) with { Tolerance = 1e-12 };
        yield return MatMul("MatMul in half precision", Of(DataType.Float16), $"{Matrix} | s=4 t=6 a=2", 2, 4) with { Tolerance = 1e-2 };
        var shared = With([-1, 4], [-1, 4]).Weight("w", [4, 4]).Node("MatMul", own, "a").Node("Relu", ["a"], "c")
            .Node("MatMul", ["c", "w"], "y");
        yield return new("a shared weight", shared, $"{Matrix} | s=4 t=4 a=2", [3, 4]);
    }

    private static void Same(Case drawn)
    {
        using var scope = NewDisposeScope();
        var (model, layer, network) = Dense(drawn);
        var smaller = model.Replace([new(layer, network, null)]);
        using var written = new MemoryStream(smaller.Proto.ToByteArray());
        smaller = Onnx.OnnxModel.Read(written);
        Expect.Equal(model.IrVersion, smaller.IrVersion);
        Expect.Equal(model.Opset, smaller.Opset);
        Expect.True(!smaller.Index.Constants.ContainsKey("w"), "the dense weight is still there");
        var inputs = Onnx.OnnxInputs.Noise(model, new Dictionary<string, long[]> { ["x"] = drawn.Input });
        var comparison = Onnx.OnnxVerify.Compare(model, smaller, [inputs], pairs: 0);
        Expect.True(comparison.Relative < drawn.Tolerance, $"relative error {comparison.Relative}");
    }

    /// <summary>The model with the dense weight of a random network.</summary>
    private static (Onnx.OnnxModel Model, Onnx.OnnxLayer Layer, Network Network) Dense(Case drawn)
    {
        var layer = drawn.Graph.Read().Layers.Single();
        Expect.Equal("", layer.Kept);
        var geometry = layer.Geometry!;
        var network = NetworkModule.random(ScalarType.Float64, 3, LayerCase.Parsed(drawn.Spec));
        var kernel = Contraction.reconstruct(network).reshape([.. ConvGeometryModule.kernelShape(geometry).Select(size => (long)size)]);
        var weight = !geometry.Kernel.IsEmpty ? ConvGeometryModule.weightOfKernel(geometry, kernel) : layer.InFirst ? kernel : kernel.mT;
        var tensor = drawn.Graph.Graph.Initializer.FirstOrDefault(initializer => initializer.Name == "w")
            ?? drawn.Graph.Graph.Node[0].Attribute[0].T;
        tensor.RawData = Onnx.TensorData.Write("w", weight.contiguous(), tensor.DataType).RawData;
        var model = drawn.Graph.Read();
        return (model, model.Layers.Single(), network);
    }

    private static GraphBuilder Three() => new GraphBuilder().Input("x", [-1, 8, 9, 9]).Output("y", [-1, 12, 9, 9])
        .Weight("u", [16, 8, 3, 3], seed: 1).Weight("v", [16, 16, 3, 3], seed: 2).Weight("w", [12, 16, 1, 1], seed: 3)
        .Node("Conv", ["x", "u"], "a", ("auto_pad", "SAME_UPPER")).Node("Relu", ["a"], "b")
        .Node("Conv", ["b", "v"], "c", ("pads", new long[] { 1, 1, 1, 1 })).Node("Relu", ["c"], "d").Node("Conv", ["d", "w"], "y");

    private static void Planned()
    {
        using var scope = NewDisposeScope();
        var model = Three().Read();
        IReadOnlyDictionary<string, Tensor>[] batches = [Onnx.OnnxInputs.Noise(model), Onnx.OnnxInputs.Noise(model, seed: 2)];
        var sigmas = model.Covariances(batches);
        Expect.SequenceEqual(["Conv_a", "Conv_c", "Conv_y"], sigmas.Keys);
        var source = model.Source(batches[0]);
        var plan = CSharp.Model.Plan(source, Budget.NewParameterRatio(2), new(KeepFirst: false, KeepLast: false, Covariances: sigmas));
        Expect.True(plan.Layers[0].Flops == 2 * 16 * 8 * 9 * 81, $"{plan.Layers[0].Flops} FLOPs");
        model.Check(plan);
        var report = CSharp.Model.Compress(source, plan, new(Covariances: sigmas, Workers: 1));
        var smaller = model.With(report, plan);
        Expect.True(smaller.Parameters <= model.Parameters / 2, $"{smaller.Parameters} of {model.Parameters} parameters");
        var read = 0;
        var comparison = Onnx.OnnxVerify.Compare(model, smaller, batches.Select(batch => (read++, batch).batch), pairs: 1);
        Expect.Equal(batches.Length, read);
        Expect.Equal(report.Layers.Count, comparison.Layers.Count);
        foreach (var layer in comparison.Layers)
        {
            // Σ takes neighbouring positions for uncorrelated, so that errors are near what is predicted, no more.
            Expect.True(layer.Relative < 2 * layer.Predicted + 1e-5 && layer.Relative > layer.Predicted / 3, $"{layer}");
        }

        var (shown, culture) = (comparison.ToString(), CultureInfo.CurrentCulture);
        CultureInfo.CurrentCulture = new CultureInfo("") { NumberFormat = { NumberDecimalSeparator = "," } };
        Expect.Equal(shown, comparison.ToString());
        CultureInfo.CurrentCulture = culture;
        Expect.True(shown.Contains("Conv_c"), shown);

        var times = Onnx.OnnxVerify.LayerTimes(model, report, plan, pairs: 2);
        Expect.SequenceEqual(report.Layers.Select(layer => layer.Path), times.Keys);
        Expect.True(times.Values.All(time => time is { Before: > 0, After: > 0, Ratio: > 0 }), "a time is none");
        foreach (var planned in plan.Layers.Where(layer => layer.Candidates.Count > 0))
        {
            var found = Onnx.OnnxVerify.CandidateTimes(model, pairs: 1)(planned, planned.Candidates);
            Expect.Equal(planned.Candidates.Count + 1, found.Count);
            Expect.True(found.All(time => time > 0), $"{planned.Path}: {string.Join(", ", found)}");
        }

        var first = report.Layers[0].Path;
        var mixed = model.With(report, plan, [first]);
        Expect.Equal(report.Layers.Count - 1, Onnx.OnnxVerify.Compare(model, mixed, batches, pairs: 0).Layers.Count);
        Expect.True(mixed.Layers.Any(layer => layer.Path == first), $"{first} is not as it was");
    }

    private static void Counted()
    {
        var before = NativeTensors.Count;
        var model = Three().Read();
        var inputs = Onnx.OnnxInputs.Noise(model);
        var source = model.Source(inputs);
        var plan = CSharp.Model.Plan(source, Budget.NewParameterRatio(2), new(KeepFirst: false, KeepLast: false));
        var report = CSharp.Model.Compress(source, plan, new(Workers: 1));
        Expect.True(Onnx.OnnxVerify.PlanTimes(model, plan, inputs, pairs: 1) is { Before: > 0, After: > 0, Ratio: > 0 }, "a time is none");
        Onnx.OnnxVerify.Compare(model, model.With(report, plan), [inputs], pairs: 1);
        Onnx.OnnxVerify.LayerTimes(model, report, plan, pairs: 1);
        Onnx.OnnxVerify.CandidateTimes(model, pairs: 1)(plan.Layers[1], plan.Layers[1].Candidates);
        foreach (var sigma in model.Covariances([inputs]).Values) sigma.Dispose();

        // TorchSharp counts a parameter twice when it is made and once when it goes.
        var shells = report.Layers.Sum(made => made.Layer.parameters().Count());
        foreach (var made in report.Layers) made.Layer.Dispose();
        foreach (var tensor in inputs.Values) tensor.Dispose();
        Expect.Equal(before + shells, NativeTensors.Count);
    }

    private static void Refused()
    {
        using var scope = NewDisposeScope();
        var model = Three().Read();
        var plan = CSharp.Model.Plan(model.Source(), Budget.NewLayerError(1e-9), new(KeepFirst: false, KeepLast: false));
        var layer = model.Layers[1];
        var spec = "s a, a b, b c, c d, d e, e f, f k g, g h, h t -> s k t | s=16 k=9 t=16 a=2 b=2 c=2 d=2 e=2 f=2 g=2 h=2";
        var network = NetworkModule.random(ScalarType.Float64, 3, LayerCase.Parsed(spec));
        var message = Expect.Throws<TensorNetException>(() => model.Replace([new(layer, network, null)])).Message;
        Expect.True(message.Contains("at most 8 cores"), message);
        model.Check(plan);
    }
}
