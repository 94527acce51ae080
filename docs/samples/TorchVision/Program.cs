#:project ../../../src/TensorNets.CSharp
#:package TorchSharp-cpu@0.107.0
#:package TorchVision@0.107.0
#:package TorchSharp.PyBridge@1.4.4

// A .pth file that PyTorch has written, into TorchVision's ResNet-18, compressed whole, and out as one safetensors file.
using TensorNets.CSharp;
using TorchSharp;
using TorchSharp.PyBridge;
using static TorchSharp.torch;

Native.Quiet();
random.manual_seed(1);

if (args.Length == 0)
{
    using var stranger = torchvision.models.resnet18(num_classes: 10); // stands for your training
    stranger.save_py("resnet18.pth");
}

using var net = torchvision.models.resnet18(num_classes: 10);
net.load_py(args.Length > 0 ? args[0] : "resnet18.pth");
net.eval();

var plan = Model.Plan(net, [1, 3, 64, 64], Budgets.ParameterRatio(2), new PlanSettings(Families: [Families.Tucker2]));
var chosen = plan.Layers.Count(layer => layer.IsFactorized);
Console.WriteLine($"{plan.DenseParameters:N0} -> {plan.Parameters:N0} parameters, {chosen} of {plan.Layers.Count} layers factorized");

var report = Model.Compress(net, plan, new CompressSettings(Sweeps: 2, Corrections: 0));
Console.WriteLine($"{report.Layers.Count} layers replaced, {report.Failed.Count} failed");
Model.SaveCompressed(net, "resnet18-small.safetensors");

using var fresh = torchvision.models.resnet18(num_classes: 10);
Model.LoadCompressed(fresh, "resnet18-small.safetensors");
fresh.eval();
using var image = randn(1, 3, 64, 64);
Console.WriteLine($"the loaded network says the same: {fresh.call(image).equal(net.call(image)).all().item<bool>()}");
