(**
---
title: The weighted norm
category: Learn
categoryindex: 1
index: 11
---
# The weighted norm: what counts is the output

A kernel's entries do not count alike: those that act on channels of little strength hardly change the output. The norm weighted by the
covariance $\Sigma$ of the inputs, $\lVert (K - T)\, \Sigma^{1/2} \rVert$, measures what does; Σ is the mean of x xᵀ, from which no mean is
taken off. For a linear layer or a 1×1 convolution of stride 1 its square is the mean squared change of the output, for each position.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"

(** Every result is unwrapped here, so that the page stays short; a program handles each [error](errors.html). *)
open TorchSharp
open TensorNets

let orStop result = TensorNetError.raiseErrors result

let random (seed: uint64) (shape: int64[]) =
    use generator = new torch.Generator(seed)
    torch.randn (shape, dtype = torch.float64, generator = generator)

(** A 1×1 convolution, 32 to 32 channels, and images whose channels are correlated and of falling strength, as those of trained models are: *)
let conv = torch.nn.Conv2d(32L, 32L, 1L, bias = false, dtype = torch.float64)

conv.weight <- new Modules.Parameter((random 1UL [| 32L; 32L; 1L; 1L |]).mul(torch.tensor 0.1))

let images (seed: uint64) =
    let strength = torch.tensor ([| for i in 0..31 -> exp (-0.15 * float i) |], dtype = torch.float64)

    let mixing = (random 7UL [| 32L; 32L |]).mul strength
    torch.einsum ("dc,nchw->ndhw", mixing, random seed [| 16L; 32L; 8L; 8L |])

(** Σ from batches that run through the model: *)
let model = torch.nn.Sequential(struct ("conv", conv :> torch.nn.Module<_, _>))

let covariance = Calibration.covariance "conv" [ images 2UL; images 3UL ] model |> orStop

(** The same network in either norm, and the relative error of its output on images that calibration has not seen: *)
let options (norm: Norm) = { Factorize.defaults with Sweeps = { SweepOptions.defaults with Norm = norm } }

let outputError (norm: Norm) (format: Format) =
    use _ = torch.no_grad ()
    let kernel = ConvGeometry.kernelOfWeight (ConvGeometry.ofWeight conv.weight) conv.weight
    use fit = Factorize.run (options norm) format kernel |> orStop
    use layer = Layers.conv2dOf None conv fit.Network |> orStop
    let fresh = images 4UL
    let wanted = conv.call fresh
    (layer.call fresh - wanted).norm().ToDouble() / wanted.norm().ToDouble()

printfn "              plain   weighted"

for rank in [ 4; 8; 16 ] do
    let plain = outputError Norm.Frobenius (Format.CP rank)
    let weighted = outputError (Norm.Weighted([ 0 ], covariance)) (Format.CP rank)
    printfn $"CP rank %2d{rank}   %.4f{plain}   %.4f{weighted}"
(*** include-output ***)

(**
The weighted error of a network that is there, here of the fit in the plain norm, is that of a fit without sweeps:
*)
let held = ConvGeometry.kernelOfWeight (ConvGeometry.ofWeight conv.weight) (conv.weight.detach ())
let plainFit = Factorize.run (options Norm.Frobenius) (Format.CP 16) held |> orStop

let measured =
    Als.run { SweepOptions.defaults with MaxSweeps = 0; Norm = Norm.Weighted([ 0 ], covariance) } held plainFit.Network
    |> orStop

printfn $"relative error {plainFit.RelativeError:F4}, weighted {measured.RelativeError:F4}"
(*** include-output ***)

(**
Sensitivity, gauge and correction follow the norm: with it in the options, `Factorize.stable`, `Correction.epc`, `ParetoFront.trace` and `LeastError.fit` bound the
weighted error and lower the weighted S, `Sensitivity.totalIn`. Channels that never fire make Σ singular; there T is of least norm. Where inputs beyond the
calibration are to count too, `Norm.shrunk` adds a share of the identity:
*)
let shrunk = Norm.shrunk 0.01 covariance |> orStop

let weight = conv.weight.detach ()
let kernel = ConvGeometry.kernelOfWeight (ConvGeometry.ofWeight weight) weight

let stable =
    Factorize.stable (options (Norm.Weighted([ 0 ], shrunk))) None (Format.CP 16) kernel |> orStop

printfn $"{stable}"
(*** include-output ***)
