using TensorNets.CSharp;
using static TorchSharp.torch;

namespace TensorNets.Fuzz;

/// <summary>Compressed models, into a dense model that a refusal must leave as it was: its layers and their numbers.</summary>
internal sealed class ModelReader : IReader
{
    private readonly string path = Path.GetTempFileName();
    private readonly List<byte[]> corpus = [];
    private readonly nn.Module model = Dense();
    private readonly nn.Module[] modules;
    private readonly State before;

    // The search for how layers are applied.
    public int Fixed => 4 << 20;

    // The networks stand in the file as text, which is read as any text.
    public int Multiple => 800;

    internal ModelReader()
    {
        modules = [.. model.named_modules().Select(pair => pair.module)];
        before = new State(model);

        foreach (var paths in new[] { new[] { "conv", "head" }, ["conv"], [] })
        {
            var compressed = Dense();
            foreach (var path in paths) Model.Compress(compressed, path, Formats.Cp(2), options: new FitOptions(MaxSweeps: 1));
            Model.SaveCompressed(compressed, path);
            corpus.Add(File.ReadAllBytes(path));
            compressed.Dispose();
        }
    }

    private static nn.Module Dense()
    {
        random.manual_seed(1);
        return nn.Sequential(("conv", nn.Conv2d(4, 6, 3)), ("norm", nn.BatchNorm2d(6)), ("head", nn.Linear(6, 2)));
    }

    public byte[] Input(Random random) => Mutations.SafeTensors(random, corpus[random.Next(corpus.Count)], corpus[random.Next(corpus.Count)]);

    public void Read(byte[] input)
    {
        File.WriteAllBytes(path, input);
        Model.LoadCompressed(model, path);
    }

    public string? AfterRefusal() =>
        before.Holds(model) && model.named_modules().Select(pair => pair.module).SequenceEqual(modules) ? null : "a file that was refused has changed the model";

    public string? AfterAcceptance()
    {
        foreach (var (path, module) in model.named_modules().ToList())
        {
            if (module is not FactorizedLayer) continue;
            Model.Exchange(model, path, (nn.Module<Tensor, Tensor>)modules[Array.FindIndex(modules, old => ReferenceEquals(old, Old(path)))]).Dispose();
        }

        before.Restore(model);
        return AfterRefusal();
    }

    private nn.Module Old(string path) => path == "conv" ? modules.Single(module => module is TorchSharp.Modules.Conv2d) : modules.Single(module => module is TorchSharp.Modules.Linear);

    public void Dispose() => File.Delete(path);
}
