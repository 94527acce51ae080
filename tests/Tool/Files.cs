using TensorNets.CSharp;
using TorchSharp;
using TorchSharp.PyBridge;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration.Tool;

/// <summary>Small networks in files, in a folder of their own.</summary>
internal sealed class Files : IDisposable
{
    internal string Folder { get; } = Directory.CreateTempSubdirectory("tensornets").FullName;

    internal string At(string name) => Path.Combine(Folder, name);

    /// <summary>A network of strided and padded convolutions, a batch norm and linear layers.</summary>
    internal static Module<Tensor, Tensor> Network() => Sequential(
        ("stem", Conv2d(3, 8, 3, padding: 1L)),
        ("norm", BatchNorm2d(8)),
        ("middle", Conv2d(8, 12, 3, stride: 2L, padding: 1L, bias: false)),
        ("last", Conv2d(12, 12, 3, padding: 1L)),
        ("flat", Flatten()),
        ("hidden", Linear(12 * 16, 32)),
        ("head", Linear(32, 5)));

    /// <summary>The state of the network, dense.</summary>
    internal string Dense(string name = "dense.safetensors") => Write(name, (network, path) =>
        SafeTensorFile.Save(path, network.state_dict(), new Dictionary<string, string> { ["format"] = "pt" }));

    /// <summary>The same as PyTorch writes it.</summary>
    internal string Pickled(string name = "dense.pth") => Write(name, (network, path) =>
        PyTorchPickler.PickleStateDict(path, network.state_dict()));

    /// <summary>The same with two layers factorized, as the library writes it.</summary>
    internal string Compressed(string name = "compressed.safetensors") => Write(name, (network, path) =>
    {
        Model.Compress(network, "middle", Formats.Cp(6));
        Model.Compress(network, "hidden", Formats.TensorTrain(8));
        Model.SaveCompressed(network, path);
    });

    /// <summary>Writes the network, the same each time.</summary>
    private string Write(string name, Action<Module<Tensor, Tensor>, string> write)
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        using var network = Network();
        write(network, At(name));
        return At(name);
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
