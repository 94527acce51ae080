(**
---
title: The front
category: Learn
categoryindex: 1
index: 7
---
# The front: how much error buys how much stability

A bound on the error is a choice. The front shows what each choice costs: the least sensitivity found within each bound, traced from one network.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"

open System
open TorchSharp
open TensorNets

let orStop result = TensorNetError.raiseErrors result

(** A kernel K[s, d, t] from a seed; its slices shrink with their numbers, as those of trained kernels do: *)
let kernel =
    use generator = new torch.Generator(1UL)
    let noise = torch.randn ([| 16L; 9L; 16L |], dtype = torch.float64, generator = generator)
    let falling (n: int) = torch.tensor ([| for i in 0 .. n - 1 -> exp (-0.15 * float i) |], dtype = torch.float64)
    noise.mul((falling 16).reshape(16L, 1L, 1L)).mul(falling 16)

(**
The smallest Tucker-2 network with a relative error of at most 0.3. The ranks are found; the error is that of the explicit difference:
*)
let options =
    { Factorize.defaults with
        Sweeps = { SweepOptions.defaults with MaxSweeps = 100; Tolerance = 1e-6 }
    }

let fit = Factorize.toBound options (ErrorBound.Relative 0.3) FormatFamily.Tucker2 kernel |> orStop

printfn $"{Spec.print fit.Network.Spec}"
printfn $"relative error {fit.RelativeError:F4}, S {fit.Sensitivity:F0}"
(*** include-output ***)

(**
The front from there. Every point starts from its neighbours, so that S never rises with the bound; bounds out of reach of these ranks are listed
apart.
*)
let bounds = [ 0.1; 0.3; 0.32; 0.35; 0.4; 0.45; 0.5; 0.55; 0.6; 0.7; 0.8 ]
let front = ParetoFront.trace options.Sweeps bounds kernel fit.Network |> orStop

printfn " bound   relative error        S"

for point in front.Points do
    printfn $"%6.2f{point.Bound}   %14.4f{point.RelativeError}   %6.1f{point.Sensitivity}"

printfn $"out of reach: %A{List.ofSeq front.Unreached}"
(*** include-output ***)

(*** hide ***)
let svg =
    let points = List.ofSeq front.Points

    let low, high =
        points
        |> List.map (fun p -> log10 p.Sensitivity)
        |> fun logs -> floor (List.min logs), ceil (List.max logs)

    let x (bound: float) = 60.0 + (bound - 0.25) / 0.6 * 520.0
    let y (s: float) = 260.0 - (log10 s - low) / (high - low) * 230.0

    let text (tx: float) (ty: float) anchor (words: string) =
        $"<text x='{tx:F1}' y='{ty:F1}' font-size='12' text-anchor='{anchor}' fill='currentColor'>{words}</text>"

    let path = points |> List.map (fun p -> $"{x p.Bound:F1},{y p.Sensitivity:F1}") |> String.concat " "

    [
        "<svg viewBox='0 0 600 310' width='600' role='img' aria-label='Sensitivity over the bound on the relative error'>"
        "<path d='M60,30 V260 H580' fill='none' stroke='currentColor'/>"
        $"<polyline points='{path}' fill='none' stroke='#1f77b4' stroke-width='2'/>"
        for p in points do
            $"<circle cx='{x p.Bound:F1}' cy='{y p.Sensitivity:F1}' r='3.5' fill='#1f77b4'/>"
        for bound in [ 0.3; 0.4; 0.5; 0.6; 0.7; 0.8 ] do
            text (x bound) 277.0 "middle" $"{bound:F1}"
        for power in int low .. int high do
            text 52.0 (y (Math.Pow(10.0, float power)) + 4.0) "end" $"{Math.Pow(10.0, float power):G}"
        text 320.0 300.0 "middle" "bound on the relative error"
        text 60.0 20.0 "middle" "S"
        "</svg>"
    ]
    |> String.concat ""

svg
(*** include-it-raw ***)

(**
The mirror asks the other way round: how small can the error be if S may be at most a given number? Half the sensitivity of the middle point:
*)
let middle = front.Points[front.Points.Count / 2]
let mirror = LeastError.fit options.Sweeps (middle.Sensitivity / 2.0) kernel middle.Network |> orStop

printfn $"S {mirror.Sensitivity:F2} of {middle.Sensitivity / 2.0:F2} allowed, relative error {mirror.RelativeError:F4}"
(*** include-output ***)
