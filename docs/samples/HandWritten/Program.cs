#:project ../../../src/TensorNets.CSharp
#:package TorchSharp-cpu@0.107.0

// A network that is no named format, from its text to a layer: input channels a and positions d meet in two cores that share two bonds.
using TensorNets.CSharp;
using TorchSharp;
using static TorchSharp.torch;

Native.Quiet();
random.manual_seed(1);

var spec = TensorNetwork.Parse("sax, adb, btx -> sdt | s=32 d=9 t=48 a=6 b=6 x=4");
File.WriteAllText("network.svg", TensorNetwork.Diagram(spec));
Console.WriteLine($"{spec.Cores.Length} cores, {spec.Dims.Count} axes: drawn in network.svg");

// A kernel of this structure, and noise of a tenth of its norm.
using var truth = TensorNetwork.Random(spec, seed: 7);
var kernel = TensorNetwork.Reconstruct(truth);
kernel += 0.1 * kernel.norm() / Math.Sqrt(kernel.numel()) * randn_like(kernel);

using var plain = TensorNetwork.Factorize(kernel, spec);
using var balanced = TensorNetwork.Balance(plain.Network);
using var stable = TensorNetwork.FactorizeStable(kernel, spec);
Console.WriteLine($"least squares: relative error {plain.RelativeError:F3}, S {plain.Sensitivity:F0}; balanced {TensorNetwork.Sensitivity(balanced).item<float>():F0}");
Console.WriteLine($"stable:        relative error {stable.RelativeError:F3}, S {stable.Sensitivity:F0}");

// A 3×3 convolution by it, with the options of any convolution.
var geometry = Geometries.Convolution(32, 48, [3, 3], new ConvOptions(Stride: [2, 2], Padding: [1, 1]));
using var layer = Model.Layer(geometry, stable.Network);
using var images = randn(2, 32, 28, 28);
Console.WriteLine($"{layer.ParameterCount} parameters instead of {32 * 9 * 48}, output {string.Join("×", layer.call(images).shape)}, applied {layer.LoweringFor(images.shape)}");
