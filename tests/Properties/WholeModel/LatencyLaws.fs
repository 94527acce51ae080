/// Plans under a budget of measured time, with times given in place of a clock.
module LatencyLaws

open System
open Expecto
open FsCheck
open TorchSharp
open TensorNets
open Generators
open SmallModels

let private shape = ModelCompressionLaws.shape

let private options =
    { CompressionPlan.defaults with
        Families = [ FormatFamily.CP; FormatFamily.Tucker2 ]
        Ratios = [ 1.5; 2.0; 3.0; 5.0 ]
        Sweeps = 1
        KeepFirst = false
        KeepLast = false
    }

/// CP five times as slow as its FLOPs, layer "e" as slow in any format.
let private times (asked: ResizeArray<string * PlanCandidate list>) (layer: PlannedLayer) (candidates: PlanCandidate list) : float list =
    asked.Add(layer.Path, candidates)

    [
        float layer.Flops * 1e-3
        for c in candidates do
            match c.Format with
            | _ when layer.Path = "e" -> 2e-3 * float layer.Flops
            | Format.CP _ -> 5e-3 * float c.Flops
            | _ -> 1e-3 * float c.Flops
    ]

let private make budget options =
    use model = ModelCompressionLaws.make ()
    CompressionPlan.make budget options shape model

let private planned =
    testCase
        "a plan under a budget of latency keeps it, chooses nothing slower than dense, says why, and holds the times as data"
        (fun () ->
            use _ = torch.NewDisposeScope()
            let asked = ResizeArray()
            let options = { options with Latencies = Some(times asked) }
            let plan = make (Budget.LatencyRatio 1.4) options |> ok
            Expect.isLessThanOrEqual plan.Latency (plan.DenseLatency / 1.4) "budget"
            Expect.equal [ for path, _ in asked -> path ] [ "a"; "b"; "c"; "d"; "e" ] "one by one, each once"

            for path, some in asked do
                for _, family in some |> List.groupBy (fun c -> Format.name c.Format) do
                    let slopes =
                        [
                            for a, b in family |> List.sortBy _.Flops |> List.pairwise -> (b.Damage - a.Damage) / float (b.Flops - a.Flops)
                        ]

                    Expect.isTrue (slopes |> List.forall (fun slope -> slope < 0.0)) $"{path}: less damage for more FLOPs"
                    Expect.equal (List.sort slopes) slopes $"{path}: a hull"

            for layer in plan.Layers do
                Expect.equal layer.Latency (float layer.Flops * 1e-3) layer.Path

                if layer.IsFactorized then
                    Expect.isLessThan layer.Choice.Latency layer.Latency layer.Path

            let at path (plan: CompressionPlan) = plan.Layers |> Seq.find (fun layer -> layer.Path = path)
            Expect.equal (at "e" plan).Kept "no candidate is faster" "e"
            Expect.stringContains (string plan) " ms " "table"
            let read = CompressionPlan.ofJson (CompressionPlan.toJson plan) |> ok
            Expect.equal (CompressionPlan.toJson read) (CompressionPlan.toJson plan) "JSON"
            let other = CompressionPlan.under (Budget.Latency(plan.DenseLatency * 0.9)) read |> ok
            Expect.isLessThanOrEqual other.Latency (plan.DenseLatency * 0.9) "another budget"
            Expect.isLessThanOrEqual other.Damage plan.Damage "which is wider"

            match CompressionPlan.under (Budget.LatencyRatio 1000.0) plan with
            | Error [ TensorNetError.Unsupported("The budget", _, expected) ] -> Expect.stringContains expected "'e'" "what stops it"
            | other -> failtestf "%A" other

            let untimed = make (Budget.ParameterRatio 1.5) options |> ok
            Expect.isTrue (Double.IsNaN untimed.DenseLatency) "no times"
            Expect.isFalse ((string untimed).Contains " ms ") "no column"
            Expect.isError (CompressionPlan.under (Budget.LatencyRatio 1.5) untimed) "no times"
            let short = { options with Latencies = Some(fun _ _ -> [ 1.0 ]) }
            Expect.isError (make (Budget.LatencyRatio 1.4) short) "too few"
            let none = { options with Latencies = Some(fun _ some -> 1.0 :: [ for _ in some -> nan ]) }
            Expect.isError (make (Budget.LatencyRatio 1.4) none) "nothing can be run"
            let loose = make (Budget.Latency 1000.0) none |> ok
            Expect.isFalse (loose.Layers |> Seq.exists _.IsFactorized) "all dense")

let private measured =
    testCase "every kind of layer and candidate is measured, no tensor is left, and times that are missing are NaN" (fun () ->
        for name, layer, input in ModelCompressionLaws.counted do
            use _ = torch.NewDisposeScope()
            use model: Layer = torch.nn.Sequential(struct ("it", layer ()))

            let plan =
                CompressionPlan.make (Budget.LatencyRatio 1.0001) { options with Ratios = [ 2.0 ] } input model

            match plan with
            | Ok plan -> Expect.isTrue (plan.Layers |> Seq.forall (fun layer -> layer.Latency > 0.0)) name
            // No candidate may be faster.
            | Error [ TensorNetError.Unsupported("The budget", _, _) ] -> ()
            | Error errors -> failtestf "%s: %A" name errors

            let source = LayerSource.ofModel input model |> ok
            let candidate = PlanMaking.withCandidates None { options with Ratios = [ 2.0 ] } source.Layers[0]
            let times = LayerLatency.measure candidate (List.ofSeq candidate.Candidates)
            Expect.equal times.Length (candidate.Candidates.Count + 1) name
            Expect.isTrue (times |> List.forall (fun time -> time > 0.0 && Double.IsFinite time)) $"{name}: {times}")

let private rounds =
    testPropertyWithConfig
        { config with maxTest = 100 }
        "a machine that is slower in one round than in another changes no ratio of times"
        (fun (dense: PositiveInt) (others: PositiveInt list) (speeds: NonEmptyArray<PositiveInt>) ->
            let times = [ for time in dense :: others -> float time.Get ]

            let found =
                LayerLatency.ofRounds [ for speed in speeds.Get -> [ for time in times -> time * float speed.Get ] ]

            for time, found' in List.zip times found do
                Expect.floatClose Accuracy.high (found' / found.Head) (time / times.Head) "ratio")

let all = testSequenced (testList "latency" [ planned; measured; rounds ])
