/// Plans dealt out to workers.
module ShardLaws

open Expecto
open TensorNets
open Generators

/// A plan of CP layers of the given ranks; rank 0: the layer stays dense.
let private planOf (ranks: int list) : CompressionPlan =
    let candidate rank =
        {
            Axes = KernelAxes.Fused
            Format = Format.CP rank
            Bits = 0
            Parameters = 10L * int64 rank
            Bytes = 40L * int64 rank
            Flops = 1L
            Error = 0.1
            Damage = 0.01
            Latency = nan
        }

    {
        Input = []
        Measure = "kernel"
        OtherParameters = 0L
        Layers =
            [
                for i, rank in List.indexed ranks ->
                    {
                        Path = $"layer{i}"
                        Kind = "Linear"
                        Shape = [ 10L; 10L ]
                        Geometry = ConvGeometry.plain 0 10L 10L
                        Inputs = []
                        Parameters = 100L + int64 i
                        Flops = 1L
                        Latency = nan
                        Candidates = (if rank = 0 then [] else [ candidate rank ])
                        Chosen = (if rank = 0 then -1 else 0)
                        Kept = (if rank = 0 then "asked for" else "")
                    }
            ]
    }

let private factorized (plan: CompressionPlan) =
    [
        for layer in plan.Layers do
            if layer.IsFactorized then
                layer.Path
    ]

let private costOf (plan: CompressionPlan) (paths: string list) =
    plan.Layers |> Seq.filter (fun layer -> List.contains layer.Path paths) |> Seq.sumBy LayerTask.cost

let tests =
    testList
        "shards"
        [
            testPropertyWithConfig config "every factorized layer is dealt to one worker, and parts are what was dealt"
            <| fun (ranks: int list) (count: int) ->
                let plan = planOf (ranks |> List.map (fun rank -> abs (rank % 50)))
                let count = 1 + abs (count % 7)
                let dealt = Shard.deal count plan
                Expect.equal (dealt |> List.concat |> List.sort) (factorized plan |> List.sort) "once each"

                for index in 1..count do
                    Expect.equal (factorized (Shard.part index count plan) |> List.sort) (List.sort dealt[index - 1]) "the part of a worker"

            testCase "a dense kernel, which is rounded at most, costs its parameters" (fun () ->
                let dense (layer: PlannedLayer) = { layer with Candidates = [ { layer.Choice with Format = Format.Dense; Bits = 4 } ] }

                for rank in [ 1; 5; 40 ] do
                    let layer = (planOf [ rank ]).Layers[0]
                    Expect.equal (LayerTask.cost (dense layer)) (float layer.Parameters) "entries"
                    Expect.isLessThanOrEqual (LayerTask.cost (dense layer)) (LayerTask.cost layer) "nothing is swept")

            testPropertyWithConfig config "no worker has more than the mean and one layer"
            <| fun (ranks: int list) (count: int) ->
                let plan = planOf (ranks |> List.map (fun rank -> abs (rank % 50)))
                let count = 1 + abs (count % 7)
                let costs = Shard.deal count plan |> List.map (costOf plan)
                let longest = 0.0 :: (factorized plan |> List.map (fun path -> costOf plan [ path ])) |> List.max
                List.max costs <= (List.sum costs / float count + longest) * (1.0 + 1e-12)
        ]
