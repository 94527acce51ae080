/// Every network of TorchVision, with random weights: planned under a budget and compressed with few sweeps. What is replaced, what stays
/// dense and why, and the processor time.
module TensorNets.Benchmarks.VisionTable

open System
open TensorNets
open TorchSharp

type private Net = torch.nn.Module<torch.Tensor, torch.Tensor>

/// The networks by name, each with the least input that it takes.
let private networks: (string * int64 * (unit -> Net)) list =
    [
        "alexnet", 64L, (fun () -> torchvision.models.alexnet ())
        "vgg11", 32L, (fun () -> torchvision.models.vgg11 ())
        "vgg13", 32L, (fun () -> torchvision.models.vgg13 ())
        "vgg16", 32L, (fun () -> torchvision.models.vgg16 ())
        "vgg19", 32L, (fun () -> torchvision.models.vgg19 ())
        "vgg11_bn", 32L, (fun () -> torchvision.models.vgg11_bn ())
        "resnet18", 32L, (fun () -> torchvision.models.resnet18 ())
        "resnet34", 32L, (fun () -> torchvision.models.resnet34 ())
        "resnet50", 32L, (fun () -> torchvision.models.resnet50 ())
        "resnet101", 32L, (fun () -> torchvision.models.resnet101 ())
        "resnet152", 32L, (fun () -> torchvision.models.resnet152 ())
        "googlenet", 64L, (fun () -> torchvision.models.googlenet ())
        "inception_v3", 96L, (fun () -> torchvision.models.inception_v3 ())
        "mobilenet_v2", 32L, (fun () -> torchvision.models.mobilenet_v2 ())
        "mobilenet_v3_small", 32L, (fun () -> torchvision.models.mobilenet_v3_small ())
        "mobilenet_v3_large", 32L, (fun () -> torchvision.models.mobilenet_v3_large ())
    ]

let private shapeOf (x: torch.Tensor) = String.Join("×", x.shape)

let private output (input: int64) (net: Net) : string =
    use _ = torch.no_grad ()
    use _ = torch.NewDisposeScope()
    net.eval ()
    let y = net.call (torch.rand [| 1L; 3L; input; input |])
    let finite = y.isfinite().all().item<bool>()
    shapeOf y + (if finite then "" else " NaN or infinite")

/// Reasons with their counts.
let private counted (reasons: string seq) : string =
    String.Join("; ", reasons |> Seq.countBy id |> Seq.map (fun (reason, count) -> $"{count} {reason}"))

let private row (ratio: float) (name: string, input: int64, make: unit -> Net) : unit =
    torch.random.manual_seed 1L |> ignore
    use net = make ()
    let before = output input net
    let options = { CompressionPlan.defaults with Sweeps = 1 }

    let plan, planning =
        Measure.processorTimed (fun () -> CompressionPlan.make (Budget.ParameterRatio ratio) options [ 1L; 3L; input; input ] net)

    match plan with
    | Error errors -> printfn $"| {name} | refused: {counted (errors |> Seq.map _.Message)} | | | | {planning:F1} | | {before} |"
    | Ok plan ->
        let few = { ModelCompression.defaults with Sweeps = 2; Corrections = 0 }

        let report, seconds =
            Measure.processorTimed (fun () -> ModelCompression.run few plan net |> TensorNetError.raiseErrors)

        let after = net.parameters true |> Seq.sumBy _.numel()
        let result = output input net

        let dense =
            counted (
                Seq.append
                    (plan.Layers |> Seq.filter (fun layer -> not layer.IsFactorized) |> Seq.map _.Kept)
                    (report.Failed |> Seq.map (fun layer -> "failed: " + String.concat " " layer.Reasons))
            )

        let shown = if result = before then result else $"{before} became {result}"
        let parameters = $"{plan.DenseParameters} | {after}"

        printfn
            $"| {name} | {report.Layers.Count} of {plan.Layers.Count} | {dense} | {parameters} | {planning:F1} | {seconds:F1} | {shown} |"

/// `torchvision [NAME] [RATIO]`
let run (chosen: string) (ratio: float) : unit =
    printfn "| network | replaced | kept dense | parameters | afterwards | plan, s | compress, s | output |"
    printfn "| --- | --- | --- | --- | --- | --- | --- | --- |"

    for name, input, make in networks do
        if chosen = "" || chosen = name then
            row ratio (name, input, make)
