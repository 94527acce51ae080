(**
---
title: Adding a format
category: Guides
categoryindex: 2
index: 1
---
# Adding a format: one file

A format is a rule that makes a spec from a shape and ranks. Everything else, contraction, S, the gauge, least squares, the correction, layers, files, ONNX nodes, works on the spec and needs no
word about the format. This page is the one file: a Tucker-2 network whose core is a CP network itself, so that the 3×3 convolution of its middle has no channels to mix.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"

TensorNets.Native.quiet ()

(** Every result is unwrapped here, so that the page stays short; a program handles each [error](errors.html). *)
open TorchSharp
open TensorNets

torch.random.manual_seed 1L |> ignore
let orStop result = TensorNetError.raiseErrors result
let shapeOf (tensor: torch.Tensor) = tensor.shape |> Seq.map string |> String.concat "×"

(** ## The rule

Bonds *a* and *b* are the channel ranks, *r* the rank of the core. The text is checked where it is parsed: a wrong axis is an error with its place. *)
let tuckerOfCp (first: int) (last: int) (rank: int) (shape: int list) : Result<Spec, SpecError list> =
    match shape with
    | [ s; d; t ] -> Spec.parse [ "s", s; "d", d; "t", t; "a", first; "b", last; "r", rank ] "sa, ar, dr, br, tb -> sdt"
    | _ -> Error [ SpecError.NoCores ]

let spec = tuckerOfCp 12 14 20 [ 32; 9; 48 ] |> Result.defaultWith (failwithf "%A")

printfn $"{Spec.parameters spec} entries instead of {32 * 9 * 48}"
(*** include-output ***)

SpecDiagram.svg spec
(*** include-it-raw ***)

(** ## What it can do already

A kernel of such a structure, and some noise: least squares from singular values or noise, the gauge of its bonds, by matrices along *a* and *b* and by scalings along *r*, and the correction. *)
let kernel =
    use truth = new torch.Generator(2UL)
    let network = Network.random torch.float64 2UL spec |> Contraction.reconstruct
    let noise = torch.randn (network.shape, dtype = torch.float64, generator = truth)
    network + noise * (0.1 * network.norm () / noise.norm ())

let plain = Factorize.runSpec Factorize.defaults spec kernel |> orStop
let stable = Factorize.stableSpec Factorize.defaults None spec kernel |> orStop

printfn $"least squares  relative error {plain.RelativeError:F3}, S {plain.Sensitivity:F0}"
printfn $"stable         relative error {stable.RelativeError:F3}, S {stable.Sensitivity:F0}"
(*** include-output ***)

(** A layer, in stages that are found from the axes: *)
let conv = torch.nn.Conv2d(32L, 48L, 3L, padding = 1L)
let layer = Layers.ofDense None conv stable.Network |> orStop
let images = torch.randn (1L, 32L, 14L, 14L)

printfn $"{layer.LoweringFor images.shape}: %.2f{layer.Flops [| 14L; 14L |] / 1e6} MFLOP, dense %.2f{2.0 * 32.0 * 9.0 * 48.0 * 196.0 / 1e6}"
printfn $"output {shapeOf (layer.call images)}"
(*** include-output ***)

(** And a law, which every format of the library has to obey: S by the rule equals the squared norm of all derivatives, here by automatic differentiation. *)
let small =
    Network.random torch.float64 3UL (tuckerOfCp 2 2 3 [ 3; 2; 3 ] |> Result.defaultWith (failwithf "%A"))

let byDerivatives =
    let leaves =
        [ for core in small.Spec.Cores -> core.Name, (small[core.Name]).clone().requires_grad_ true ]

    let tensor = Contraction.reconstruct (Network.create small.Spec leaves |> orStop)
    let entries = tensor.reshape -1L

    [
        for i in 0L .. entries.numel () - 1L do
            let gradients =
                torch.autograd.grad ([| entries[i] |], leaves |> List.map snd |> List.toArray, retain_graph = true)

            for gradient in gradients -> gradient.square().sum().item<float>()
    ]
    |> List.sum

printfn $"S {Sensitivity.value small:F6}, by derivatives {byDerivatives:F6}"
(*** include-output ***)

(**
## In the library itself

A format that plans shall choose from, with ranks that are searched for, is a case of `Format` (`Spec/Format.fs`, its text in `Spec/FormatText.fs`) and of `FormatFamily`
(`Factorization/FormatFamily.fs`); the compiler names every place that has to know it. The laws over all formats take it from there.
*)
