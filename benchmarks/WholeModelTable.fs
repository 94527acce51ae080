/// A whole network of trained kernels: how long a plan and its compression take, and to what they come.
module WholeModelTable

open System
open System.Diagnostics
open TensorNets
open TorchSharp

/// The stem and the sixteen 3×3 convolutions of ResNet-18, one behind the other with its strides.
let private chain (path: string) : torch.nn.Module<torch.Tensor, torch.Tensor> =
    use _ = torch.no_grad ()
    let kernels = OnnxKernels.read path |> List.filter (fun w -> w.shape[2] > 1L) |> List.truncate 17

    let conv (w: torch.Tensor) =
        let stride = if w.shape[2] = 7L || w.shape[0] <> w.shape[1] then 2L else 1L

        let conv =
            torch.nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], stride = stride, padding = w.shape[2] / 2L, bias = false)

        conv.weight.copy_ w |> ignore
        conv

    torch.nn.Sequential(
        [|
            for i, w in List.indexed kernels -> struct ($"conv{i}", (conv w :> torch.nn.Module<torch.Tensor, torch.Tensor>))
        |]
    )

let private uniform (families: FormatFamily list) ratio sweeps =
    { CompressionPlan.defaults with
        Families = families
        Ratios = [ ratio ]
        Sweeps = sweeps
        KeepLast = false
    }

let private timed (what: string) (act: unit -> 'T) : 'T =
    let clock = Stopwatch.StartNew()
    let result = act ()
    printfn $"{what}: {clock.Elapsed.TotalSeconds:F1} s"
    result

let private compressed path name plan =
    use model = chain path
    let plan = timed $"{name}: plan" (fun () -> plan model |> TensorNetError.raiseErrors)
    let before = Process.GetCurrentProcess().WorkingSet64

    let report =
        timed $"{name}: compress" (fun () -> ModelCompression.run ModelCompression.defaults plan model |> TensorNetError.raiseErrors)

    printfn $"{plan.DenseParameters} -> {plan.Parameters} parameters, {float plan.DenseFlops / float plan.Flops:F2} times fewer FLOPs"
    printfn $"{report}"
    printfn $"peak {float (Process.GetCurrentProcess().PeakWorkingSet64 - before) / 1e6:F0} MB beyond the model"
    printfn ""

/// `whole ONNX [RATIO] [tucker2|cp|plan]`: ONNX is the file of the package Microsoft.ML.DnnImageFeaturizer.ResNet18.
let run (path: string) (ratio: float) (which: string) : unit =
    let make budget options model = CompressionPlan.make budget options [ 1L; 3L; 64L; 64L ] model

    match which with
    | "tucker2" -> compressed path "Tucker-2" (make (Budget.LayerError 1.0) (uniform [ FormatFamily.Tucker2 ] ratio 1))
    | "cp" -> compressed path "CP" (make (Budget.LayerError 1.0) (uniform [ FormatFamily.CP ] ratio 1))
    | _ ->
        use model = chain path

        let plan =
            timed "plan" (fun () -> make (Budget.ParameterRatio ratio) CompressionPlan.defaults model |> TensorNetError.raiseErrors)

        printfn $"{plan}"
