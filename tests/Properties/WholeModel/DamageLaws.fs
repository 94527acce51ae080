/// Plans by a function of the caller's, which is called with one layer changed.
module DamageLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

let private options =
    { CompressionPlan.defaults with
        Families = [ FormatFamily.CP; FormatFamily.Tucker2; FormatFamily.TensorTrain ]
        Ratios = [ 1.5; 2.5; 5.0 ]
        Sweeps = 2
        KeepFirst = false
        KeepLast = false
        TrainMatrixModes = [ 2 ]
    }

let private weights (model: torch.nn.Module) =
    [
        for struct (name, p) in model.named_parameters () do
            if name.EndsWith("weight", StringComparison.Ordinal) && p.dim () > 1L then
                name[.. name.Length - 8], p.detach ()
    ]

/// ‖(W − W₀) × Σ^½‖² / ‖W₀ × Σ^½‖², summed over the layers of a model; without Σ of a layer that of the weight.
let private squaredError (sigmas: (string * Tensor) list) (model: torch.nn.Module) : torch.nn.Module -> float =
    let kernel path (weight: Tensor) =
        let g = ConvGeometry.ofLayer (Surgery.find path model |> ok) |> ok
        Check.double (ConvGeometry.kernelOfWeight g weight)

    let size path (kernel: Tensor) =
        match sigmas |> List.tryFind (fun (name, _) -> name = path) with
        | Some(_, sigma) ->
            let rows = kernel.reshape (kernel.shape[0], -1L)
            rows.mul(sigma.matmul rows).sum().ToDouble()
        | None -> kernel.square().sum().ToDouble()

    let first = [ for path, weight in weights model -> path, kernel path weight ]

    fun changed ->
        List.zip first (weights changed)
        |> List.sumBy (fun ((path, before), (_, weight)) -> size path ((kernel path weight).minus before) / size path before)

let private models: (string * (unit -> Layer) * int64 list) list =
    [
        "a chain", (fun () -> ModelCompressionLaws.make ()), ModelCompressionLaws.shape
        "every kind",
        (fun () ->
            torch.random.manual_seed 5L |> ignore
            new EveryKind()),
        [ 2L; 3L; 12L; 12L ]
    ]

let private same (plan: CompressionPlan) (other: CompressionPlan) =
    Expect.equal (CompressionPlan.diff plan other) [] "the same choices"

    for layer, expected in Seq.zip plan.Layers other.Layers do
        Expect.equal layer.Chosen expected.Chosen layer.Path
        Expect.equal layer.Candidates.Count expected.Candidates.Count layer.Path

        for c, e in Seq.zip layer.Candidates expected.Candidates do
            Expect.equal { c with Damage = 0.0; Latency = 0.0 } { e with Damage = 0.0; Latency = 0.0 } $"{layer.Path} as {e}"
            // The plan knows the error of a group only where the candidate is among the few of that group.
            let tolerance = if layer.Geometry.Groups > 1L then 0.02 else 1e-5
            let found = $"{layer.Path} as {e}: {c.Damage} against {e.Damage}"
            Expect.isLessThan (abs (c.Damage - e.Damage)) (tolerance * e.Damage + 1e-9) found

let private agrees =
    testCase "with the squared error of the layers as function the plan is that of errors, of kernels and of outputs" (fun () ->
        for name, make, shape in models do
            use _ = torch.NewDisposeScope()
            use model = make ()
            model.eval ()
            let x = torch.rand (List.toArray shape, dtype = torch.float32, device = torch.CPU)

            for sigmas in [ []; Calibration.covariances 1000L [ x ] model |> ok ] do
                let options = { options with Covariances = sigmas }
                let before = ModelCompressionLaws.stateOf model
                let mutable calls = 0
                let error = squaredError sigmas model

                let evaluate (model: Layer) =
                    calls <- calls + 1
                    use _ = torch.NewDisposeScope()
                    // From where a dense model stands, which no damage tells.
                    error model - 7.0

                let make options = CompressionPlan.make (Budget.ParameterRatio 1.6) options shape model |> ok
                let plan, expected = make { options with Evaluate = Some evaluate }, make options
                Expect.equal plan.Measure "function" "measure"
                Expect.equal calls (1 + (plan.Layers |> Seq.sumBy _.Candidates.Count)) $"{name}: each candidate once"
                same plan expected

                for budget in [ Budget.FlopRatio 1.3; Budget.LayerError 0.5 ] do
                    let under = CompressionPlan.under budget >> ok
                    same (under plan) (under expected)

                Expect.equal (ModelCompressionLaws.stateOf model) before $"{name}: bits")

let private put =
    testCase "whatever the function does, every weight has its bits again and no tensor is left; what it throws is named" (fun () ->
        for name, make, shape in models do
            use _ = torch.NewDisposeScope()
            use model = make ()
            let before = ModelCompressionLaws.stateOf model
            let mutable calls = 0

            let run at (act: unit -> float) =
                calls <- 0

                let evaluate (_: Layer) =
                    calls <- calls + 1
                    if calls = at then act () else float calls

                CompressionPlan.make (Budget.LayerError 0.5) { options with Evaluate = Some evaluate } shape model

            run 0 (fun () -> 0.0) |> ok |> ignore
            let all = calls
            let count = NativeTensors.settledCount ()

            for at in [ 1; all / 2 ] do
                for found, act in
                    [
                        "InvalidOperationException", (fun () -> raise (InvalidOperationException "No such images."))
                        "No such images", (fun () -> failwith "No such images.")
                        "NaN", (fun () -> nan)
                        "Infinity", (fun () -> infinity)
                    ] do
                    match run at act with
                    | Error [ TensorNetError.Unsupported("The function of the plan", text, _) ] ->
                        Expect.stringContains text found name
                        Expect.stringContains text (if at = 1 then "the dense model" else " as ") name
                    | other -> failtestf "%A" other

                    Expect.equal calls at $"{name}: not called again"

                Expect.throwsT<OperationCanceledException>
                    (fun () -> run at (fun () -> raise (OperationCanceledException())) |> ignore)
                    "the caller's own end"

            run 0 (fun () -> 0.0) |> ok |> ignore
            Expect.equal torch.Tensor.TotalCount count $"{name}: tensors"
            Expect.equal (ModelCompressionLaws.stateOf model) before $"{name}: bits")

let private better =
    testCase "a layer that the function does not miss is cut first, and a value that falls is no damage" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = ModelCompressionLaws.make ()
        let error = squaredError [] model

        let size () =
            ((Surgery.find "d" model |> ok).get_parameter "weight" |> nonNull).detach().square().sum().ToDouble()

        let whole = size ()

        let weight (changed: Layer) =
            use _ = torch.NewDisposeScope()
            if size () < 0.99999 * whole then -1.0 else error changed

        let plan =
            CompressionPlan.make (Budget.ParameterRatio 1.2) { options with Evaluate = Some weight } ModelCompressionLaws.shape model
            |> ok

        Expect.isTrue
            (plan.Layers |> Seq.forall (fun layer -> layer.Candidates |> Seq.forall (fun c -> c.Damage >= 0.0)))
            "no damage below 0"

        let d = plan.Layers |> Seq.find (fun layer -> layer.Path = "d")
        Expect.isTrue (d.Candidates |> Seq.forall (fun c -> c.Damage = 0.0)) "free"
        Expect.isTrue d.IsFactorized (string plan)

        match CompressionPlan.ofSource (Budget.LayerError 0.5) { options with Evaluate = Some weight } (LayerSource.ofLayers []) with
        | Error [ TensorNetError.Unsupported("The function of the plan", _, _) ] -> ()
        | other -> failtestf "%A" other)

let private inference =
    testCase "weights made in inference mode, plans made in it" (fun () ->
        use _ = torch.NewDisposeScope()

        let make () =
            use _ = torch.inference_mode true
            ModelCompressionLaws.make ()

        use model = make ()
        let before = ModelCompressionLaws.stateOf model
        let evaluate = squaredError [] model >> id

        let run () =
            CompressionPlan.make (Budget.ParameterRatio 1.5) { options with Evaluate = Some evaluate } ModelCompressionLaws.shape model
            |> ok

        let plan = run ()

        let inside =
            use _ = torch.inference_mode true
            run ()

        Expect.equal (CompressionPlan.toJson inside) (CompressionPlan.toJson plan) "the same plan"
        Expect.equal (ModelCompressionLaws.stateOf model) before "bits")

/// What is told of layers that have their candidates, by workers or one after the other.
let private told =
    testCase "a plan tells of each layer that gets candidates, once and in order, whoever makes it" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = ModelCompressionLaws.make ()

        for workers, evaluate in [ 1, None; 3, None; 3, Some(fun (_: Layer) -> 0.0) ] do
            let notes = ResizeArray<PlanProgress>()

            let progress =
                { new IProgress<PlanProgress> with
                    member _.Report note = notes.Add note
                }

            let options =
                { CompressionPlan.defaults with
                    Workers = workers
                    Evaluate = evaluate
                    Sweeps = 1
                    Progress = Some progress
                }

            let plan = CompressionPlan.make (Budget.LayerError 0.5) options ModelCompressionLaws.shape model |> ok

            let open' =
                [
                    for layer in plan.Layers do
                        if layer.Candidates.Count > 0 then
                            layer.Path
                ]

            Expect.isNonEmpty open' "candidates"
            Expect.equal [ for note in notes -> note.Done ] [ 1 .. notes.Count ] "counted"
            Expect.all notes (fun (note: PlanProgress) -> note.Total = notes.Count) "in all"
            Expect.isEmpty (set open' - set [ for note in notes -> note.Path ]) "each layer"
            Expect.equal (set [ for note in notes -> note.Path ]).Count notes.Count "once"
            Expect.all notes (fun (note: PlanProgress) -> note.TimeLeft >= TimeSpan.Zero) "time")

let all = testSequenced (testList "damage by a function" [ agrees; put; better; told; inference ])
