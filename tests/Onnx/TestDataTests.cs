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

    internal static Test All => TestList("test data", [
        TestCase("every model is read, and written back runs to the same bits", ReadAndWritten),
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
            // Nodes of noise give other numbers each time.
            if (Graphs(model).Any(node => node.OpType is "Bernoulli" or "RandomNormal" or "RandomNormalLike" or "RandomUniform" or "RandomUniformLike" or "Multinomial")) continue;
            foreach (var (name, tensor) in before) Expect.True(tensor.bytes.SequenceEqual(after[name].bytes), $"{name} of {file} differs");
        }

        File.Delete(copy);
        Console.WriteLine($"{read} models read and written, {run} run before and after, {layers} layers, {kept} of them kept");
        Expect.True(read > 1000 && run > 300, $"{read} read, {run} run");
    }

    private static IEnumerable<NodeProto> Graphs(Onnx.OnnxModel model) => Onnx.Graphs.Nodes(model.Proto.Graph);
}
