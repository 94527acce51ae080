(**
---
title: Factorizing to a bound
category: Learn
categoryindex: 1
index: 8
---
# Which rank? Factorizing to a bound

Two questions are asked of a decomposition: how good is it at these ranks, and which ranks does this error need? `Factorize.stable` answers the first, `Factorize.stableToBound` the second.
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

(** A kernel K[s, d, t] from a seed: a CP tensor of rank 10 and noise, a fifth of its norm. *)
let kernel =
    use generator = new torch.Generator(5UL)
    let normal shape = torch.randn ((shape: int64[]), dtype = torch.float64, generator = generator)

    let low =
        torch.einsum ("sr,dr,tr->sdt", normal [| 20L; 10L |], normal [| 9L; 10L |], normal [| 24L; 10L |])

    let noise = normal [| 20L; 9L; 24L |]
    low + noise * (0.2 * low.norm () / noise.norm ())

(** ## At ranks that are given

`Factorize.run` is least squares alone. `Factorize.stable` brings the result into its best gauge and corrects it, by default at the error that least squares reach.
Where columns of CP nearly cancel, the correction gains most ([trained kernels](trained-kernels.html)); on this kernel the gauge does all of it, and
a little more error is needed for the rest: *)
let plain = Factorize.run Factorize.defaults (Format.CP 10) kernel |> orStop
let stable = Factorize.stable Factorize.defaults None (Format.CP 10) kernel |> orStop

printfn $"least squares  relative error {plain.RelativeError:F4}   S {plain.Sensitivity:F0}"
let balanced = Gauge.balance plain.Network |> orStop

let looser =
    Factorize.stable Factorize.defaults (Some(ErrorBound.Relative 0.25)) (Format.CP 10) kernel |> orStop

printfn $"  balanced     the same tensor           S {Sensitivity.value balanced:F0}"
printfn $"stable         relative error {stable.RelativeError:F4}   S {stable.Sensitivity:F0}"
printfn $"  within .25   relative error {looser.RelativeError:F4}   S {looser.Sensitivity:F0}"
(*** include-output ***)

(** The error over the rank tells where the signal ends: at rank 10 the noise is left. *)
let errors =
    [
        for rank in [ 1; 2; 4; 6; 8; 10; 12; 16; 20 ] ->
            float rank, (Factorize.run Factorize.defaults (Format.CP rank) kernel |> orStop).RelativeError
    ]

Chart.plot "Relative error over the rank of CP" (Chart.linear "rank") (Chart.linear "relative error") [ Chart.line "CP" errors ]
(*** include-it-raw ***)

(** In C#: `TensorNetwork.Factorize(kernel, Formats.Cp(10))`, `FactorizeStable(kernel, Formats.Cp(10), bound)`, and for what follows `FactorizeToBound` and `FactorizeStableToBound(kernel, Families.Cp, ErrorBounds.Relative(.25))`. (`Chart` is this site's own.)

## At an error that is given

The smallest network that is found of each family whose relative error is at most .25, stable: *)
for family in [ FormatFamily.CP; FormatFamily.Tucker2; FormatFamily.TensorTrain; FormatFamily.TensorChain ] do
    let fit = Factorize.stableToBound Factorize.defaults (ErrorBound.Relative 0.25) family kernel |> orStop

    printfn
        $"%5d{Spec.parameters fit.Network.Spec} entries, error {fit.RelativeError:F4}, S %6.0f{fit.Sensitivity}: {Spec.print fit.Network.Spec}"
(*** include-output ***)

(**
Compare formats by S only like this: at one error, and in the best gauge of each. `Factorize.toBound` alone leaves S wherever least squares end; a train, whose cores come out nearly orthogonal, may look
less sensitive than CP then, and be more sensitive in the end.

For trees (Tucker, tensor train, hierarchical Tucker) ranks follow from the singular values of unfoldings: what each bond leaves out adds up to at most the error. For CP and chains, which
have no such formula, they are searched for, and every network tried is a fit.

For the layers of a model nobody picks ranks one by one: [a plan](whole-model.html) shares a budget among them.

## Whose tensors they are

A `Fit` owns its network, and the network its cores: `use fit = …` frees them. Made inside a `torch.NewDisposeScope` they die with the scope, unless moved out of it: `for core in fit.Network.Cores do core.MoveToOuterDisposeScope() |> ignore`. What is made from a network, such as
`Gauge.balance` or a correction, has cores of its own and outlives it. Results that nobody disposes go when the garbage collector finds them, as TorchSharp's own tensors do.

## When it says no

A bound that cannot be met is an error that says how near it came; raise the rank or the bound then, or `Sweeps.MaxSweeps`, or `Starts`:
*)
match Factorize.stable Factorize.defaults (Some(ErrorBound.Relative 0.05)) (Format.CP 10) kernel with
| Ok fit -> printfn $"error {fit.RelativeError:F4}"
| Error errors ->
    for error in errors do
        printfn $"{error.Message}"
(*** include-output ***)

(**
## When it gets stuck

Least squares for CP and for chains can stop in a valley that is not the lowest, so that a higher rank may end with no less an error, and a rank that is reported is the smallest that was *found*. What
helps, in this order: one rank more or less; `Starts = 3`; more sweeps (`MaxSweeps`, with a smaller `Tolerance`); `Extrapolation`, which combines the last sweeps where columns are nearly collinear.
Trains and Tucker networks start from singular values near the best and do not have the trouble.

A start from singular values (`Start.Svd`, the default) is the same at every run; `Starts` above one tries random ones
beside it and keeps the best.
*)
