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
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/SkiaSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/ScottPlot.dll"

(** Every result is unwrapped here, so that the page stays short; a program handles each [error](errors.html). *)
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

(**
To draw it, take two arrays out of the front: any chart package draws them, and a file of comma-separated values is read by a spreadsheet. Here it is ScottPlot, which a script gets by
<code>#r "nuget: ScottPlot"</code> at its head, beside the other two: after torch is loaded it is too late for its native library. S spans decades, so its logarithm is drawn.
*)
open System.IO

let bound = [| for point in front.Points -> point.Bound |]
let sensitivity = [| for point in front.Points -> point.Sensitivity |]

let lines = [| for point in front.Points -> sprintf "%g,%.9g" point.Bound point.Sensitivity |] // points, not decimal commas, in any language
let file = Path.Combine(Path.GetTempPath(), "front.csv")
File.WriteAllLines(file, Array.append [| "bound,S" |] lines)

let chart = new ScottPlot.Plot()
chart.Add.Scatter(bound, Array.map log10 sensitivity) |> ignore
chart.XLabel "bound on the relative error"
chart.YLabel "log10 S"
let svg = chart.GetSvgXml(600, 320) // or chart.SavePng("front.png", 600, 320)
(*** hide ***)
svg.Substring(svg.IndexOf "<svg")
(*** include-it-raw ***)

(**
The mirror asks the other way round: how small can the error be if S may be at most a given number? Half the sensitivity of the middle point:
*)
let middle = front.Points[front.Points.Count / 2]
let mirror = LeastError.fit options.Sweeps (middle.Sensitivity / 2.0) kernel middle.Network |> orStop

printfn $"S {mirror.Sensitivity:F2} of {middle.Sensitivity / 2.0:F2} allowed, relative error {mirror.RelativeError:F4}"
(*** include-output ***)
