(**
---
title: A tour in ten minutes
category: Learn
categoryindex: 1
index: 2
---
# A tour in ten minutes

From a network on paper to a compressed model in a file. Each step has a page of its own, linked at its end.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"

(** Functions return every error that they find. A script may as well stop there. The seed makes the numbers below: *)
open System.IO
open TorchSharp
open TensorNets

Native.quiet ()
torch.random.manual_seed 1L |> ignore

let orStop result = TensorNetError.raiseErrors result
let shapeOf (tensor: torch.Tensor) = tensor.shape |> Seq.map string |> String.concat "×"

(**
## 1. A network is data

Cores with named axes, dimensions, and the axes that stay open; written as an einsum. No tensor is needed yet. *)
let spec =
    Spec.parse [] "sa, adb, bt -> sdt | s=32 d=9 t=32 a=12 b=12" |> Result.defaultWith (failwithf "%A")

printfn $"{spec.Cores.Length} cores, {Spec.parameters spec} entries, for a tensor of {32 * 9 * 32}"
(*** include-output ***)

SpecDiagram.svg spec
(*** include-it-raw ***)

(** → [Networks and formats](networks.html)

## 2. Tensors for its cores

`Network.random` draws cores, `Network.create` takes yours, and `Contraction.reconstruct` makes the tensor in the best order of contraction. *)
let network = Network.random torch.float64 1UL spec
let tensor = Contraction.reconstruct network

printfn $"{shapeOf tensor}, norm {(Contraction.norm network).item<float>():F3}"
(*** include-output ***)

(**
## 3. How sensitive it is

S is the mean squared change of the tensor per unit of noise in the cores. The gauge lowers it at no change of the tensor: *)
let balanced = Gauge.balance network |> orStop

printfn $"S = {Sensitivity.value network:F0}; in its best gauge {Sensitivity.value balanced:F0}"
(*** include-output ***)

(** → [Sensitivity](sensitivity.html), [the gauge](gauge.html)

## 4. From a kernel to a network

A convolution's kernel as CP of rank 40: least squares, then the least sensitive network found at the same error. *)
let conv = torch.nn.Conv2d(32L, 32L, 3L, padding = 1L)
let weight = conv.weight.detach ()
let kernel = ConvGeometry.kernelOfWeight (ConvGeometry.ofWeight weight) weight
let plain = Factorize.run Factorize.defaults (Format.CP 40) kernel |> orStop
let stable = Factorize.stable Factorize.defaults None (Format.CP 40) kernel |> orStop

printfn $"least squares: S %6.0f{plain.Sensitivity}, relative error {plain.RelativeError:F3}"
printfn $"stable:        S %6.0f{stable.Sensitivity}, relative error {stable.RelativeError:F3}"
(*** include-output ***)

(** (An untrained kernel is noise, hence the error.) → [The correction](correction.html), [the front](front.html), [which rank?](factorize.html)

## 5. A layer

The network takes the convolution's place; its cores are parameters. *)
let layer = Layers.ofDense None conv stable.Network |> orStop
let images = torch.randn (2L, 32L, 8L, 8L)

printfn $"{layer.ParameterCount} parameters instead of {conv.weight.numel () + 32L}; out comes {shapeOf (layer.call images)}"
(*** include-output ***)

(** → [Layers](layers.html)

## 6. A whole model

A plan shares a budget among the layers: here half of the parameters. It is a table, JSON, and a value that can be edited before it is carried out. *)
let named name (layer: torch.nn.Module<torch.Tensor, torch.Tensor>) = struct (name, layer)

let model () =
    torch.nn.Sequential(
        named "first" (torch.nn.Conv2d(3L, 32L, 3L, padding = 1L)),
        named "relu1" (torch.nn.ReLU()),
        named "middle" (torch.nn.Conv2d(32L, 48L, 3L, padding = 1L)),
        named "relu2" (torch.nn.ReLU()),
        named "wide" (torch.nn.Conv2d(48L, 48L, 3L, padding = 1L)),
        named "pool" (torch.nn.AdaptiveAvgPool2d 1L),
        named "flat" (torch.nn.Flatten()),
        named "head" (torch.nn.Linear(48L, 10L))
    )

let net = model ()

let plan =
    CompressionPlan.make (Budget.ParameterRatio 2.0) CompressionPlan.defaults [ 1L; 3L; 16L; 16L ] net
    |> orStop

printfn $"{plan}"
(*** include-output ***)

let report = ModelCompression.run ModelCompression.defaults plan net |> orStop

for compressed in report.Layers do
    printfn $"{compressed.Path}: kernel error {compressed.KernelError:F2}"
(*** include-output ***)

(** → [The whole model](whole-model.html), [data-aware errors](weighted.html)

## 7. One file

Saved whole, and loaded into a fresh dense model; Python reads it too. *)
let file = Path.Combine(Path.GetTempPath(), "tour.safetensors")
ModelFile.save file net |> orStop

let again = model ()
ModelFile.load file again |> orStop
let input = torch.randn (1L, 3L, 16L, 16L)

printfn $"the same output: {(net.call input - again.call input).abs().max().item<float32>() = 0.0f}"
(*** include-output ***)

(*** hide ***)
File.Delete file

(**
→ [Weights and training](weights.html), [few bits](few-bits.html), [ONNX files](onnx.html), [the command `tensornets`](tool.html)

The same in C#: [from C#](csharp.html). Coming from PyTorch: [what is what](pytorch.html). Words: [the glossary](glossary.html).
*)
