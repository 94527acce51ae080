/// Models compressed by a plan: side by side, cancelled, failed, resumed.
module ModelCompressionLaws

open System
open System.IO
open System.Threading
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

let make () =
    convolutions 3L [ "a", 3L, 12L, 3L; "b", 12L, 16L, 3L; "c", 16L, 24L, 1L; "d", 24L, 16L, 3L; "e", 16L, 16L, 3L ]

let shape = [ 1L; 3L; 8L; 8L ]

/// A plan with every kind of format in it.
let planOf (model: torch.nn.Module<Tensor, Tensor>) =
    let options =
        { CompressionPlan.defaults with
            Families = [ FormatFamily.Tucker2 ]
            KeepFirst = false
            KeepLast = false
        }

    CompressionPlan.make (Budget.ParameterRatio 1.5) options shape model
    |> Result.bind (CompressionPlan.choose "a" KernelAxes.Separate (Format.TensorTrain [ 3; 4; 5 ]))
    |> Result.bind (CompressionPlan.choose "b" KernelAxes.Fused (Format.CP 8))
    |> Result.bind (CompressionPlan.choose "c" KernelAxes.Fused (Format.TensorTrain [ 6 ]))
    |> Result.bind (CompressionPlan.choose "d" KernelAxes.Fused (Format.Tucker2(8, 7)))
    |> Result.bind (CompressionPlan.choose "e" KernelAxes.Fused (Format.TensorChain [ 3; 3; 3 ]))
    |> ok

let options = { ModelCompression.defaults with Sweeps = 8; Corrections = 4 }
let stateOf (model: torch.nn.Module) = [ for KeyValue(key, tensor) in model.state_dict () -> key, bytesOf tensor ] |> Map.ofList

let private whole =
    testCase "every layer of the plan is put, near the error of least squares, and none is more sensitive than these left it" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = make ()
        let plan = planOf model
        let told = ResizeArray()

        let heard =
            { new IProgress<CompressProgress> with
                member _.Report p = lock told (fun () -> told.Add p)
            }

        use dense = make ()
        let report = ModelCompression.run { options with Progress = Some heard } plan model |> ok
        Expect.isEmpty report.Failed "none failed"
        Expect.equal [ for layer in report.Layers -> layer.Path ] [ "a"; "b"; "c"; "d"; "e" ] "order"
        Expect.equal [ for p in told -> p.Done ] [ 1; 2; 3; 4; 5 ] "progress"
        Expect.stringContains (string report) "seconds" "table"

        for layer, planned in Seq.zip report.Layers plan.Layers do
            Expect.isTrue (obj.ReferenceEquals(Surgery.find layer.Path model |> ok, layer.Layer)) "in the model"
            let g = layer.Layer.Geometry
            let choice = planned.Choice
            let weight = ((Surgery.find layer.Path dense |> ok).get_parameter "weight" |> nonNull).detach()

            let kernel =
                (ConvGeometry.kernelOfWeight g weight).reshape [| for size in PlanMaking.target choice.Axes choice.Format g -> size |]

            let sweeps = { SweepOptions.defaults with MaxSweeps = 8; Tolerance = 1e-4 }
            use fit = Factorize.runSpec { Factorize.defaults with Sweeps = sweeps } layer.Layer.Spec kernel |> ok
            Expect.isLessThanOrEqual layer.KernelError (1.0201 * fit.RelativeError) $"error of {choice}"
            Expect.isLessThanOrEqual layer.Sensitivity (1.0001 * fit.Sensitivity) $"S of {choice}"
            Expect.equal layer.Layer.ParameterCount choice.Parameters $"parameters of {choice}")

let private alike =
    testCase "one worker and several end with the same bits, and so does what is resumed from a folder, damaged files in it too" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let run options =
                let model = make ()
                let report = ModelCompression.run options (planOf model) model |> ok
                report, stateOf model

            let _, alone = run { options with Workers = 1 }
            let _, several = run { options with Workers = 3 }
            Expect.equal several alone "workers"
            let work = { options with Folder = Some folder }
            let first, fresh = run work
            Expect.equal fresh alone "with a folder"
            Expect.isFalse (first.Layers |> Seq.exists _.IsResumed) "nothing to go on from"
            let files = Directory.GetFiles folder
            Expect.equal files.Length 5 "a file for each layer"
            File.Delete files[0]
            File.WriteAllBytes(files[1], (File.ReadAllBytes files[1])[..100])
            let second, again = run work
            Expect.equal again alone "resumed"
            Expect.equal (second.Layers |> Seq.filter _.IsResumed |> Seq.length) 3 "three of five"
            let third, _ = run { work with Sweeps = 7 }
            Expect.isFalse (third.Layers |> Seq.exists _.IsResumed) "other options have other files"))

let private ofFewBits =
    testCase "layers of few bits are integers, resumed ones too, and lose no more than rounding must" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let run options =
                let model = make ()
                let report = ModelCompression.run options (planOf model) model |> ok
                report, stateOf model

            let numbers, _ = run options
            let few = { options with Quantize = Some { Quantization.defaults with Bits = 5 }; Folder = Some folder }
            let first, fresh = run few
            let second, again = run few
            Expect.equal again fresh "resumed"
            Expect.isTrue (second.Layers |> Seq.forall _.IsResumed) "all of them"

            for report in [ first; second ] do
                for layer, plain in Seq.zip report.Layers numbers.Layers do
                    let integers = LayerQuantization.current layer.Layer
                    Expect.equal (integers |> Option.map _.Bits) (Some 5) layer.Path
                    Expect.isLessThan (LayerQuantization.bytes layer.Layer) (LayerQuantization.bytes plain.Layer) layer.Path
                    Expect.isLessThan layer.KernelError (plain.KernelError + 0.15) layer.Path

            let other, _ = run { few with Quantize = None }
            Expect.isFalse (other.Layers |> Seq.exists _.IsResumed) "other bits have other files"))

let private cancelled =
    testCase "cancelled, the model computes with what is finished, and a run with its folder goes on to the same bits" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            use whole = make ()
            ModelCompression.run options (planOf whole) whole |> ok |> ignore

            for count in [ 0; 1; 3 ] do
                use model = make ()
                use source = new CancellationTokenSource()

                if count = 0 then
                    source.Cancel()

                let heard =
                    { new IProgress<CompressProgress> with
                        member _.Report p =
                            if p.Done >= count then
                                source.Cancel()
                    }

                let work =
                    { options with
                        Workers = 1
                        Folder = Some folder
                        Cancellation = source.Token
                        Progress = Some heard
                    }

                let report = ModelCompression.run work (planOf model) model |> ok
                Expect.equal (report.Layers.Count + report.Failed.Count) 5 "every layer is accounted for"
                Expect.equal report.Layers.Count (List.length (Compress.factorized model)) "in the model"
                model.call (images 1 1L) |> ignore
                use rest = make ()
                let report = ModelCompression.run { options with Folder = Some folder } (planOf rest) rest |> ok
                Expect.isEmpty report.Failed "the rest"
                Expect.equal (stateOf rest) (stateOf whole) "bits"))

let private failing =
    testCase "a layer that fails stays dense and is reported; a plan of another model is refused whole" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = make ()
        let plan = planOf model
        let broken = { options with Covariances = [ "b", torch.ones ([| 2L; 2L |], dtype = torch.float64) ] }
        let report = ModelCompression.run broken plan model |> ok
        Expect.equal [ for s in report.Failed -> s.Path ] [ "b" ] "b"
        Expect.isNonEmpty (Seq.head report.Failed).Reasons "why"
        Expect.equal report.Layers.Count 4 "the others"
        model.call (images 1 1L) |> ignore
        use other = torch.nn.Sequential(struct ("a", (torch.nn.Conv2d(3L, 12L, 5L): Layer)))
        let before = stateOf other
        Expect.isError (ModelCompression.run options plan other) "other model"
        Expect.equal (stateOf other) before "as it was"
        Expect.isError (ModelCompression.run { options with Sweeps = 0 } plan (make ())) "sweeps"
        let bits = { Quantization.defaults with Bits = 9 }
        Expect.isError (ModelCompression.run { options with Quantize = Some bits } plan (make ())) "bits"
        use once = make ()
        ModelCompression.run options (planOf once) once |> ok |> ignore
        Expect.isError (ModelCompression.run options plan once) "compressed already")

let private limited =
    testCase "a limit of no time at all still ends with every layer" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = make ()

        let report =
            ModelCompression.run { options with TimeLimit = Some TimeSpan.Zero } (planOf model) model |> ok

        Expect.equal (report.Layers.Count, report.Failed.Count) (5, 0) "layers"

        for layer in report.Layers do
            Expect.isLessThan layer.KernelError 1.0 $"'{layer.Path}' is better than a kernel of zeros")

/// Every kind of layer with and without groups and bias, an input for it, and formats of every sort for one group's kernel.
let counted: (string * (unit -> Layer) * int64 list) list =
    [
        "linear", (fun () -> torch.nn.Linear(6L, 10L)), [ 3L; 6L ]
        for groups in [ 1L; 2L ] do
            for bias in [ true; false ] do
                let name kind = $"{kind}, {groups} groups, bias {bias}"
                name "Conv1d", (fun () -> torch.nn.Conv1d(6L, 8L, 3L, stride = 2L, groups = groups, bias = bias)), [ 2L; 6L; 9L ]
                name "Conv2d", (fun () -> torch.nn.Conv2d(6L, 8L, 3L, padding = 1L, groups = groups, bias = bias)), [ 2L; 6L; 7L; 6L ]
                name "Conv3d", (fun () -> torch.nn.Conv3d(6L, 8L, 2L, groups = groups, bias = bias)), [ 1L; 6L; 4L; 5L; 4L ]

                name "ConvTranspose1d",
                (fun () -> torch.nn.ConvTranspose1d(6L, 8L, 3L, stride = 2L, groups = groups, bias = bias)),
                [ 2L; 6L; 5L ]

                name "ConvTranspose2d", (fun () -> torch.nn.ConvTranspose2d(6L, 8L, 3L, groups = groups, bias = bias)), [ 2L; 6L; 5L; 4L ]
    ]

let private chosen =
    testCase "a format of one's own has in the plan the parameters and FLOPs of the layer that it makes, groups or transposed" (fun () ->
        for name, layer, input in counted do
            use _ = torch.NewDisposeScope()
            let n = input.Length - 2
            let model () : Layer = torch.nn.Sequential(struct ("it", layer ()))

            let options =
                { CompressionPlan.defaults with Ratios = [ 2.0 ]; Sweeps = 1; KeepFirst = false; KeepLast = false }

            let plan = CompressionPlan.make (Budget.LayerError 0.0) options input (model ()) |> ok
            let read = CompressionPlan.ofJson (CompressionPlan.toJson plan) |> ok

            for axes, format in
                [
                    KernelAxes.Fused, Format.TensorTrain(List.replicate (min 2 (n + 1)) 2)
                    KernelAxes.Fused, Format.CP 3
                    if n > 0 then
                        KernelAxes.Fused, Format.Tucker2(2, 3)
                        KernelAxes.Separate, Format.TensorChain(List.replicate (n + 2) 2)
                ] do
                use compressed = model ()
                let own = CompressionPlan.choose "it" axes format read |> ok
                let direct = CompressionPlan.choose "it" axes format plan |> ok
                Expect.equal (CompressionPlan.toJson own) (CompressionPlan.toJson direct) $"{name}: written and read"

                let report =
                    ModelCompression.run { ModelCompression.defaults with Sweeps = 1; Corrections = 0 } own compressed
                    |> ok

                Expect.isEmpty report.Failed name
                let made = ModelReport.make input compressed |> ok
                let choice = own.Layers[0].Choice
                Expect.equal choice.Parameters report.Layers[0].Layer.ParameterCount $"{name}: parameters of {choice}"
                Expect.equal own.Parameters made.Parameters $"{name}: parameters of the model with {choice}"
                Expect.equal own.Flops made.Flops $"{name}: FLOPs of {choice}")

let all =
    testSequenced (testList "model compression" [ whole; alike; ofFewBits; cancelled; failing; limited; chosen ])
