using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using TorchSharp.PyBridge;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Trained weights from files, through the C# door.</summary>
internal static class WeightTests
{
    internal static Test All => TestSequenced(TestList("weights", [
        TestCase("a safetensors state is read tensor by tensor, or whole, into a model", SafeTensorState),
        TestCase(
            "a state of PyTorch's is loaded into TorchVision's ResNet-18, which is then planned, compressed, written and read",
            ResNetFromPth),
        TestCase(
            "MobileNet at half its parameters and AlexNet's convolutions at a third: first and last layer stay, the rest is replaced or "
            + "says why",
            Vision),
        TestCase("a state that PyTorch itself has written is loaded", PyTorchState),
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
        SameStates(trained, fresh);
        Expect.Throws<TensorNetException>(() => SafeTensorFile.Open(path + "?"));
    });

    private static void SameStates(Module expected, Module found)
    {
        var state = found.state_dict();
        foreach (var (name, tensor) in expected.state_dict()) Expect.True(state[name].equal(tensor).all().item<bool>(), name);
    }

    private static void ResNetFromPth() => TempFolder.With(folder =>
    {
        using var scope = NewDisposeScope();
        var path = Path.Combine(folder, "resnet18.pth");
        random.manual_seed(1);
        using var trained = torchvision.models.resnet18(num_classes: 10);
        trained.save_py(path);
        random.manual_seed(2);
        using var net = torchvision.models.resnet18(num_classes: 10);
        net.load_py(path);
        SameStates(trained, net);

        // Ranks of a thirtieth: what is shown is the way, in seconds.
        var settings = new PlanSettings([Families.Tucker2], Ratios: [30]);
        var plan = Model.Plan(net, [1, 3, 32, 32], Budgets.ParameterRatio(8), settings);
        var report = Model.Compress(net, plan, new CompressSettings(Sweeps: 1));
        Expect.True(report.Layers.Count > 5 && report.Failed.Count == 0, $"{report}");
        Expect.Equal(plan.Parameters, net.parameters().Sum(parameter => parameter.numel()));
        var compressed = Path.Combine(folder, "resnet18.safetensors");
        Model.SaveCompressed(net, compressed);
        Model.LoadCompressed(trained, compressed);
        SameStates(net, trained);
        net.eval();
        trained.eval();
        using var _ = no_grad();
        var images = rand(2, 3, 32, 32);
        Expect.True(net.call(images).equal(trained.call(images)).all().item<bool>(), "outputs differ");
    });

    /// <summary>A small part of what <c>benchmarks -- torchvision</c> does.</summary>
    private static void Vision()
    {
        using var scope = NewDisposeScope();
        string[] matrices = ["classifier.1", "classifier.4"];
        var third = new PlanSettings([Families.Tucker2], Keep: matrices, Ratios: [3]);
        var half = new PlanSettings(Sweeps: 1);
        (Module<Tensor, Tensor> Net, long Size, Budget Budget, PlanSettings Settings, string First, string Last)[] cases =
        [
            (torchvision.models.mobilenet_v2(num_classes: 10), 32, Budgets.ParameterRatio(2), half, "features.0.0", "classifier.1"),
            (torchvision.models.alexnet(num_classes: 10), 64, Budgets.LayerError(1), third, "features.0", "classifier.6"),
        ];

        foreach (var (net, size, budget, settings, first, last) in cases)
        {
            var before = net.parameters().Sum(parameter => parameter.numel());
            var plan = Model.Plan(net, [1, 3, size, size], budget, settings);
            var report = Model.Compress(net, plan, new CompressSettings(Sweeps: 1, Corrections: 0));
            string Kept(string path) => plan.Layers.Single(layer => layer.Path == path).Kept;
            Expect.Equal(("the first layer", "the last layer"), (Kept(first), Kept(last)));
            Expect.True(plan.Layers.All(layer => layer.IsFactorized == (layer.Kept.Length == 0)), $"{plan}");
            Expect.True(report.Layers.Count > 3 && report.Failed.Count == 0, $"{report}");
            Expect.Equal(plan.Parameters, net.parameters().Sum(parameter => parameter.numel()));
            if (settings == half) Expect.True(2 * plan.Parameters <= before, $"{before} -> {plan.Parameters}");
            net.eval();
            using var _ = no_grad();
            Expect.SequenceEqual([1L, 10L], net.call(rand(1, 3, size, size)).shape);
            net.Dispose();
        }
    }

    /// <summary>Writes a state of the names and shapes that a safetensors file has, each tensor that of the file.</summary>
    private const string Convert = """
        import sys, compressed, torch
        torch.save({name: torch.tensor(array) for name, array in compressed.read(sys.argv[1])[0].items()}, sys.argv[2])
        """;

    private static void PyTorchState() => TempFolder.With(folder =>
    {
        Python.SkipWithout("torch", "python3-torch");
        using var scope = NewDisposeScope();
        var (safe, path) = (Path.Combine(folder, "net.safetensors"), Path.Combine(folder, "net.pth"));
        using var trained = Net();
        using var fresh = Net();
        SafeTensorFile.Save(safe, trained.state_dict());
        Python.Run(Convert, safe, path);
        fresh.load_py(path);
        SameStates(trained, fresh);
    });
}
