/// What models cost, and plans under a budget.
module CompressionPlanLaws

open System
open System.Text.RegularExpressions
open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open SmallModels

/// Options of a few layers, the first of which costs most and does no damage; others may do good.
type Offers = { Layers: (int * int) list list; Budget: float }

type private OfferArbitraries =
    static member Offers() =
        gen {
            let! count = Gen.choose (1, 4)

            let! layers =
                Gen.listOfLength
                    count
                    (gen {
                        let! n = Gen.choose (0, 4)
                        let! rest = Gen.listOfLength n (Gen.zip (Gen.choose (1, 99)) (Gen.choose (-20, 50)))
                        return (100, 0) :: rest
                    })

            let! share = Gen.choose (5, 110)
            return { Layers = layers; Budget = float (count * share) }
        }
        |> Arb.fromGen

let private config = { config with arbitrary = [ typeof<OfferArbitraries> ] }

let private allocation =
    testPropertyWithConfig
        config
        "the choice ends, keeps the budget and is as good as brute force within the hulls' gap"
        (fun (case: Offers) ->
            let layers =
                [|
                    for layer in case.Layers -> [| for cost, damage in layer -> { Cost = float cost; Damage = float damage } |]
                |]

            let rec all l cost damage =
                if l = layers.Length then
                    if cost <= case.Budget then damage else infinity
                else
                    layers[l]
                    |> Array.map (fun offer -> all (l + 1) (cost + offer.Cost) (damage + offer.Damage))
                    |> Array.min

            let best = all 0 0.0 0.0

            match Allocation.choose case.Budget layers with
            | Error least ->
                Expect.equal least [| for layer in layers -> layer |> Array.map _.Cost |> Array.min |] "the cheapest"
                Expect.isTrue (Double.IsInfinity best && Seq.sum least > case.Budget) "nothing is within the budget"
            | Ok choice ->
                let sum pick = Seq.mapi (fun l o -> pick layers[l].[o]) choice |> Seq.sum
                Expect.isLessThanOrEqual (sum _.Cost) case.Budget "budget"
                Expect.isGreaterThanOrEqual (sum _.Damage) best "brute force"
                Expect.isLessThanOrEqual (sum _.Damage) (best + Allocation.gap layers) "gap")

let private cheapest =
    testPropertyWithConfig config "a budget of just what the cheapest options cost is met, however sums round" (fun (case: Offers) ->
        let layers =
            [|
                for layer in case.Layers -> [| for cost, damage in layer -> { Cost = 0.1 * float cost; Damage = float damage } |]
            |]

        let least = [| for layer in layers -> layer |> Array.map _.Cost |> Array.min |]
        let budget = (0.0, least) ||> Array.fold (+)

        Expect.isError (Allocation.choose nan layers) "no number"

        match Allocation.choose budget layers with
        | Ok choice -> Expect.equal [| for l, o in Seq.indexed choice -> layers[l].[o].Cost |] least "the cheapest"
        | Error _ -> failtest $"{budget}")

let private wide () : torch.nn.Module<Tensor, Tensor> =
    torch.random.manual_seed 1L |> ignore

    let conv (a: int64) (b: int64) (k: int64) : Layer = torch.nn.Conv2d(a, b, k, padding = k / 2L)

    torch.nn.Sequential(
        struct ("stem", conv 3L 12L 3L),
        struct ("norm", (torch.nn.BatchNorm2d 12L: Layer)),
        struct ("first", conv 12L 16L 3L),
        struct ("point", conv 16L 24L 1L),
        struct ("second", conv 24L 16L 3L),
        struct ("flat", (torch.nn.AdaptiveAvgPool2d 1L: Layer)),
        struct ("flatten", (torch.nn.Flatten 1L: Layer)),
        struct ("head", (torch.nn.Linear(16L, 10L): Layer))
    )

let private shape = [ 2L; 3L; 8L; 8L ]

let private report =
    testCase
        "a report counts parameters and FLOPs of every layer, says why one cannot be factorized, and what factorized ones are"
        (fun () ->
            use _ = torch.NewDisposeScope()
            use model = new EveryKind()
            let made = ModelReport.make [ 2L; 3L; 12L; 12L ] model |> ok
            Expect.equal made.Parameters (model.parameters true |> Seq.sumBy _.numel()) "parameters"
            let at path (report: ModelReport) = report.Layers |> Seq.find (fun layer -> Seq.contains path layer.Paths)
            Expect.equal (at "stem" made).Flops (2L * 2L * 3L * 9L * 6L * 36L) "stem"
            Expect.equal (at "first" made).Flops (2L * (2L * 2L * 6L * 9L * 6L * 36L)) "both places of a tied layer"
            Expect.equal (at "grouped" made).Flops (2L * 2L * 3L * 9L * 8L * 36L) "groups"
            Expect.equal (at "up" made).Flops (2L * 2L * 6L * 9L * 5L * 36L) "transposed"
            Expect.equal (at "head" made).Flops (2L * 2L * 4L * 7L) "linear"
            Expect.equal (List.ofSeq (at "first" made).Paths |> List.sort) [ "first"; "second" ] "paths"
            Expect.stringContains (String.Join(" ", (at "depthwise" made).Obstacles)) "depthwise" "why"
            Expect.isTrue (at "point" made).CanBeFactorized "point"

            Compress.layer
                { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 2 } }
                None
                (Format.CP 3)
                "stem"
                model
            |> ok
            |> ignore

            let after = ModelReport.make [ 2L; 3L; 12L; 12L ] model |> ok
            let layer = at "stem" after
            Expect.equal layer.Format "CP(3)" "format"
            Expect.isTrue (layer.KernelError > 0.0 && layer.KernelError < 1.0 && layer.Sensitivity > 0.0) "error and S"
            Expect.stringContains (string after) "CP(3)" "table"
            Expect.equal (string after).[..4] "layer" "table"
            Expect.isError (ModelReport.make [ 2L; 5L; 12L; 12L ] model) "an input that it does not take")

let private plan budget = CompressionPlan.make budget CompressionPlan.defaults shape (wide ()) |> ok

let private budgets =
    testCase "a plan keeps its budget, leaves first and last layer dense, and counts what its layers would" (fun () ->
        use _ = torch.NewDisposeScope()

        for budget, holds in
            [
                Budget.ParameterRatio 2.0, (fun (p: CompressionPlan) -> float p.Parameters <= float p.DenseParameters / 2.0)
                Budget.Parameters 5000L, (fun p -> p.Parameters <= 5000L)
                Budget.FlopRatio 1.7, (fun p -> float p.Flops <= float p.DenseFlops / 1.7)
                Budget.LayerError 0.6, (fun p -> p.Layers |> Seq.forall (fun l -> not l.IsFactorized || l.Choice.Error <= 0.6))
            ] do
            let made = plan budget
            Expect.isTrue (holds made) $"{budget}: {made}"
            let at path = made.Layers |> Seq.find (fun layer -> layer.Path = path)
            Expect.equal ((at "stem").Kept, (at "head").Kept) ("the first layer", "the last layer") "kept"
            Expect.isTrue (made.Layers |> Seq.exists _.IsFactorized) "something is factorized"

            for layer in made.Layers do
                Expect.equal (layer.Kept = "") layer.IsFactorized layer.Path
                let errors = [ for c in layer.Candidates -> c.Error ]
                Expect.isTrue (errors |> List.forall (fun e -> e >= 0.0 && e < 1.0)) $"{layer.Path}: {errors}"

        let dense = (plan (Budget.ParameterRatio 2.0)).DenseParameters

        match CompressionPlan.make (Budget.ParameterRatio 1000.0) CompressionPlan.defaults shape (wide ()) with
        | Error [ TensorNetError.Unsupported("The budget", found, expected) ] ->
            Expect.stringContains found $", 1000 times fewer than the dense {dense} parameters" "what was asked"
            let reached = float (Regex.Match(expected, "([0-9.]+) times fewer").Groups[1].Value)
            let under ratio = CompressionPlan.make (Budget.ParameterRatio ratio) CompressionPlan.defaults shape (wide ())
            Expect.isOk (under reached) "the ratio that it names can be had"
            Expect.isError (under (reached + 0.01)) "and no greater one"
        | other -> failtestf "%A" other)

let private predicted =
    testCase
        "what a plan predicts for Tucker-2 and matrices is the error of their truncation; for the rest least squares end at most there"
        (fun () ->
            use _ = torch.NewDisposeScope()
            use model = wide ()

            for families in
                [
                    [ FormatFamily.Tucker2 ]
                    [ FormatFamily.CP ]
                    [ FormatFamily.TensorChain ]
                    [ FormatFamily.TensorTrain ]
                ] do
                let options = { CompressionPlan.defaults with Families = families; Ratios = [ 1.5; 3.0; 6.0 ] }
                let made = CompressionPlan.make (Budget.ParameterRatio 1.5) options shape model |> ok

                for path in [ "first"; "point" ] do
                    let layer = made.Layers |> Seq.find (fun layer -> layer.Path = path)
                    Expect.isNonEmpty layer.Candidates path

                    let weight =
                        ((Surgery.find path model |> ok).get_parameter "weight" |> nonNull).detach().``to`` torch.float64

                    let g = ConvGeometry.ofLayer (Surgery.find path model |> ok) |> ok
                    let kernel = ConvGeometry.kernelOfWeight g weight

                    for c in layer.Candidates do
                        let target = kernel.reshape [| for size in PlanMaking.target c.Axes c.Format g -> size |]
                        let spec = PlanMaking.spec c.Axes c.Format g |> ok

                        match c.Format with
                        | Format.Tucker2 _
                        | Format.TensorTrain [ _ ] ->
                            use start = SvdStart.start 0UL spec target |> ok
                            let error = (target.minus(Contraction.reconstruct start).norm().ToDouble()) / target.norm().ToDouble()
                            Expect.floatClose { absolute = 1e-6; relative = 2e-2 } c.Error error $"{path} {c}"
                        | _ ->
                            use fit = Factorize.runSpec Factorize.defaults spec target |> ok
                            Expect.isGreaterThan c.Error (0.95 * fit.RelativeError) $"{path} {c}"
                            Expect.isLessThan c.Error (1.0 + 1e-9) $"{path} {c}")

let private calibrated =
    testCase "covariances make errors those of the outputs: exact for a matrix" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = wide ()
        model.eval ()
        let x = torch.randn ([| 16L; 3L; 8L; 8L |], dtype = torch.float32, device = torch.CPU)
        let sigmas = Calibration.covariances 1000L [ x ] model |> ok

        for path, sigma in sigmas do
            Expect.isTrue (identical sigma (Calibration.covariance path [ x ] model |> ok)) path

        Expect.equal (List.length sigmas) 5 "one for each"
        let options = { CompressionPlan.defaults with Covariances = sigmas }
        let made = CompressionPlan.make (Budget.ParameterRatio 1.5) options shape model |> ok
        let layer = made.Layers |> Seq.find (fun layer -> layer.Path = "point")
        let sigma = sigmas |> List.find (fun (path, _) -> path = "point") |> snd

        let weight =
            ((Surgery.find "point" model |> ok).get_parameter "weight" |> nonNull).detach().``to``(torch.float64).reshape(24L, 16L)

        let struct (values, vectors) = torch.linalg.eigh sigma
        let root = vectors.mul (values.clamp_min(0.0.ToScalar()).sqrt())
        let singular = torch.linalg.svdvals (weight.matmul root)

        for c in layer.Candidates do
            match c.Format with
            | Format.TensorTrain [ rank ] ->
                let rest = singular.narrow (0L, int64 rank, singular.shape[0] - int64 rank)
                Expect.floatClose Accuracy.medium c.Error (rest.norm().ToDouble() / singular.norm().ToDouble()) (string c)
            | _ -> failtest (string c))

let private misfits =
    testCase "a Σ that is none of the layer's inputs keeps the layer dense, and the plan says why, with a function too" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = wide ()
        let options = { CompressionPlan.defaults with Ratios = [ 2.0 ]; Sweeps = 1 }
        let make options = CompressionPlan.make (Budget.LayerError 2.0) options shape model |> ok
        let eye (n: int64) = torch.eye (n, dtype = torch.float64)
        let nowhere = (eye 12L).mul(Num.tensor 0.0)
        let isNaN = (eye 12L).div(Num.tensor 0.0)
        let gone = eye 12L
        gone.Dispose()

        let wrong =
            [
                isNaN, "NaN"
                nowhere, "zero everywhere"
                eye 11L, "shape [11, 11]; expected 12 × 12"
                torch.ones (12L, dtype = torch.float64), "shape [12]; expected 12 × 12"
                (eye 12L).minus(torch.ones ([| 12L; 12L |], dtype = torch.float64)), "negative eigenvalue"
                (eye 12L).plus((torch.ones ([| 12L; 12L |], dtype = torch.float64)).triu 1L), "mirror images"
                (eye 12L).``to`` torch.int64, "dtype Int64"
                gone, "disposed"
            ]

        for evaluate in [ None; Some(fun (_: Layer) -> 0.0) ] do
            let options = { options with Evaluate = evaluate }
            let plain = make options

            for sigma, reason in wrong do
                let plan = make { options with Covariances = [ "first", sigma ] }

                for layer, expected in Seq.zip plan.Layers plain.Layers do
                    if layer.Path = "first" then
                        Expect.stringContains layer.Kept reason "why"
                        Expect.equal layer.Candidates.Count 0 reason
                    else
                        Expect.equal layer.Chosen expected.Chosen $"{layer.Path}: {reason}")

let private normed =
    testPropertyWithConfig config "in the norm of its inputs a kernel is as long as its outputs are, and comes back" (fun (seed: int) ->
        use _ = torch.NewDisposeScope()
        let seed = abs (seed % 1000)
        let s, t = 2L + int64 (seed % 5), 3L
        let scale = Math.Pow(10.0, float (seed % 41 - 20))
        let root = (noise seed [ s; s + 2L ]).mul(Num.tensor scale)
        let sigma = root.matmul root.mT
        let linear = ConvGeometry.plain 0 s t
        let shares = (noise seed [ s ]).abs()

        for g, covariance in
            [
                linear, None
                linear, Some sigma
                { linear with
                    Kernel = [ 2L ]
                    Stride = [ 1L ]
                    Dilation = [ 1L ]
                    Padding = [ struct (0L, 0L) ]
                    OutputPadding = [ 0L ]
                },
                Some sigma
                ConvGeometry.embedding s t None, Some shares
                ConvGeometry.embedding s t None, Some sigma
            ] do
            let kernel = noise (seed + 1) (ConvGeometry.kernelShape g |> List.map int64)
            let norm = KernelProjection.inputNorm g covariance |> ok
            let whitened = KernelProjection.whitened norm kernel
            let close (a: Tensor) (b: Tensor) = a.minus(b).norm().number() <= 1e-9 * b.norm().number()
            Expect.isTrue (close (KernelProjection.unwhitened norm whitened) kernel) $"{g}: back"

            let rows = kernel.reshape (s, -1L)
            let length = whitened.squared().sum()

            match covariance with
            | None -> Expect.isTrue (norm.IsAlike && identical whitened kernel) $"{g}: alike"
            | Some shares when shares.dim () = 1L ->
                // A tenth is shared by all tokens.
                let weights = shares.div(shares.mean ()).mul(Num.tensor 0.9).plus(Num.tensor 0.1).unsqueeze -1L
                Expect.isTrue (norm.IsOfTokens && close length (rows.squared().mul(weights).sum())) $"{g}: tokens"
            | Some sigma -> Expect.isTrue (norm.IsOfInputs && close length (rows.mul(sigma.matmul rows).sum())) $"{g}: length"

        let grouped = { linear with InChannels = 2L * s; OutChannels = 2L * t; Groups = 2L }
        Expect.isTrue (KernelProjection.inputNorm grouped (Some sigma) |> ok).IsAlike "layers in groups"
        // A direction that no input has is lost.
        let blind = torch.eye (s, dtype = torch.float64)
        blind[torch.TensorIndex.Single 0L, torch.TensorIndex.Single 0L] <- torch.zeros (1L, dtype = torch.float64)
        let norm = KernelProjection.inputNorm linear (Some blind) |> ok
        let kernel = noise seed [ s; 1L; t ]
        let back = KernelProjection.unwhitened norm (KernelProjection.whitened norm kernel)
        Expect.equal (back.narrow(0L, 0L, 1L).norm().number()) 0.0 "zero there"
        Expect.isTrue (identical (back.narrow (0L, 1L, s - 1L)) (kernel.narrow (0L, 1L, s - 1L))) "as it is elsewhere")

let private data =
    testCase "a plan is data: JSON and back, edits, another budget, differences, a table" (fun () ->
        use _ = torch.NewDisposeScope()
        let made = plan (Budget.ParameterRatio 2.0)
        let again = CompressionPlan.ofJson (CompressionPlan.toJson made) |> ok
        Expect.equal (CompressionPlan.toJson again) (CompressionPlan.toJson made) "JSON"
        Expect.equal (string again) (string made) "table"
        Expect.isEmpty (CompressionPlan.diff made again) "nothing differs"
        let path = (made.Layers |> Seq.find _.IsFactorized).Path
        let dense = CompressionPlan.keepDense path made |> ok
        Expect.equal (CompressionPlan.diff made dense).Length 1 "one differs"
        Expect.isGreaterThan dense.Parameters made.Parameters "more parameters"
        let own = CompressionPlan.choose "first" KernelAxes.Fused (Format.CP 2) made |> ok
        Expect.equal (own.Layers |> Seq.find (fun l -> l.Path = "first")).Choice.Parameters ((12L + 9L + 16L) * 2L + 16L) "own format"
        Expect.isError (CompressionPlan.keepDense "frist" made) "no such layer"
        Expect.isError (CompressionPlan.choose "first" KernelAxes.Fused (Format.Tucker2(99, 1)) made) "no such rank"
        let back = CompressionPlan.under (Budget.ParameterRatio 2.0) dense |> ok
        Expect.isEmpty (CompressionPlan.diff made back) "made anew"

        for part, other, expected in
            [
                "\"version\": 1", "\"version\": 2", "$.version is 2"
                "\"chosen\": -1", "\"chosen\": 99", "chosen is 99"
                "\"format\": \"", "\"format\": \"?", "a format"
                "\"measure\"", "\"measures\"", "$.measure is nothing"
                "\"groups\": 1", "\"groups\": 5", "geometry is"
                "\"in\": 3", "\"in\": 6", "geometry is"
                "\"inputs\": [", "\"inputs\": [[1],", "inputs[0] is"
            ] do
            match CompressionPlan.ofJson ((CompressionPlan.toJson made).Replace(part, other)) with
            | Ok _ -> failtest other
            | Error errors -> Expect.stringContains (String.Join("; ", errors |> List.map _.Message)) expected "reason")

let private batchNorms =
    testCase "batch norms get the statistics of their inputs, whole or not at all" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = wide ()
        model.eval ()
        let a = torch.randn ([| 8L; 3L; 8L; 8L |], dtype = torch.float32, device = torch.CPU)

        let b =
            torch.randn([| 4L; 3L; 8L; 8L |], dtype = torch.float32, device = torch.CPU).mul(2.0f.ToScalar())

        let bad = torch.full ([| 4L; 3L; 8L; 8L |], nanf.ToScalar(), dtype = torch.float32, device = torch.CPU)
        let norm = Surgery.find "norm" model |> ok

        let held () =
            [
                for name in [ "running_mean"; "running_var" ] -> FileCases.bytesOf (nonNull (norm.get_buffer name))
            ]

        let before = held ()
        Expect.isError (Calibration.batchNorm [ a; bad ] model) "not finite"
        Expect.isError (Calibration.batchNorm [] model) "no batch"
        Expect.equal (held ()) before "as they were"
        Expect.equal (Calibration.batchNorm [ a; b ] model |> ok) 1 "one batch norm"
        Expect.isFalse (norm.training || model.training) "mode"
        let stem = (Surgery.find "stem" model |> ok) :?> Layer
        let inputs = torch.cat([| stem.call a; stem.call b |], 0L).movedim([| 1L |], [| 0L |]).reshape(12L, -1L)
        let mean, variance = nonNull (norm.get_buffer "running_mean"), nonNull (norm.get_buffer "running_var")
        Expect.isTrue (mean.allclose (inputs.mean [| 1L |], 1e-4, 1e-5)) "mean"
        Expect.isTrue (variance.allclose (inputs.var (1L), 1e-4, 1e-5)) "variance")

let all =
    testList "whole models" [ allocation; cheapest; report; budgets; predicted; calibrated; misfits; normed; data; batchNorms ]
