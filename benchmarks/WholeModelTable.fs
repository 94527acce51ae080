/// A whole network of trained kernels: how long a plan and its compression take, and to what they come.
module WholeModelTable

open System
open System.Diagnostics
open TensorNets
open TensorNets.Benchmarks
open TorchSharp

/// The stem and the sixteen 3×3 convolutions of ResNet-18, one behind the other with its strides.
let private chain () : torch.nn.Module<torch.Tensor, torch.Tensor> =
    use _ = torch.no_grad ()
    let kernels = TrainedKernels.read () |> List.filter (fun w -> w.shape[2] > 1L) |> List.truncate 17

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
    let (result, seconds), processor = Measure.processorTimed (fun () -> Measure.timed act)
    printfn $"{what}: {seconds:F1} s, {processor:F1} s of processors"
    result

/// The fall of log S over the layers, weighed by their parameters, from what least squares leave.
let private fall (plan: CompressionPlan) (report: CompressReport) : float =
    let parameters = dict [ for layer in plan.Layers -> layer.Path, float layer.Parameters ]

    let weighed =
        [
            for layer in report.Layers -> parameters[layer.Path], log (layer.StartSensitivity / layer.Sensitivity)
        ]

    (weighed |> List.sumBy (fun (weight, fall) -> weight * fall)) / List.sumBy fst weighed

/// What the deal to several workers goes by, beside what layers took: shares of the whole, and the share that the busiest of two and of four
/// workers has of the time.
let private dealt (plan: CompressionPlan) (report: CompressReport) : unit =
    let predicted =
        Map.ofList [ for layer in plan.Layers |> Seq.filter _.IsFactorized -> layer.Path, LayerTask.cost layer ]

    let real = Map.ofList [ for layer in report.Layers -> layer.Path, layer.Time.TotalSeconds ]
    let whole (of': Map<string, float>) = report.Layers |> Seq.sumBy (fun layer -> of'[layer.Path])

    Measure.table
        [ "layer"; "predicted share, %"; "real share, %"; "seconds" ]
        [
            for layer in report.Layers ->
                [
                    layer.Path
                    $"{100.0 * predicted[layer.Path] / whole predicted:F1}"
                    $"{100.0 * real[layer.Path] / whole real:F1}"
                    $"{real[layer.Path]:F2}"
                ]
        ]

    for workers in [ 2; 4 ] do
        let most =
            Shard.deal workers plan
            |> List.map (fun paths -> paths |> List.sumBy (fun path -> Map.tryFind path real |> Option.defaultValue 0.0))
            |> List.max

        printfn $"of {workers} workers the busiest has {100.0 * most / whole real:F0} %% of the time of the layers"

let private compressed (limit: TimeSpan option) name plan =
    use model = chain ()
    let plan = timed $"{name}: plan" (fun () -> plan model |> TensorNetError.raiseErrors)
    let before = Process.GetCurrentProcess().WorkingSet64

    let report =
        timed $"{name}: compress" (fun () ->
            ModelCompression.run { ModelCompression.defaults with TimeLimit = limit } plan model
            |> TensorNetError.raiseErrors)

    printfn $"{plan.DenseParameters} -> {plan.Parameters} parameters, {float plan.DenseFlops / float plan.Flops:F2} times fewer FLOPs"
    printfn $"{report}"
    dealt plan report
    printfn $"log S falls by {fall plan report:F3} on the mean of all parameters"
    printfn $"peak {float (Process.GetCurrentProcess().PeakWorkingSet64 - before) / 1e6:F0} MB beyond the model"
    printfn ""

let private make budget options (model: torch.nn.Module<torch.Tensor, torch.Tensor>) =
    CompressionPlan.make budget options [ 1L; 3L; 64L; 64L ] model

/// `whole RATIO [tucker2|cp|plan] [SECONDS]`: all 3×3 convolutions at one ratio in a format, within a time or not, or the plan alone.
let run (ratio: float) (which: string) (limit: TimeSpan option) : unit =
    match which with
    | "tucker2" -> compressed limit "Tucker-2" (make (Budget.LayerError 1.0) (uniform [ FormatFamily.Tucker2 ] ratio 1))
    | "cp" -> compressed limit "CP" (make (Budget.LayerError 1.0) (uniform [ FormatFamily.CP ] ratio 1))
    | _ ->
        use model = chain ()

        let plan =
            timed "plan" (fun () -> make (Budget.ParameterRatio ratio) CompressionPlan.defaults model |> TensorNetError.raiseErrors)

        printfn $"{plan}"

/// So many copies of one trained 128→128 kernel, and how long Tucker-2 and CP at a third of its parameters take.
let growth () : unit =
    let kernel = TrainedKernels.read () |> List.find (fun w -> w.shape[0] = 128L && w.shape[1] = 128L)

    let seconds family count =
        use _ = torch.no_grad ()

        let convs =
            [|
                for i in 1..count do
                    let conv = torch.nn.Conv2d(128L, 128L, 3L, padding = 1L, bias = false)
                    conv.weight.copy_ kernel |> ignore
                    struct ($"conv{i}", (conv :> torch.nn.Module<torch.Tensor, torch.Tensor>))
            |]

        use model = torch.nn.Sequential convs
        let options = { uniform [ family ] 3.0 1 with KeepFirst = false }

        Measure.timed (fun () ->
            let plan =
                CompressionPlan.make (Budget.LayerError 1.0) options [ 1L; 128L; 8L; 8L ] model
                |> TensorNetError.raiseErrors

            ModelCompression.run ModelCompression.defaults plan model |> TensorNetError.raiseErrors |> ignore)
        |> snd

    seconds FormatFamily.CP 1 |> ignore

    Measure.table
        [ "layers"; "Tucker-2, s"; "a layer"; "CP, s"; "a layer" ]
        [
            for count in [ 2; 4; 8; 16 ] do
                let times = [ FormatFamily.Tucker2; FormatFamily.CP ] |> List.map (fun family -> seconds family count)

                string count :: (times |> List.collect (fun time -> [ $"{time:F2}"; $"{time / float count:F3}" ]))
        ]

/// The peak of work on one layer, against what the gate of layers side by side takes it for.
let memory () : unit =
    let kernel (channels: int64) = TrainedKernels.read () |> List.find (fun w -> w.shape[0] = channels && w.shape[1] = channels)

    let row family ratio (channels: int64) =
        use _ = torch.no_grad ()
        let conv = torch.nn.Conv2d(channels, channels, 3L, padding = 1L, bias = false)
        conv.weight.copy_ (kernel channels) |> ignore

        use model =
            torch.nn.Sequential [| struct ("conv", (conv :> torch.nn.Module<torch.Tensor, torch.Tensor>)) |]

        let options = { uniform [ family ] ratio 1 with KeepFirst = false; Workers = 1 }
        let mutable plan = None

        let planning =
            Measure.peak (fun () ->
                plan <-
                    CompressionPlan.make (Budget.LayerError 1.0) options [ 1L; channels; 8L; 8L ] model
                    |> TensorNetError.raiseErrors
                    |> Some)

        let layer = plan.Value.Layers[0]

        let source =
            (LayerSource.ofModel [ 1L; channels; 8L; 8L ] model |> TensorNetError.raiseErrors).Layers[0]

        let compressing =
            Measure.peak (fun () ->
                ModelCompression.run { ModelCompression.defaults with Workers = 1 } plan.Value model
                |> TensorNetError.raiseErrors
                |> ignore)

        let cells = [ planning; WorkMemory.ofPlanning options source; compressing; WorkMemory.ofChoice layer ]
        let megabytes = cells |> List.map (fun bytes -> $"{bytes / 1e6:F0}")
        printfn $"""| {channels}×9×{channels} | {layer.Choice} | {String.Join(" | ", megabytes)} |"""

    printfn "| kernel | network | plan, MB | taken for | compress, MB | taken for |"
    printfn "| --- | --- | --- | --- | --- | --- |"

    for family in [ FormatFamily.Tucker2; FormatFamily.CP; FormatFamily.TensorChain ] do
        for ratio in [ 1.5; 3.0; 9.0 ] do
            for channels in [ 128L; 256L; 512L ] do
                row family ratio channels
