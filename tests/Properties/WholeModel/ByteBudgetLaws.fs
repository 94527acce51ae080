/// Plans under a budget of bytes: formats, ranks and bits chosen together.
module ByteBudgetLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators
open SmallModels

let private make () =
    convolutions
        5L
        [
            "stem", 3L, 12L, 3L
            "a", 12L, 24L, 3L
            "b", 24L, 32L, 1L
            "c", 32L, 20L, 3L
            "head", 20L, 8L, 1L
        ]

let private shape = [ 1L; 3L; 8L; 8L ]

let private options =
    { CompressionPlan.defaults with
        Families = [ FormatFamily.Tucker2; FormatFamily.CP ]
        Ratios = [ 2.0; 4.0 ]
        Bits = [ 8; 5; 3 ]
    }

let private plan budget options = CompressionPlan.make budget options shape (make ()) |> ok

/// The least damage within so many bytes, by every combination.
let private best (plan: CompressionPlan) (most: float) : float =
    let rec go (layers: PlannedLayer list) bytes damage =
        match layers with
        | _ when bytes > most -> infinity
        | [] -> damage
        | layer :: rest ->
            [
                yield go rest (bytes + float layer.Bytes) damage
                for c in layer.Candidates do
                    yield go rest (bytes + float c.Bytes) (damage + c.Damage)
            ]
            |> List.min

    go (List.ofSeq plan.Layers) (4.0 * float plan.OtherParameters) 0.0

let private chosen =
    testCase "a plan under a budget of bytes keeps it, with bits of its own for each layer, as little damage as any combination" (fun () ->
        use _ = torch.NewDisposeScope()
        let bits = Collections.Generic.HashSet<int>()

        for ratio in [ 1.5; 2.5; 4.0; 6.0; 8.0; 10.0 ] do
            let made = plan (Budget.ByteRatio ratio) options
            let most = float made.DenseBytes / ratio
            Expect.isLessThanOrEqual (float made.Bytes) most $"bytes at {ratio}"
            let least = best made most

            let gap =
                [|
                    for layer in made.Layers ->
                        [|
                            yield { Cost = float layer.Bytes; Damage = 0.0 }
                            for c in layer.Candidates do
                                yield { Cost = float c.Bytes; Damage = c.Damage }
                        |]
                |]
                |> Allocation.gap

            Expect.isLessThanOrEqual made.Damage (least + gap) $"damage at {ratio}"
            Expect.isLessThanOrEqual made.Damage (1.05 * least + 1e-12) $"exchanges at {ratio}"

            for layer in made.Layers do
                if layer.IsFactorized then
                    bits.Add layer.Choice.Bits |> ignore

                for c in layer.Candidates do
                    Expect.floatClose Accuracy.high c.Damage (c.Error * c.Error) (string c)
                    Expect.isTrue (c.Bits = 0 || List.contains c.Bits options.Bits) (string c)

                    match c.Format with
                    | Format.Dense -> Expect.isTrue (c.Bits > 0 && c.Parameters = layer.Parameters) "a dense kernel of few bits"
                    | _ -> Expect.isLessThan c.Parameters layer.Parameters (string c)

        Expect.isGreaterThan bits.Count 1 "several numbers of bits")

let private unrounded =
    testCase "other budgets round nothing, and bits that cannot be are refused" (fun () ->
        use _ = torch.NewDisposeScope()
        let made = plan (Budget.ParameterRatio 2.0) options
        Expect.isTrue (made.Layers |> Seq.forall (fun l -> l.Candidates |> Seq.forall (fun c -> c.Bits = 0))) "bits"
        Expect.equal made.Bytes (4L * made.Parameters) "bytes"
        let rounded = plan (Budget.ByteRatio 4.0) options
        let back = CompressionPlan.under (Budget.ParameterRatio 2.0) rounded |> ok
        Expect.isTrue (back.Layers |> Seq.forall (fun l -> not l.IsFactorized || l.Choice.Bits = 0)) "chosen for parameters"

        for bits in [ -1; 0; 1; 9 ] do
            Expect.isError (CompressionPlan.make (Budget.ByteRatio 2.0) { options with Bits = [ 4; bits ] } shape (make ())) $"{bits}"

        for budget in
            [
                Budget.Bytes 10L
                Budget.Bytes -1L
                Budget.ByteRatio 1000.0
                Budget.ByteRatio 0.5
                Budget.ByteRatio nan
            ] do
            match CompressionPlan.make budget options shape (make ()) with
            | Error [ TensorNetError.Unsupported _ ] -> ()
            | other -> failtestf "%A" other)

let private bounded =
    testCase "a bound on the error of each layer chooses no rounded candidate; a plan that is made for it is no larger" (fun () ->
        use _ = torch.NewDisposeScope()
        let rounded = plan (Budget.ByteRatio 4.0) options

        Expect.isTrue
            (rounded.Layers
             |> Seq.exists (fun l -> l.Candidates |> Seq.exists (fun c -> c.Bits > 0 && c.Error < 0.02)))
            "rounded candidates of small errors"

        for error in [ 0.0; 0.02; 0.1; 0.3; 0.6; 0.9 ] do
            let under = CompressionPlan.under (Budget.LayerError error) rounded |> ok

            for layer in under.Layers do
                if layer.IsFactorized then
                    Expect.equal layer.Choice.Bits 0 $"{layer.Path} at {error}"
                    Expect.isLessThanOrEqual layer.Choice.Error error layer.Path

            // It has the sizes that just keep the bound too.
            for own, layer in Seq.zip (plan (Budget.LayerError error) options).Layers under.Layers do
                let parameters (layer: PlannedLayer) = if layer.IsFactorized then layer.Choice.Parameters else layer.Parameters
                Expect.isLessThanOrEqual (parameters own) (parameters layer) $"{layer.Path} at {error}")

let private known =
    testCase "bits that the plan has a candidate of are that candidate; a dense kernel that is not rounded is kept dense" (fun () ->
        use _ = torch.NewDisposeScope()
        let made = plan (Budget.ByteRatio 5.0) options
        let at path (plan: CompressionPlan) = plan.Layers |> Seq.find (fun l -> l.Path = path)

        for layer in made.Layers do
            for i, c in Seq.indexed layer.Candidates do
                let own =
                    { made with
                        Layers = [ for l in made.Layers -> if l.Path = layer.Path then { l with Chosen = i; Kept = "" } else l ]
                    }

                for j, other in Seq.indexed layer.Candidates do
                    if (other.Axes, other.Format) = (c.Axes, c.Format) && (other.Bits > 0 || c.Format <> Format.Dense) then
                        let found = at layer.Path (CompressionPlan.chooseBits layer.Path other.Bits own |> ok)
                        Expect.equal (found.Chosen, found.Candidates.Count) (j, layer.Candidates.Count) $"{layer.Path}: {c} to {other}"

                // None of the plan's: what rounding adds is not known.
                let fresh = at layer.Path (CompressionPlan.chooseBits layer.Path 7 own |> ok)
                Expect.equal fresh.Candidates.Count (layer.Candidates.Count + 1) "one more"

                let plain =
                    layer.Candidates |> Seq.tryFind (fun p -> p.Axes = c.Axes && p.Format = c.Format && p.Bits = 0)

                match plain with
                | Some plain ->
                    Expect.equal fresh.Choice.Damage plain.Damage "damage"
                    Expect.isLessThan fresh.Choice.Bytes plain.Bytes "bytes"
                // Not in the plan where another one beats it, or where it is the dense kernel.
                | None ->
                    let damage = if c.Format = Format.Dense then 0.0 else c.Damage
                    Expect.equal (fresh.Choice.Format, fresh.Choice.Damage) (c.Format, damage) "without one that is not rounded"

                Expect.equal (fresh.Choice.Bits, fresh.Choice.Parameters) (7, c.Parameters) "bits and parameters"

            let dense = CompressionPlan.keepDense layer.Path made |> ok
            let same bits plan = CompressionPlan.chooseBits layer.Path bits plan |> ok |> CompressionPlan.toJson
            Expect.equal (same 0 dense) (CompressionPlan.toJson dense) $"{layer.Path}: dense is dense"
            let few = CompressionPlan.chooseBits layer.Path 4 dense |> ok
            Expect.equal (at layer.Path few).Choice.Format Format.Dense layer.Path
            let back = at layer.Path (CompressionPlan.chooseBits layer.Path 0 few |> ok)
            Expect.isFalse back.IsFactorized $"{layer.Path}: not rounded"

        let json =
            CompressionPlan.toJson (CompressionPlan.choose "a" KernelAxes.Fused (Format.Tucker2(5, 6)) made |> ok)

        let fits, other = FormatText.print (Format.Tucker2(5, 6)), FormatText.print (Format.Tucker2(5, 600))
        let wrong = CompressionPlan.ofJson (json.Replace(fits, other)) |> ok

        match CompressionPlan.chooseBits "a" 4 wrong with
        | Error [ TensorNetError.Format _ ] -> ()
        | other -> failtestf "%A" other)

let private obeyed =
    testCase "a compressed model has the bytes that its plan says, and the integers" (fun () ->
        use _ = torch.NewDisposeScope()

        for ratio in [ 3.0; 8.0 ] do
            use model = make ()
            let x = torch.randn ([| 4L; 3L; 8L; 8L |], dtype = torch.float32, device = torch.CPU)
            let sigmas = Calibration.covariances 1000L [ x ] model |> ok

            for covariances in [ []; sigmas ] do
                use model = make ()
                let options = { options with Covariances = covariances }
                let plan = CompressionPlan.make (Budget.ByteRatio ratio) options shape model |> ok

                let report =
                    ModelCompression.run
                        { ModelCompression.defaults with Sweeps = 4; Corrections = 3; Covariances = covariances }
                        plan
                        model
                    |> ok

                Expect.isEmpty report.Failed "failed"
                let rounded = plan.Layers |> Seq.filter _.IsFactorized |> List.ofSeq

                for made, planned in Seq.zip report.Layers rounded do
                    let bits = LayerQuantization.current made.Layer |> Option.map _.Bits
                    Expect.equal bits (if planned.Choice.Bits = 0 then None else Some planned.Choice.Bits) (string planned.Choice)
                    Expect.equal (LayerQuantization.bytes made.Layer) planned.Choice.Bytes $"bytes of {planned.Choice}"

                let factorized = report.Layers |> Seq.sumBy (fun l -> LayerQuantization.bytes l.Layer)
                let inLayers = report.Layers |> Seq.sumBy (fun l -> l.Layer.parameters true |> Seq.sumBy _.numel())
                let rest = (model.parameters true |> Seq.sumBy _.numel()) - inLayers
                Expect.equal (factorized + 4L * rest) plan.Bytes $"all bytes at {ratio}"
                Expect.isLessThanOrEqual (float plan.Bytes) (float plan.DenseBytes / ratio) "budget")

/// How far the predicted noise may be from what rounding does, the mean over the candidates of three layers.
let private predictedWithin = 0.1

let private predicted =
    testCase "what a plan adds for rounding at 6 to 8 bits is what rounding does, in both measures" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = make ()
        let x = torch.randn ([| 8L; 3L; 8L; 8L |], dtype = torch.float32, device = torch.CPU)
        let sigmas = Calibration.covariances 1000L [ x ] model |> ok

        for covariances in [ []; sigmas ] do
            let options =
                { options with
                    // Networks of CP at planning time are those of a few sweeps.
                    Families = [ FormatFamily.Tucker2 ]
                    Ratios = [ 1.5; 2.0; 3.0; 4.0 ]
                    Bits = [ 8; 7; 6 ]
                    Covariances = covariances
                }

            let made = CompressionPlan.make (Budget.ByteRatio 2.0) options shape model |> ok

            let pairs path =
                let layer = made.Layers |> Seq.find (fun l -> l.Path = path)

                let weight =
                    ((Surgery.find path model |> ok).get_parameter "weight" |> nonNull).detach().``to`` torch.float64

                let kernel = ConvGeometry.kernelOfWeight layer.Geometry weight

                let norm =
                    match covariances |> List.tryFind (fun (p, _) -> p = path) with
                    | Some(_, sigma) -> Norm.Weighted([ 0 ], sigma)
                    | None -> Norm.Frobenius

                let length (tensor: Tensor) =
                    match norm with
                    | Norm.Frobenius -> tensor.squared().sum().ToDouble()
                    | Norm.Weighted(_, sigma) ->
                        let rows = tensor.reshape (tensor.shape[0], -1L)
                        (sigma.matmul rows).mul(rows).sum().ToDouble()

                /// What rounding adds to the squared error of a candidate's network.
                let added (c: PlanCandidate) =
                    let spec = PlanMaking.spec c.Axes c.Format layer.Geometry |> ok
                    let target = kernel.reshape [| for size in Spec.shape spec -> int64 size |]

                    use network =
                        match c.Format with
                        | Format.Dense -> new Network(spec, [| target.clone () |])
                        | _ ->
                            let sweeps = { SweepOptions.defaults with MaxSweeps = 30; Norm = norm }
                            use fit = Factorize.runSpec { Factorize.defaults with Sweeps = sweeps } spec target |> ok
                            Gauge.balanceIn norm fit.Network |> ok

                    use rounded = Quantization.round { Quantization.defaults with Bits = c.Bits } network |> ok
                    use restored = rounded.Restored torch.float64
                    let lost = length ((Contraction.reconstruct restored).minus(Contraction.reconstruct network))
                    lost / length target

                [
                    for c in layer.Candidates do
                        let plain = layer.Candidates |> Seq.tryFind (fun p -> p.Format = c.Format && p.Bits = 0)

                        match c.Format, plain with
                        | Format.Dense, _ -> c.Bits, c.Damage / added c
                        | _, Some plain when c.Bits > 0 -> c.Bits, (c.Damage - plain.Damage) / added c
                        | _ -> ()
                ]

            for bits, shares in [ "a"; "b"; "c" ] |> List.collect pairs |> List.groupBy fst do
                Expect.isGreaterThan shares.Length 6 "candidates"
                let share = shares |> List.averageBy snd
                Expect.isLessThan (abs (share - 1.0)) predictedWithin $"{share:F3} at {bits} bits, {made.Measure}")

let private data =
    testCase "bits are data: JSON and back, edits, differences, a table" (fun () ->
        use _ = torch.NewDisposeScope()
        let made = plan (Budget.ByteRatio 5.0) options
        let json = CompressionPlan.toJson made
        let again = CompressionPlan.ofJson json |> ok
        Expect.equal (CompressionPlan.toJson again) json "JSON"
        Expect.equal again.Bytes made.Bytes "bytes"
        Expect.stringContains (string made) " bits" "table"
        Expect.stringContains (string made) "bytes" "table"
        let own = CompressionPlan.chooseBits "a" 7 made |> ok
        Expect.equal (own.Layers |> Seq.find (fun l -> l.Path = "a")).Choice.Bits 7 "edited"
        Expect.equal (CompressionPlan.diff made own).Length 1 "one differs"
        let kept = CompressionPlan.keepDense "a" made |> ok
        let dense = CompressionPlan.chooseBits "a" 4 kept |> ok
        Expect.equal (dense.Layers |> Seq.find (fun l -> l.Path = "a")).Choice.Format Format.Dense "the dense kernel"
        Expect.isLessThan dense.Bytes kept.Bytes "fewer bytes"
        let cp = CompressionPlan.choose "a" KernelAxes.Fused (Format.CP 4) made |> ok

        let float = CompressionPlan.chooseBits "a" 7 cp |> Result.bind (CompressionPlan.chooseBits "a" 0) |> ok

        let choice = (float.Layers |> Seq.find (fun l -> l.Path = "a")).Choice
        Expect.equal (choice.Format, choice.Bits) (Format.CP 4, 0) "not rounded"
        Expect.isError (CompressionPlan.chooseBits "z" 4 made) "no such layer"

        for bits in [ -1; 1; 9 ] do
            Expect.isError (CompressionPlan.chooseBits "a" bits made) $"{bits} bits"

        for part, other, reason in [ "\"bits\": ", "\"bits\": 9", "2 to 8"; "\"bytes\": ", "\"bytes\": -", "0 or more" ] do
            match CompressionPlan.ofJson (json.Replace(part, other)) with
            | Ok _ -> failtest other
            | Error errors -> Expect.stringContains (String.Join("; ", errors |> List.map _.Message)) reason "reason")

let all = testList "budgets of bytes" [ chosen; unrounded; bounded; known; obeyed; predicted; data ]
