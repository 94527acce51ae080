(**
---
title: Layers
category: Learn
categoryindex: 1
index: 9
---
# Layers, and how they are applied

A network whose open axes are the input channels *s*, the kernel's positions *d* and the output channels *t* is a convolution; without *d* it is a linear layer. `Layers.ofDense` makes it a
module that takes the dense one's place: the cores are its parameters.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"

(** Every result is unwrapped here, so that the page stays short; a program handles each [error](errors.html). *)
open TorchSharp
open TensorNets

let orStop result = TensorNetError.raiseErrors result
let shapeOf (tensor: torch.Tensor) = tensor.shape |> Seq.map string |> String.concat "×"
torch.random.manual_seed 1L |> ignore

let conv = torch.nn.Conv2d(32L, 48L, 3L, stride = 2L, padding = 1L)
let weight = conv.weight.detach ()
let kernel = ConvGeometry.kernelOfWeight (ConvGeometry.ofWeight weight) weight
let fit = Factorize.stable Factorize.defaults None (Format.Tucker2(16, 20)) kernel |> orStop
let layer = Layers.ofDense None conv fit.Network |> orStop

printfn $"{Spec.print layer.Spec}: {layer.ParameterCount} parameters instead of {conv.weight.numel () + 48L}"

(*** include-output ***)

(** Stride, padding, dilation, groups and padding modes are the dense layer's. It is called and trained as that was: *)
let images = torch.randn (4L, 32L, 20L, 20L)
let difference = (layer.call images - conv.call images).norm() / (conv.call images).norm()

printfn $"{shapeOf (layer.call images)}, relative difference {difference.item<float32>():F2}; of the kernel {fit.RelativeError:F2}"
(*** include-output ***)

(**
## Lowering: core after core, or the kernel at once

The same network can be applied in several ways; which is fastest depends on the sizes of the image and of the bonds.

| `Lowering` | how |
|---|---|
| `Staged` | core after core: for Tucker-2 a 1×1, a 3×3 and a 1×1 convolution; for CP the middle one in groups. The order is searched for |
| `Windowed` | the windows of the input as one more core of the network, in the cheapest order of contraction |
| `Dense` | the kernel is contracted, and one convolution made by it: the best for large bonds |
| `Cheapest` | whichever should take the least time at the size of the input, by its FLOPs and steps (the default) |
| `Measured` | whichever was the fastest when tried once at that size |

All give the same output to rounding: *)
let outputs =
    [
        for lowering in [ Lowering.Staged; Lowering.Windowed; Lowering.Dense ] ->
            (Layers.ofDense (Some lowering) conv fit.Network |> orStop).call images
    ]

printfn
    $"largest difference below 1e-5: {(outputs[0] - outputs[1]).abs().max().item<float32>() < 1e-5f
                                      && (outputs[0] - outputs[2]).abs().max().item<float32>() < 1e-5f}"

let wide = Factorize.stable Factorize.defaults None (Format.Tucker2(32, 44)) kernel |> orStop
let wideLayer = Layers.ofDense None conv wide.Network |> orStop

for size in [ 4L; 20L; 56L ] do
    let flops (layer: FactorizedLayer) = layer.Flops [| size; size |] / 1e6
    let shape = [| 4L; 32L; size; size |]

    printfn
        $"{size}×{size}: ranks 16, 20 {layer.LoweringFor shape} %.2f{flops layer} MFLOP; ranks 32, 44 {wideLayer.LoweringFor shape} %.2f{flops wideLayer}"
(*** include-output ***)

(**
How fast each is against the dense layer: the tables of `benchmarks -- layers` in the repository.

## Any network is a layer

A spec written by hand does as well as a format. Two bonds between input and output beside one through the positions: *)
let spec =
    Spec.parse [] "sax, adb, btx -> sdt | s=32 d=9 t=48 a=6 b=6 x=4"
    |> Result.defaultWith (failwithf "%A")

let own = Factorize.stableSpec Factorize.defaults None spec kernel |> orStop
let ownLayer = Layers.ofDense None conv own.Network |> orStop

printfn $"{ownLayer.ParameterCount} parameters, {ownLayer.call(images).shape.Length} axes come out, kernel error {own.RelativeError:F2}"
(*** include-output ***)

(**
Networks with cycles take longer to factorize than trees: every core sees all others at each sweep. Begin with `Factorize.runSpec` (least squares alone) and few sweeps, give `Progress` a listener, and correct
what is worth it.

## Before there is a kernel, and back again

`Layers.fresh` makes an untrained layer, initialised so that its output has the variance that the dense one's would have; `layer.ToDense()` gives the dense layer back; `layer.Network()` is the network, for
S, for the gauge or for another correction; `layer.SetFactors` puts cores in. `layer.Sensitivity()` is S with its gradient.
*)
let fresh = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 24) conv |> orStop

printfn
    $"deviation of the output: %.2f{fresh.call(images).std().item<float32>()}, of the dense layer's %.2f{conv.call(images).std().item<float32>()}"
(*** include-output ***)
