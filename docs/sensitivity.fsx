(**
---
title: Sensitivity
category: Learn
categoryindex: 1
index: 4
---
# Sensitivity: what noise in the cores does to the tensor

Add white noise of standard deviation $\sigma$ to every entry of every core. The tensor changes, and the mean of its squared change, per $\sigma^2$, is the
*sensitivity* of the network:

$$S(\theta) = \lim_{\sigma \to 0} \sigma^{-2}\, \mathsf{E} \lVert T(\theta + \sigma\xi) - T(\theta) \rVert^2
= \sum_k \lVert \partial T / \partial \theta_k \rVert^2 = \sum_k m_k \lVert E_k \rVert^2.$$

$E_k$ is the network without core $k$, and $m_k$ the product of the dimensions that core $k$ alone carries. Rounding to few bits is such noise, and so is a step of
training: a network of low S bears both. (Rounding with a scale for each slice disturbs large slices more than small ones: it does not see how
slices are scaled, S does; `Quantization.predicted` reckons with what it does.)
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/DocsHost.dll"

open TensorNets.Documents

(** Every result is unwrapped here, so that the page stays short; a program handles each [error](errors.html). *)
open TorchSharp
open TensorNets

let orStop result = TensorNetError.raiseErrors result
let parsed text = Spec.parse [] text |> Result.defaultWith (failwithf "%A")
let formatOf shape format = Format.spec shape format |> Result.defaultWith (failwithf "%A")

(** ## By hand

A small ring: three cores of 2×2 matrices with entries of one, with open axes of dimensions 3, 4 and 5. *)
let ring = parsed "asb, bdc, cta -> sdt | s=3 d=4 t=5 a=2 b=2 c=2"

let ones =
    List.zip ring.Cores [ 3L; 4L; 5L ]
    |> List.map (fun (core, size) -> core.Name, torch.ones (2L, size, 2L))
    |> Network.create ring
    |> orStop

(**
$E_1$ is a product of two 2×2 matrices of ones, that is, four twos, for each of the $4 \cdot 5$ places of the other two open axes: $\lVert E_1 \rVert^2 = 16 \cdot 20$. The first core alone carries an axis of
dimension 3: $m_1 = 3$. So each of the three terms is $16 \cdot 60$, and $S = 2880$. Every entry of the tensor is the trace of a product of three such matrices, 8.
*)
printfn $"S = {Sensitivity.value ones}, the largest entry of T {(Contraction.reconstruct ones).max().item<float32>()}"

for core, term in List.zip ring.Cores (Sensitivity.ofCores ones) do
    printfn $"  {core.Name}: {term.item<float32>()}"
(*** include-output ***)

(** Each term is a network too, made by a rewrite and contracted like any other: two copies of $E_k$, joined. *)
for m, term in Spec.sensitivityTerms ring do
    printfn $"{m} * ({term})"
(*** include-output ***)

(**
## When a core is scaled

$T$ is linear in each core. So with core $k$ times $c$ the term of core $k$, which does not hold it, stays, and all others grow by $c^2$: $S(c) = S_k + c^2 (S - S_k)$. *)
let scaled =
    let cores = ring.Cores |> List.map (fun core -> core.Name, ones[core.Name])
    let first, rest = cores.Head, cores.Tail
    Network.create ring ((fst first, (snd first).mul(torch.tensor 3.0f)) :: rest) |> orStop

printfn $"{Sensitivity.value scaled} = {960.0 + 9.0 * (2880.0 - 960.0)}"
(*** include-output ***)

(**
## By trial: Monte Carlo

`Sensitivity.estimate` does it in one call, with the standard error. In full: a CP network of rank 6 over 8×9×10, and noise of falling size in its cores: the mean of 400 trials of $\lVert \Delta T \rVert^2 / \sigma^2$, over S.
For small noise the quotient is one; for large noise the products of noises, of higher order in $\sigma$, come on top.
*)
let network = Network.random torch.float64 1UL (formatOf [ 8; 9; 10 ] (Format.CP 6))

let s = Sensitivity.value network
let tensor = Contraction.reconstruct network

let trial (sigma: float) =
    use _ = torch.NewDisposeScope()

    let noisy =
        network.Spec.Cores
        |> List.map (fun core ->
            let given = network[core.Name]
            core.Name, given.add (torch.randn_like(given).mul(torch.tensor sigma)))

    let moved = Network.create network.Spec noisy |> orStop |> Contraction.reconstruct
    (moved - tensor).square().sum().item<float>() / (sigma * sigma)

torch.random.manual_seed 1L |> ignore

let quotients =
    [
        for sigma in [ 1e-3; 3e-3; 1e-2; 3e-2; 0.1; 0.3; 0.5 ] -> sigma, (List.init 400 (fun _ -> trial sigma) |> List.average) / s
    ]

for sigma, quotient in quotients do
    printfn $"σ = %-5g{sigma}  measured / S = %.3f{quotient}"
(*** include-output ***)

(*** hide ***)
Chart.plot
    "Measured change over S, by the size of the noise"
    (Chart.logarithmic "standard deviation of the noise")
    (Chart.linear "mean of ‖ΔT‖² / (σ² S), 400 trials each")
    [ Chart.line "measured" quotients ]
(*** include-it-raw ***)

(**
## What depends on it

* **The same tensor, another S.** S belongs to the cores, not to the tensor: [the gauge](gauge.html) lowers it for nothing.
* **A little error, far less S.** At a bound on the error [the correction](correction.html) finds the least.
* **In training** `Sensitivity.total` is a scalar tensor with a gradient, to be added to a loss; `SensitivityPenalty.relative` is one number for a whole model.
* **In another norm.** `Sensitivity.totalIn` weighs the change by the layer's inputs: [the weighted norm](weighted.html).

## What it costs

All terms share their parts, and T is never formed: S of trains and of Tucker-2 takes about as much as the squared norm of T. Of CP it takes far
less, the lengths of the columns alone:
*)
let large = formatOf [ 512; 9; 512 ] (Format.CP 761)
let plan = Sensitivity.plan large

printfn $"S of CP 761 over 512×9×512: {plan.Flops / 1e6:F1} MFLOP; its tensor alone: {2.0 * 761.0 * 512.0 * 9.0 * 512.0 / 1e6:F0}"
(*** include-output ***)
