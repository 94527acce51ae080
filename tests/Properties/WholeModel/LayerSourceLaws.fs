/// Kernels from anywhere: a source of layers is planned and compressed as the model with the same numbers is.
module LayerSourceLaws

open System
open System.IO
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

/// The source of a model's layers with numbers that are made anew whenever they are read.
let private lazily (source: LayerSource) : LayerSource =
    let fresh (read: unit -> Result<Tensor, TensorNetError list>) () = read () |> Result.map (fun tensor -> tensor.detach().clone())

    { source with
        Layers =
            [
                for layer in source.Layers -> { layer with Weight = fresh layer.Weight; Bias = Option.map fresh layer.Bias }
            ]
    }

/// The state of each layer that a run has made.
let private states (report: CompressReport) =
    Expect.isEmpty report.Failed "none failed"

    [
        for layer in report.Layers -> layer.Path, ModelCompressionLaws.stateOf layer.Layer, layer.KernelError, layer.Sensitivity
    ]

let private same =
    testCase "a source of layers and the model with the same numbers get the same plan and end with the same bits" (fun () ->
        for name, layer, input in ModelCompressionLaws.counted do
            use _ = torch.NewDisposeScope()
            use model: Layer = torch.nn.Sequential(struct ("it", layer ()))

            let options =
                { CompressionPlan.defaults with
                    Ratios = [ 1.5; 3.0 ]
                    Sweeps = 1
                    Families = [ FormatFamily.CP ]
                    KeepFirst = false
                    KeepLast = false
                }

            let source = LayerSource.ofModel input model |> ok |> lazily
            let plan = CompressionPlan.make (Budget.LayerError 2.0) options input model |> ok
            let other = CompressionPlan.ofSource (Budget.LayerError 2.0) options source |> ok
            Expect.equal (CompressionPlan.toJson other) (CompressionPlan.toJson plan) name
            let run = { ModelCompression.defaults with Sweeps = 2; Corrections = 1 }
            let before = NativeTensors.settledCount ()
            let apart = LayerCompression.run run other source |> ok

            let made =
                use _ = torch.NewDisposeScope()
                states apart

            // Each parameter of a module leaves the shell of the tensor that it was made of.
            let shells = apart.Layers |> Seq.sumBy (fun layer -> Seq.length (layer.Layer.parameters ()))

            for layer in apart.Layers do
                layer.Layer.Dispose()

            Expect.isLessThanOrEqual (torch.Tensor.TotalCount - before) (int64 shells) $"{name}: what was read is disposed"
            let inside = ModelCompression.run run plan model |> ok
            Expect.equal made (states inside) name)

let private shared =
    testCase "layers of every format have the same bits from a source, and go on from the files of a run of the model" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            use model = ModelCompressionLaws.make ()
            let plan = ModelCompressionLaws.planOf model
            let source = LayerSource.ofModel ModelCompressionLaws.shape model |> ok |> lazily
            let fresh = LayerCompression.run ModelCompressionLaws.options plan source |> ok
            let work = { ModelCompressionLaws.options with Folder = Some folder }
            let inside = ModelCompression.run work plan model |> ok
            Expect.equal (states fresh) (states inside) "bits"
            let resumed = LayerCompression.run work plan source |> ok
            Expect.isTrue (resumed.Layers |> Seq.forall _.IsResumed) "resumed"
            Expect.equal (states resumed) (states inside) "bits of what was resumed"
            // Modules leave shells of tensors behind, whoever disposes them.
            let left run =
                let before = NativeTensors.settledCount ()
                let report: CompressReport = run ()
                report, torch.Tensor.TotalCount - before

            let _, shells =
                left (fun () ->
                    let report = LayerCompression.run work plan source |> ok

                    for layer in report.Layers do
                        layer.Layer.Dispose()

                    report)

            let released, alive =
                left (fun () -> LayerCompression.run { work with ReleaseLayers = true } plan source |> ok)

            Expect.equal alive shells "no layer is left alive"

            for layer, kept in Seq.zip released.Layers resumed.Layers do
                Expect.isTrue (File.Exists layer.File) layer.Path
                let told (made: CompressedLayer) = made.Path, made.File, made.Bytes, made.KernelError, made.Sensitivity
                Expect.equal (told layer) (told kept) layer.Path

            let nowhere = { ModelCompressionLaws.options with ReleaseLayers = true }
            Expect.isError (LayerCompression.run nowhere plan source) "released to nowhere"
            Expect.isError (ModelCompression.run { work with ReleaseLayers = true } plan model) "layers of a model"))

let private fromFile =
    testCase "a safetensors file is a source: names, shapes, numbers, other parameters" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let path = Path.Combine(folder, "state.safetensors")
            use model = ModelCompressionLaws.make ()

            let others =
                [
                    "norm.weight", torch.ones 7L
                    "norm.running_mean", torch.ones 7L
                    "norm.count", torch.ones (1L, dtype = torch.int64)
                    "depthwise.weight", torch.randn (5L, 1L, 3L, 3L)
                ]

            let state = [ for KeyValue(name, tensor) in model.state_dict () -> name, tensor.detach () ]

            SafeTensors.save path [] (state @ others) |> ok
            let source = LayerSource.ofFile path |> ok
            Expect.equal source.OtherParameters 7L "other parameters"

            let options =
                { CompressionPlan.defaults with
                    Families = [ FormatFamily.Tucker2 ]
                    KeepFirst = false
                    KeepLast = false
                }

            let plan = CompressionPlan.ofSource (Budget.FlopRatio 1.5) options source |> ok

            let ofModel =
                CompressionPlan.make (Budget.ParameterRatio 1.5) options ModelCompressionLaws.shape model |> ok

            let at path (plan: CompressionPlan) = plan.Layers |> Seq.find (fun layer -> layer.Path = path)
            Expect.stringContains (at "depthwise" plan).Kept "depthwise" "kept"

            for layer in ofModel.Layers do
                let found = at layer.Path plan
                Expect.equal found.Flops (2L * (found.Parameters - found.Shape[0])) "FLOPs are twice the entries"

                Expect.equal
                    [ for c in found.Candidates -> c.Format, c.Error ]
                    [ for c in layer.Candidates -> c.Format, c.Error ]
                    layer.Path

            let report = LayerCompression.run ModelCompressionLaws.options plan source |> ok
            Expect.isNonEmpty report.Layers "layers"

            let like =
                { ofModel with
                    Layers =
                        [
                            for layer in ofModel.Layers ->
                                { layer with Candidates = (at layer.Path plan).Candidates; Chosen = (at layer.Path plan).Chosen }
                        ]
                }

            let inside = ModelCompression.run ModelCompressionLaws.options like model |> ok
            let found = states inside |> List.map (fun (path, state, _, _) -> path, state)
            Expect.equal (states report |> List.map (fun (path, state, _, _) -> path, state) |> List.sort) (List.sort found) "bits"))

let private refused =
    testCase "numbers that cannot be read keep a layer dense, in the plan and in the run; layers that cannot be are refused" (fun () ->
        use _ = torch.NewDisposeScope()
        let g = { ConvGeometry.plain 2 6L 8L with Kernel = [ 3L; 3L ] }
        let weight = torch.randn ([| 8L; 6L; 3L; 3L |], dtype = torch.float32)
        let good = { SourceLayer.make "good" g weight None with Inputs = [ SourceLayer.smallestInput g ] }
        let gone () = Error [ TensorNetError.MissingKey "gone" ]

        let bad =
            [
                { good with Path = "missing"; Weight = gone }
                { good with Path = "shape"; Weight = fun () -> Ok(torch.ones (2L, 2L)) }
                { good with
                    Path = "whole numbers"
                    Weight = fun () -> Ok(torch.ones ([| 8L; 6L; 3L; 3L |], dtype = torch.int64))
                }
                { good with Path = "not finite"; Weight = fun () -> Ok(weight.div (0.0f.ToScalar())) }
                { good with Path = "null"; Weight = fun () -> Ok Unchecked.defaultof<Tensor> }
            ]

        let options =
            { CompressionPlan.defaults with Ratios = [ 2.0 ]; Sweeps = 1; KeepFirst = false; KeepLast = false }

        let planned layers = CompressionPlan.ofSource (Budget.LayerError 2.0) options (LayerSource.ofLayers layers)
        let plan = planned (good :: bad) |> ok

        for layer in plan.Layers do
            Expect.equal layer.IsFactorized (layer.Path = "good") layer.Path
            Expect.equal (layer.Kept = "") layer.IsFactorized layer.Path

        let all = planned [ for layer in good :: bad -> { good with Path = layer.Path } ] |> ok

        let report =
            LayerCompression.run { LayerCompression.defaults with Sweeps = 1 } all (LayerSource.ofLayers (good :: bad))
            |> ok

        Expect.equal [ for layer in report.Layers -> layer.Path ] [ "good" ] "made"
        Expect.equal [ for layer in report.Failed -> layer.Path ] [ for layer in bad -> layer.Path ] "failed"
        let bias () = Ok(torch.ones 3L)
        let short = LayerSource.ofLayers [ { good with Bias = Some bias } ]
        let one = planned [ good ] |> ok
        Expect.equal (LayerCompression.run LayerCompression.defaults one short |> ok).Failed.Count 1 "bias"

        for layers in
            [
                [ good; good ]
                [ { good with Inputs = [ [ 1L; 5L; 9L; 9L ] ] } ]
                [ { good with Geometry = { g with Stride = [ 0L; 1L ] } } ]
            ] do
            Expect.isError (planned layers) $"%A{layers}"

        Expect.isError (LayerCompression.run LayerCompression.defaults one (LayerSource.ofLayers [])) "no such layer"
        let kept = LayerSource.ofLayers [ { good with Kept = "a reason" } ]
        Expect.isError (LayerCompression.run LayerCompression.defaults one kept) "kept"
        let keep = { options with Keep = [ "godo" ] }
        Expect.isError (CompressionPlan.ofSource (Budget.LayerError 1.0) keep (LayerSource.ofLayers [ good ])) "no such path")

/// Linear layers that are called by their numbers, whatever the order in which they are registered.
type private Numbered(registered: int seq) as this =
    inherit Layer("Numbered")
    let layers = [| for _ in registered -> torch.nn.Linear(4L, 4L) |]

    do
        for i in registered do
            this.register_module ($"layer{i}", layers[i])

    override _.forward x = (x, layers) ||> Array.fold (fun x layer -> layer.call x)

let private called =
    testCase "first and last are the layers that a model calls first and last, whatever the order of its fields" (fun () ->
        for registered in [ [ 0; 1; 2; 3 ]; [ 3; 2; 1; 0 ]; [ 1; 3; 0; 2 ]; [ 2; 0; 3; 1 ] ] do
            use _ = torch.NewDisposeScope()
            use model = new Numbered(registered)
            let plan = CompressionPlan.make (Budget.LayerError 1.0) CompressionPlan.defaults [ 2L; 4L ] model |> ok
            Expect.equal [ for layer in plan.Layers -> layer.Path ] [ for i in 0..3 -> $"layer{i}" ] $"{registered}"
            Expect.equal plan.Layers[0].Kept "the first layer" $"{registered}"
            Expect.equal plan.Layers[3].Kept "the last layer" $"{registered}")

let all = testSequenced (testList "sources of layers" [ same; shared; fromFile; refused; called ])
