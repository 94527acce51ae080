using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Trained weights from files, through the C# door.</summary>
internal static class WeightTests
{
    internal static Test All => TestSequenced(TestList("weights", [
        TestCase("a safetensors state is read tensor by tensor, or whole, into a model", SafeTensorState),
    ]));

    private static Module<Tensor, Tensor> Net() => Sequential(("conv", Conv2d(3, 4, 3)), ("norm", BatchNorm2d(4)), ("head", Linear(4, 2)));

    private static void SafeTensorState() => TempFolder.With(folder =>
    {
        using var scope = NewDisposeScope();
        using var trained = Net();
        using var fresh = Net();
        var path = Path.Combine(folder, "net.safetensors");
        SafeTensorFile.Save(path, trained.state_dict(), new Dictionary<string, string> { ["made by"] = "hand" });

        using (var file = SafeTensorFile.Open(path))
        {
            Expect.Equal("hand", file.Metadata["made by"]);
            Expect.SequenceEqual(trained.state_dict().Keys.Order(), file.Entries.Select(entry => entry.Name).Order());
            foreach (var (name, tensor) in trained.state_dict()) Expect.True(file.Read(name).equal(tensor).all().item<bool>(), name);
            var missing = Expect.Throws<TensorNetException>(() => file.Read("heads.weight"));
            Expect.True(missing.Errors.Single().IsMissingKey, missing.Message);
            file.Dispose();
            Expect.True(Expect.Throws<TensorNetException>(() => file.Read("head.weight")).Errors.Single().IsDisposed, "closed");
        }

        Model.LoadState(fresh, SafeTensorFile.Load(path));
        foreach (var (name, tensor) in trained.state_dict()) Expect.True(fresh.state_dict()[name].equal(tensor).all().item<bool>(), name);
        Expect.Throws<TensorNetException>(() => SafeTensorFile.Open(path + "?"));
    });
}
