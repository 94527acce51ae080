/// TT-matrices in plans: of linear layers and kernels of one position, where they are asked for.
module TrainMatrixLaws

open Expecto
open FsCheck
open TorchSharp
open TensorNets
open Generators
open SmallModels

let private split =
    testPropertyWithConfig
        { config with maxTest = 200 }
        "a number is split into factors, the largest first, whose product it is and none of which could be evened out"
        (fun (n: PositiveInt) (count: PositiveInt) ->
            let count = 1 + count.Get % 5
            let factors = BalancedFactors.exact count n.Get
            Expect.equal (factors.Length, List.fold (*) 1 factors) (count, n.Get) "product"
            Expect.equal factors (List.sortDescending factors) "order"
            // A single prime moved from the largest to the least would not make them more equal.
            let most, least = List.head factors, List.last factors
            let smallest = [ 2..most ] |> List.tryFind (fun p -> most % p = 0)

            match smallest with
            | Some p when most > least -> Expect.isGreaterThanOrEqual (max (most / p) (least * p)) (min most (least * p)) "even"
            | _ -> ())

let private layers: (string * (unit -> Layer) * int64 list) list =
    [
        "linear", (fun () -> torch.nn.Linear(24L, 36L)), [ 3L; 24L ]
        "1×1", (fun () -> torch.nn.Conv2d(24L, 36L, 1L)), [ 2L; 24L; 5L; 4L ]
        "strided 1×1 in groups", (fun () -> torch.nn.Conv2d(24L, 36L, 1L, stride = 2L, groups = 2L, bias = false)), [ 2L; 24L; 5L; 4L ]
        "transposed", (fun () -> torch.nn.ConvTranspose1d(24L, 36L, 1L)), [ 2L; 24L; 5L ]
    ]

let private options =
    { CompressionPlan.defaults with
        Ratios = [ 1.5; 3.0 ]
        Sweeps = 4
        KeepFirst = false
        KeepLast = false
        TrainMatrixModes = [ 2; 3 ]
    }

let private isTrainMatrix (c: PlanCandidate) =
    match c.Format with
    | Format.TensorTrainMatrix _ -> true
    | _ -> false

/// A kernel that is a TT-matrix but for noise, so that no matrix of few parameters is near it.
let private structured (model: Layer) =
    let weight = model.parameters true |> Seq.head
    use _ = torch.no_grad ()
    let t, s = weight.shape[0], weight.shape[1]

    let a, b =
        torch.randn ([| 6L; s / 4L |], dtype = torch.float32), torch.randn ([| t / 6L; 4L |], dtype = torch.float32)

    weight.copy_ (torch.kron(a, b).reshape(weight.shape).add(torch.randn_like(weight).mul(0.01f.ToScalar())))
    |> ignore

let private planned =
    testCase "TT-matrices are in the plan where asked, with the costs and at most the error of the layers that they make" (fun () ->
        for name, layer, input in layers do
            use _ = torch.NewDisposeScope()
            torch.random.manual_seed 5L |> ignore
            use model: Layer = torch.nn.Sequential(struct ("it", layer ()))
            structured model

            let without =
                CompressionPlan.make (Budget.LayerError 0.5) { options with TrainMatrixModes = [] } input model
                |> ok

            Expect.isFalse (without.Layers[0].Candidates |> Seq.exists isTrainMatrix) $"{name}: not asked for"
            let plan = CompressionPlan.make (Budget.LayerError 0.5) options input model |> ok
            let choice = plan.Layers[0].Choice
            Expect.isTrue (isTrainMatrix choice) $"{name}: {choice}"
            let read = CompressionPlan.ofJson (CompressionPlan.toJson plan) |> ok
            Expect.equal (CompressionPlan.toJson read) (CompressionPlan.toJson plan) $"{name}: JSON"
            let report = ModelCompression.run ModelCompression.defaults read model |> ok
            Expect.isEmpty report.Failed name
            let made = report.Layers[0]
            Expect.isLessThanOrEqual made.KernelError (1.01 * choice.Error + 1e-6) $"{name}: error"
            Expect.equal made.Layer.ParameterCount choice.Parameters $"{name}: parameters"
            let costs = ModelReport.make input model |> ok
            Expect.equal (costs.Parameters, costs.Flops) (plan.Parameters, plan.Flops) $"{name}: costs"

        let bad = { options with TrainMatrixModes = [ 1 ] }
        use model: Layer = torch.nn.Sequential(struct ("it", (torch.nn.Linear(4L, 4L): Layer)))
        Expect.isError (CompressionPlan.make (Budget.LayerError 0.5) bad [ 1L; 4L ] model) "one factor")

let private weighted =
    testCase "a TT-matrix is fitted in the norm of the layer's inputs, over all factors of the input channels" (fun () ->
        use _ = torch.NewDisposeScope()
        torch.random.manual_seed 6L |> ignore
        use model: Layer = torch.nn.Sequential(struct ("it", (torch.nn.Linear(24L, 36L): Layer)))
        structured model
        let x = torch.randn ([| 50L; 24L |], dtype = torch.float32)
        let sigmas = Calibration.covariances 1000L [ x ] model |> ok
        let options = { options with Covariances = sigmas }
        let plan = CompressionPlan.make (Budget.LayerError 0.5) options [ 1L; 24L ] model |> ok
        let choice = plan.Layers[0].Choice
        Expect.isTrue (isTrainMatrix choice) (string choice)
        use before = model.call x
        let bias = (model.parameters true |> Seq.last).detach().clone()

        let report =
            ModelCompression.run { ModelCompression.defaults with Covariances = sigmas } plan model |> ok

        Expect.isEmpty report.Failed "made"
        use after = model.call x
        let error = before.sub(after).norm().item<float32>() / before.sub(bias).norm().item<float32>()
        Expect.isLessThanOrEqual (float error) (1.01 * choice.Error + 1e-4) "error of the outputs")

let all = testSequenced (testList "TT-matrices in plans" [ split; planned; weighted ])
