(**
---
title: The correction
category: Learn
categoryindex: 1
index: 6
---
# The correction: the least sensitive network within an error

[The gauge](gauge.html) keeps the tensor. The error-preserving correction keeps a bound on the error instead:

$$\text{minimise } S(\theta) \quad\text{subject to}\quad \lVert K - T(\theta) \rVert \le \delta.$$

`Correction.epc` starts from any network of the wanted ranks, lowers S over one core after the other, each exactly, then over all cores at once. What it
returns is within the bound; on the way it may leave it ([how](notation.html#The-correction)).
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
let formatOf shape format = Format.spec shape format |> Result.defaultWith (failwithf "%A")

(**
## A tensor whose cores want to grow

The W-tensor $aab + aba + baa$, with $a$ and $b$ the unit vectors of the plane, has rank 3, yet networks of rank 2 come as near as one likes: their columns grow and cancel each other. At the absolute error
$\delta = \varepsilon^2$ the balanced family $((a + \varepsilon b)^{\otimes 3} - (a - \varepsilon b)^{\otimes 3}) / 2\varepsilon$ has

$$S = 12\, (2 \varepsilon)^{-4/3} (1 + \varepsilon^2)^2.$$

What the correction finds at rank 2, from a random start for each bound, stands against that curve:
*)
let w =
    let tensor = torch.zeros ([| 2L; 2L; 2L |], dtype = torch.float64)

    for i, j, k in [ 0L, 0L, 1L; 0L, 1L, 0L; 1L, 0L, 0L ] do
        tensor[i, j, k] <- torch.tensor 1.0

    tensor

let family (delta: float) = 12.0 * (4.0 * delta) ** (-2.0 / 3.0) * (1.0 + delta) ** 2.0
let rank2 = formatOf [ 2; 2; 2 ] (Format.CP 2)
let patient = { SweepOptions.defaults with MaxSweeps = 2000; Tolerance = 1e-9 }

let least (delta: float) =
    let start = SvdStart.noise 1UL rank2 w |> orStop
    (Correction.epc patient (ErrorBound.Absolute delta) w start |> orStop).Sensitivity

let deltas = [ 0.3; 0.1; 0.03; 0.01; 0.003; 0.001 ]
let found = [ for delta in deltas -> delta, least delta ]

for delta, s in found do
    printfn $"δ = %-5g{delta}   S %8.1f{s}   family %8.1f{family delta}"
(*** include-output ***)

(*** hide ***)
Chart.plot
    "Least S over the error for the W-tensor at rank 2"
    (Chart.logarithmic "‖K − T‖")
    (Chart.logarithmic "S")
    [
        Chart.line "the family, by its formula" [ for d in [ 0.001; 0.002; 0.005; 0.01; 0.02; 0.05; 0.1; 0.2; 0.3 ] -> d, family d ]
        Chart.dots "found by the correction" found
    ]
(*** include-it-raw ***)

(**
The family is the least as $\varepsilon \to 0$; at larger errors there are better networks, which is why the points lie below the curve there.

## A kernel

A kernel with slices of falling size, as trained ones have, as CP of rank 16: what least squares leave, the same in its best gauge, and what the correction makes of it, at the
error of the first and at two per cent more. *)
let kernel =
    use generator = new torch.Generator(1UL)
    let noise = torch.randn ([| 16L; 9L; 16L |], dtype = torch.float64, generator = generator)
    let falling = torch.tensor ([| for i in 0..15 -> exp (-0.15 * float i) |], dtype = torch.float64)
    noise.mul(falling.reshape (16L, 1L, 1L)).mul falling

let fit = Factorize.run Factorize.defaults (Format.CP 16) kernel |> orStop
let balanced = Gauge.balance fit.Network |> orStop

let corrected share =
    Correction.epc SweepOptions.defaults (ErrorBound.Absolute(share * fit.Error)) kernel fit.Network
    |> orStop

let same, looser = corrected 1.0, corrected 1.02

printfn $"least squares          S %9.0f{fit.Sensitivity}   relative error %.4f{fit.RelativeError}"
printfn $"balanced               S %9.0f{Sensitivity.value balanced}   relative error %.4f{fit.RelativeError}"
printfn $"corrected              S %9.0f{same.Sensitivity}   relative error %.4f{same.RelativeError}"
printfn $"corrected, 2 %% looser  S %9.0f{looser.Sensitivity}   relative error %.4f{looser.RelativeError}"
(*** include-output ***)

(*** hide ***)
Chart.plot
    "S after each sweep of the correction"
    (Chart.linear "sweep")
    (Chart.logarithmic "S")
    [
        Chart.line "at the error" [ for i, s in Seq.indexed same.Trace -> float i, s ]
        Chart.line "2 % looser" [ for i, s in Seq.indexed looser.Trace -> float i, s ]
    ]
(*** include-it-raw ***)

(**
A sweep over the blocks takes the time of 1.7 to 1.9 sweeps of least squares for CP, of 2.5 for Tucker-2 (`benchmarks/results/factorize.txt`, [benchmarks](benchmarks.html)); the steps of all cores together, which
follow where blocks go slowly, cost more each and are counted against what they gain.

For trees, such as Tucker and the train, least squares leave nothing to correct at their own error: there the balanced network is the least sensitive one, and only a looser bound lowers S further.

Factorizing and correcting in one call is `Factorize.stable`. Kernels of trained networks: [the tables](trained-kernels.html). The whole trade between error and S: [the front](front.html).
What the error buys in training and under rounding: [what a low S is good for](stability.html).
*)
