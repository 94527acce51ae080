/// Work in steps, and the time of a run that is split by what it gains.
module ScheduleLaws

open System
open Expecto
open FsCheck
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

let private few = { config with maxTest = 100 }

/// Gains of the rounds that an item has, falling.
let private falling (gains: PositiveInt list list) =
    [ for of' in gains -> of' |> List.map (fun gain -> float gain.Get) |> List.sortDescending ]

/// A round takes the first gain that is left; an item without any ends.
let private round' (told: int * float -> unit) (i: int, left: float list) : SideBySide.Step<int * float list, int> =
    match left with
    | gain :: rest ->
        told (i, gain)
        SideBySide.Again(i, rest)
    | [] -> SideBySide.Done i

let private priority (_, left) = left |> List.tryHead |> Option.defaultValue 0.0

let private most =
    testPropertyWithConfig
        few
        "where gains fall, any number of rounds gains most, and every item ends"
        (fun (gains: PositiveInt list list) ->
            let gains = falling gains
            let taken = ResizeArray()

            let ended =
                SideBySide.stepsWithin infinity (fun _ -> 0.0) priority 1 (round' taken.Add) (List.indexed gains)

            Expect.equal ended [ 0 .. gains.Length - 1 ] "results in order"
            let best = List.concat gains |> List.sortDescending
            // All prefixes at once: the k-th round gains what the k-th of the best does.
            Expect.equal [ for _, gain in taken -> gain ] best "gains"

            for i, of' in List.indexed gains do
                Expect.equal
                    [
                        for at, gain in taken do
                            if at = i then
                                gain
                    ]
                    of'
                    "each item's rounds in turn")

let private alike =
    testPropertyWithConfig few "several workers take every round of every item once, within the room" (fun (gains: PositiveInt list list) ->
        let gains = falling gains
        let gate = obj ()
        let taken = ResizeArray()
        let mutable used, alone, running = 0, 0, 0

        let step item =
            let size = 1 + fst item % 4

            lock gate (fun () ->
                running <- running + 1
                used <- used + size

                if used > 5 && running > 1 then
                    alone <- alone + 1)

            let next = round' (fun told -> lock gate (fun () -> taken.Add told)) item

            lock gate (fun () ->
                running <- running - 1
                used <- used - size)

            next

        let size (i, _) = float (1 + i % 4)
        let ended = SideBySide.stepsWithin 5.0 size priority 3 step (List.indexed gains)
        Expect.equal ended [ 0 .. gains.Length - 1 ] "results"
        Expect.equal alone 0 "room"

        let all =
            [
                for i, of' in List.indexed gains do
                    for gain in of' -> i, gain
            ]

        Expect.equal (List.sort (List.ofSeq taken)) (List.sort all) "rounds")

let private thrown =
    testCase "what a step throws is thrown once, and nothing more is begun" (fun () ->
        let mutable begun = 0

        let step i =
            begun <- begun + 1

            if i = 3 then
                failwith "three"

            if i < 3 then SideBySide.Again(i + 1) else SideBySide.Done i

        Expect.throwsC (fun () -> SideBySide.stepsWithin infinity (fun _ -> 0.0) float 1 step [ 0; 10; 0 ] |> ignore) (fun problem ->
            Expect.equal problem.Message "three" "it")

        Expect.equal begun 5 "10 first, then 0, 1, 2 and 3")

/// An item that counts how often it is disposed, and the rounds that it has left.
type private Held(rounds: int) =
    member val Disposed = 0 with get, set
    member _.Rounds = rounds

    interface IDisposable with
        member this.Dispose() = this.Disposed <- this.Disposed + 1

let private dropped =
    testPropertyWithConfig
        few
        "where a step throws, what waits is disposed once, what is ended or was never put back is not"
        (fun (rounds: NonNegativeInt list) (at: NonNegativeInt) (workers: PositiveInt) ->
            let gate = obj ()
            let waiting, gone = Collections.Generic.HashSet<Held>(), ResizeArray<Held>()
            let items = [ for left in rounds -> new Held(left.Get % 5) ]
            let total = items |> List.sumBy (fun item -> item.Rounds + 1)
            let mutable begun = 0

            for item in items do
                waiting.Add item |> ignore

            let step (item: Held) =
                lock gate (fun () ->
                    begun <- begun + 1
                    waiting.Remove item |> ignore
                    gone.Add item

                    if begun = 1 + at.Get % (total + 1) then
                        failwith "dropped"

                    if item.Rounds = 0 then
                        SideBySide.Done()
                    else
                        let next = new Held(item.Rounds - 1)
                        waiting.Add next |> ignore
                        SideBySide.Again next)

            try
                SideBySide.stepsWithin infinity (fun _ -> 0.0) (fun (item: Held) -> float item.Rounds) (1 + workers.Get % 3) step items
                |> ignore

                Expect.isEmpty waiting "every item has ended"
            with problem ->
                Expect.equal problem.Message "dropped" "it"

            Expect.all waiting (fun item -> item.Disposed = 1) "waiting"
            Expect.all gone (fun item -> item.Disposed = 0) "not waiting")

let private model seed =
    let model = ModelCompressionLaws.make ()

    for p in model.parameters true do
        p.detach().copy_(noise seed p.shape) |> ignore

    model

/// Layers made from those of a model, which stays as it is.
let private layersOf (model: torch.nn.Module<Tensor, Tensor>) options : CompressReport =
    let plan = ModelCompressionLaws.planOf model

    LayerSource.ofModel ModelCompressionLaws.shape model
    |> Result.bind (LayerCompression.run options plan)
    |> ok

let private limited =
    testCase
        "whatever the limit, every layer is near least squares and not above balanced; no time and much time too; no tensor is left"
        (fun () ->
            use _ = torch.NewDisposeScope()
            let options = { ModelCompression.defaults with Sweeps = 6; Corrections = 7 }

            for seed in 1..3 do
                use model = model seed
                let balanced = layersOf model { options with Corrections = 0 }
                let whole = layersOf model options
                let count = NativeTensors.settledCount ()
                // TorchSharp counts each Parameter twice when it is made and once when it goes.
                let mutable own = 0

                for seconds, quantize in [ 0.0, None; 0.05, None; 0.4, Some Quantization.defaults; 3600.0, None; 1e9, None ] do
                    let report =
                        layersOf model { options with TimeLimit = Some(TimeSpan.FromSeconds seconds); Quantize = quantize }

                    Expect.equal (report.Layers.Count, report.Failed.Count) (5, 0) $"{seconds} s: layers"

                    for layer, before, best in Seq.zip3 report.Layers balanced.Layers whole.Layers do
                        Expect.isLessThan layer.KernelError 1.0 $"{seconds} s, '{layer.Path}': better than zeros"

                        if seconds > 1.0 then
                            let limit = 1.0201 * before.KernelError
                            Expect.isLessThanOrEqual layer.KernelError limit $"{seconds} s, '{layer.Path}': error"
                            Expect.isLessThanOrEqual layer.Sensitivity (1.0001 * before.Sensitivity) $"{seconds} s, '{layer.Path}': S"
                            // Rounds of three sweeps end near what the same sweeps reach at one go.
                            Expect.isLessThanOrEqual layer.Sensitivity (1.1 * best.Sensitivity) $"{seconds} s, '{layer.Path}': S in rounds"

                    for layer in report.Layers do
                        own <- own + Seq.length (layer.Layer.parameters true)
                        layer.Layer.Dispose()

                Expect.equal (NativeTensors.settledCount ()) (count + int64 own) "tensors"

                for layer in Seq.append balanced.Layers whole.Layers do
                    layer.Layer.Dispose())

let private released =
    testCase "networks that wait for a round are disposed where the run is dropped, and so is one that is released" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = model 2
        let plan = ModelCompressionLaws.planOf model
        let source = LayerSource.ofModel ModelCompressionLaws.shape model |> ok

        let options =
            { ModelCompression.defaults with
                Sweeps = 6
                Corrections = 7
                Workers = 1
                TimeLimit = Some(TimeSpan.FromHours 1.0)
            }

        let before = NativeTensors.settledCount ()
        let mutable shells = 0

        let take _ (layer: FactorizedLayer) : Result<FactorizedLayer, TensorNetError list> =
            // Each parameter of a module leaves the shell of the tensor that it was made of.
            shells <- shells + Seq.length (layer.parameters true)
            layer.Dispose()
            failwith "dropped"

        // The first layer that ends is the matrix, which is not corrected: those of loops wait then, or follow.
        let drop path =
            let only =
                { plan with
                    Layers =
                        [
                            for layer in plan.Layers -> if layer.Path = path || layer.Path = "b" then layer else { layer with Chosen = -1 }
                        ]
                }

            Expect.throwsC (fun () -> LayerCompression.into take options only source |> ignore) (fun problem ->
                Expect.equal problem.Message "dropped" "it")

        for path in [ "c"; "d"; "e" ] do
            drop path

        Expect.isLessThanOrEqual (NativeTensors.settledCount ()) (before + int64 shells) "tensors"
        // One layer, step by step.
        let planned, layer = Seq.zip plan.Layers source.Layers |> Seq.find (fun (layer, _) -> layer.Path = "b")

        let task: LayerTask =
            {
                Planned = planned
                Source = layer
                Norm = Norm.Frobenius
                Shares = None
                Cost = LayerTask.cost planned
            }

        let hour _ = Some(TimeSpan.FromHours 1.0)
        let times: LayerRun.Times = { First = hour; Rounds = (fun () -> hour ()); Last = hour }
        let before = NativeTensors.settledCount ()
        let mutable stage = LayerRun.Fresh

        for _ in 1..2 do
            match LayerRun.step options times task stage with
            | SideBySide.Again next -> stage <- next
            | SideBySide.Done _ -> failtest "it waits for a round"

            Expect.equal torch.Tensor.TotalCount (before + 3L) "the cores alone"

        LayerRun.release stage
        Expect.equal torch.Tensor.TotalCount before "released")

let private quarter =
    testCase
        "rounds of correction leave a quarter of the time where a layer is rounded, by its entry of the plan or by the options"
        (fun () ->
            use _ = torch.NewDisposeScope()
            use model = model 1
            let plan = ModelCompressionLaws.planOf model
            let source = LayerSource.ofModel ModelCompressionLaws.shape model |> ok

            let ends options (plan: CompressionPlan) =
                LayerTask.roundsEnd
                    options
                    [
                        for planned, layer in Seq.zip plan.Layers source.Layers ->
                            { Planned = planned; Source = layer; Norm = Norm.Frobenius; Shares = None; Cost = 1.0 }
                    ]

            let limited = { ModelCompression.defaults with TimeLimit = Some(TimeSpan.FromSeconds 8.0) }
            let few = CompressionPlan.chooseBits "b" 4 plan |> ok
            let whole, most = Some(TimeSpan.FromSeconds 8.0), Some(TimeSpan.FromSeconds 6.0)
            Expect.equal (ends limited plan) whole "nothing is rounded"
            Expect.equal (ends limited few) most "one layer by the plan"
            Expect.equal (ends { limited with Quantize = Some Quantization.defaults } plan) most "all by the options"
            Expect.equal (ends ModelCompression.defaults few) None "no limit")

let private unreached =
    testCase "a limit that is not reached changes no bit where nothing is corrected" (fun () ->
        use _ = torch.NewDisposeScope()
        let options = { ModelCompression.defaults with Sweeps = 4; Corrections = 0 }
        use model = model 1
        let bits options = [ for layer in (layersOf model options).Layers -> ModelCompressionLaws.stateOf layer.Layer ]
        Expect.equal (bits { options with TimeLimit = Some(TimeSpan.FromHours 1.0) }) (bits options) "bits")

let private covariances =
    testCase "Σ of a run by calibration stands in float64 and to the bit in the work folder and in the model's file" (fun () ->
        use _ = torch.NewDisposeScope()

        for dtype in [ torch.float32; torch.bfloat16 ] do
            inFolder (fun folder ->
                let model = model 1
                let x = torch.randn ([| 8L; 3L; 8L; 8L |], dtype = torch.float32, device = torch.CPU)
                let sigmas = Calibration.covariances 1000L [ x ] model |> ok
                model.``to`` dtype |> ignore
                let plan = ModelCompressionLaws.planOf model

                ModelCompression.run { ModelCompressionLaws.options with Covariances = sigmas; Folder = Some folder } plan model
                |> ok
                |> fun report -> Expect.equal report.Layers.Count 5 "layers"

                let expected = [ for path, sigma in sigmas -> path, bytesOf sigma ] |> Map.ofList

                let held file =
                    SafeTensors.read file (fun reader ->
                        Ok
                            [
                                for entry in reader.Entries do
                                    if entry.Name.EndsWith(LayerTensors.covariance, StringComparison.Ordinal) then
                                        Expect.equal entry.DType torch.float64 entry.Name
                                        entry.Name, bytesOf (reader.Read entry.Name |> ok)
                            ])
                    |> ok

                let inFolder =
                    [
                        for file in IO.Directory.GetFiles folder do
                            yield! held file
                    ]

                Expect.equal (List.sort (List.map snd inFolder)) (List.sort (List.map snd (Map.toList expected))) "work folder"
                let path = IO.Path.Combine(folder, "model.safetensors")
                ModelFile.save path model |> ok

                Expect.equal
                    (held path |> Map.ofList)
                    (expected
                     |> Map.toSeq
                     |> Seq.map (fun (layer, bits) -> layer + "." + LayerTensors.covariance, bits)
                     |> Map.ofSeq)
                    "model"))

let all =
    testSequenced (testList "time by gain" [ most; alike; thrown; dropped; limited; released; quarter; unreached; covariances ])
