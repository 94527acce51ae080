/// Plans under a bound on the error of each layer: the compressed layers keep it, and where the spectrum tells the error of every rank no
/// smaller one would.
module ErrorBudgetLaws

open Expecto
open TorchSharp
open TensorNets
open Generators

let private options =
    { CompressionPlan.defaults with
        KeepFirst = false
        KeepLast = false
        Families = [ FormatFamily.Tucker2 ]
    }

let private shape = [ 2L; 12L; 6L; 6L ]

/// Layers whose kernels have falling spectra.
let private model (seed: int) : torch.nn.Module<torch.Tensor, torch.Tensor> =
    use _ = torch.no_grad ()
    torch.random.manual_seed (int64 seed) |> ignore

    let falling (weight: torch.Tensor) =
        let scales = torch.pow (torch.tensor 0.8f, torch.arange (weight.shape[1], dtype = torch.float32))

        weight.mul_ (scales.reshape [| yield! [ 1L; -1L ]; yield! [ for _ in 3L .. weight.dim () -> 1L ] |])
        |> ignore

    let first, second = torch.nn.Conv2d(12L, 16L, 3L, padding = 1L), torch.nn.Conv2d(16L, 20L, 1L)
    let groups = torch.nn.Conv2d(20L, 24L, 1L, groups = 2L)
    let spatialGroups = torch.nn.Conv2d(24L, 20L, 3L, padding = 1L, groups = 2L)
    let last = torch.nn.Linear(20L * 36L, 24L)

    for weight in [ first.weight; second.weight; last.weight ] do
        falling weight

    // One group is small and of low rank: what it alone could do without is no candidate of both.
    for weight, channels in [ groups.weight, 12L; spatialGroups.weight, 10L ] do
        falling (weight.narrow (0L, 0L, channels))
        let small = weight.narrow (0L, channels, channels)
        small.copy_ (small.select(1L, 0L).unsqueeze(1L).mul(torch.tensor 0.2f).expand_as small) |> ignore

    torch.nn.Sequential
        [|
            struct ("spatial", (first :> torch.nn.Module<torch.Tensor, torch.Tensor>))
            struct ("pointwise", (second :> torch.nn.Module<torch.Tensor, torch.Tensor>))
            struct ("groups", (groups :> torch.nn.Module<torch.Tensor, torch.Tensor>))
            struct ("spatial groups", (spatialGroups :> torch.nn.Module<torch.Tensor, torch.Tensor>))
            struct ("flatten", (torch.nn.Flatten() :> torch.nn.Module<torch.Tensor, torch.Tensor>))
            struct ("linear", (last :> torch.nn.Module<torch.Tensor, torch.Tensor>))
        |]

let private planned bound model = CompressionPlan.make (Budget.LayerError bound) options shape model |> ok

let private bounds = [ 0.02; 0.05; 0.1; 0.2; 0.35; 0.5; 0.7 ]

let private kept =
    testCase "every layer keeps the bound once it is compressed, whatever the correction adds" (fun () ->
        for seed in 1..3 do
            for bound in bounds do
                use _ = torch.NewDisposeScope()
                use model = model seed
                let plan = planned bound model
                let report = ModelCompression.run { ModelCompression.defaults with Workers = 1 } plan model |> ok

                for layer in report.Layers do
                    Expect.isLessThanOrEqual layer.KernelError (bound * (1.0 + 1e-6)) $"{layer.Path} at {bound}")

let private smallest =
    testCase "no matrix of a lower rank would keep the bound" (fun () ->
        for seed in 1..3 do
            use _ = torch.NewDisposeScope()
            use model = model seed

            for bound in bounds do
                for layer in (planned bound model).Layers do
                    match (if layer.IsFactorized then layer.Choice.Format else Format.Dense) with
                    | Format.TensorTrain [ rank ] when rank > 1 && layer.Geometry.Groups = 1L ->
                        let values =
                            model.state_dict().[$"{layer.Path}.weight"].detach().``to``(torch.float64).flatten(1L)
                            |> torch.linalg.svdvals

                        let error =
                            values.narrow(0L, int64 rank - 1L, values.shape[0] - int64 rank + 1L).norm() / values.norm ()

                        Expect.isGreaterThan (error.item<float>()) (bound / PlanMaking.slack) $"{layer.Path} of rank {rank} at {bound}"
                    | _ -> ())

let all = testList "budgets of errors" [ kept; smallest ]
