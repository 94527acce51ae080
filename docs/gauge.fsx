(**
---
title: The gauge
category: Learn
categoryindex: 1
index: 5
---
# The gauge: the same tensor, less sensitive

Put a matrix $M$ on one side of a bond and $M^{-1}$ on the other: the tensor stays, the cores change, and [S](sensitivity.html) changes with them. Of all cores that make one
tensor this way, `Gauge.balance` finds those of the least S, in closed form bond by bond ([the formulas](notation.html#Gauge)).
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

(** ## One bond, one number

A matrix $T = A B$, and $M$ a multiple of the identity: $A$ times $t$, $B$ over $t$. S is $t^2$ times one term plus $t^{-2}$ times the other, least where both are equal. *)
let matrix = parsed "sr, rt -> st | s=12 r=4 t=40"
let network = Network.random torch.float64 1UL matrix

let scaled (t: float) =
    let core name (by: float) = name, network[name].mul(torch.tensor by)
    let names = matrix.Cores |> List.map _.Name
    Network.create matrix [ core names[0] t; core names[1] (1.0 / t) ] |> orStop

let curve =
    [
        for i in -20 .. 20 do
            let t = 10.0 ** (0.04 * float i)
            t, Sensitivity.value (scaled t)
    ]

let balanced = Gauge.balance network |> orStop

printfn
    $"given {Sensitivity.value network:F1}, least by a scale {curve |> List.map snd |> List.min:F1}, balanced {Sensitivity.value balanced:F1}"
(*** include-output ***)

(*** hide ***)
Chart.plot
    "S over the scale of one core against the other"
    (Chart.logarithmic "t")
    (Chart.linear "S")
    [
        Chart.line "S of (t A, B / t)" curve
        Chart.dots "balanced, any M" [ (1.0, Sensitivity.value balanced) ]
    ]
(*** include-it-raw ***)

(** The balanced point lies below the curve, since $M$ may be any matrix. The tensor is the same to rounding: *)
let difference =
    let given, after = Contraction.reconstruct network, Contraction.reconstruct balanced
    (given - after).norm().item<float>() / given.norm().item<float>()

printfn $"relative difference below 1e-14: {difference < 1e-14}"
(*** include-output ***)

(**
## Formats

How much there is to gain depends on where the cores come from. Here they are what least squares leave, from a random start, for one target; the tensors do not change.
*)
let target =
    use generator = new torch.Generator(3UL)
    torch.randn ([| 16L; 9L; 16L |], dtype = torch.float64, generator = generator)

let options = { Factorize.defaults with Start = Start.Random }

printfn "format                   least squares   balanced"

for format in [ Format.CP 20; Format.Tucker2(8, 8); Format.TensorChain [ 4; 4; 4 ]; Format.TensorTrain [ 8; 8 ] ] do
    let fit = Factorize.run options format target |> orStop
    let after = Gauge.balance fit.Network |> orStop
    printfn $"%-24s{string format}  %11.0f{fit.Sensitivity}   %8.0f{Sensitivity.value after}"
(*** include-output ***)

(**
A hyperedge, such as CP's *r*, has only scalings for a gauge, one for each of its values and core: its columns get the lengths that make the terms of S equal. Ordinary bonds have
matrices. Where two cores share an open axis as well, the matrix may differ along it.

## Bonds without a gauge

A bond whose numerical rank is below its dimension has no least S: along the spare direction one side can grow and the other vanish. `Gauge.balance` refuses it by name;
`Gauge.truncate` cuts such bonds to their rank, exactly; `Gauge.balanceTruncated` does both.
*)
let wide = parsed "sr, rt -> st | s=3 r=5 t=40"

match Gauge.balance (Network.random torch.float64 1UL wide) with
| Ok _ -> printfn "balanced"
| Error errors ->
    for error in errors do
        printfn $"{error.Message}"

let cut = Gauge.balanceTruncated (Network.random torch.float64 1UL wide) |> orStop
printfn $"{Spec.print cut.Spec}, S = {Sensitivity.value cut:F0}"
(*** include-output ***)
