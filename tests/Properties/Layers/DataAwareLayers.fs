/// Layers whose kernel was factorized in a norm measure their sensitivity in it.
module DataAwareLayers

open Expecto
open TorchSharp
open TensorNets
open Golden

/// x xᵀ of inputs whose channels differ in size.
let private covariance (channels: int64) : torch.Tensor =
    use generator = new torch.Generator(5UL)
    let x = torch.randn ([| 40L; channels |], dtype = torch.float64, generator = generator)
    let scale = torch.linspace (0.2, 2.0, channels, dtype = torch.float64)
    let x = x.mul scale
    x.mT.matmul(x).div(torch.tensor 40.0)

let private options (norm: Norm) = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 20; Norm = norm } }

let private layerOf (norm: Norm) (groups: int64) =
    let conv = torch.nn.Conv2d(8L, 6L, 3L, padding = 1L, groups = groups, dtype = torch.float64)
    conv, Layers.factorize (options norm) KernelAxes.Fused None (Format.CP 3) conv |> ok

let all =
    testList
        "data-aware layers"
        [
            for groups in [ 1L; 2L ] do
                testCase $"{groups} groups: S in the norm, its gradient, an unchanged state, nothing left behind" (fun () ->
                    use scope = torch.NewDisposeScope()
                    let norm = Norm.Weighted([ 0 ], covariance (8L / groups))
                    let _, layer = layerOf norm groups
                    let s = layer.Sensitivity()
                    let network = layer.Network()
                    near 1e-12 (s.item<double>()) (Sensitivity.valueIn layer.Norm network |> ok) "in the norm"
                    Expect.isGreaterThan (abs (s.item<double>() / Sensitivity.value network - 1.0)) 1e-3 "not the plain S"
                    s.backward ()

                    for factor in layer.Factors do
                        Expect.isGreaterThan ((nonNull factor.grad).norm().item<double>()) 0.0 "gradient"

                    Expect.equal (layer.state_dict().Count) (layer.Factors.Count + 1) "cores and bias alone are the state"

                    layer.SetNorm Norm.Frobenius
                    near 1e-12 ((layer.Sensitivity()).item<double>()) (Sensitivity.value network) "plain again")
            testCase "each group's covariance counts by itself" (fun () ->
                use _ = torch.NewDisposeScope()
                let norm = Norm.Weighted([ 0 ], covariance 4L)
                let conv = torch.nn.Conv2d(8L, 6L, 1L, groups = 2L, bias = false, dtype = torch.float64)
                let layer = Layers.factorize (options norm) KernelAxes.Fused None (Format.CP 2) conv |> ok

                // The definition: the mean squared change of T × Σ^½ by white noise in the cores, here of the layer's own kernel.
                let struct (values, vectors) = torch.linalg.eigh (covariance 4L)
                let root = vectors.mul (values.sqrt ())
                let weigh (kernel: torch.Tensor) = kernel.reshape(6L, 4L).matmul root
                let before = weigh (layer.Kernel().detach())
                let sigma = 1e-4
                use generator = new torch.Generator(3UL)
                use _ = torch.no_grad ()
                let kept = [ for factor in layer.Factors -> factor.clone () ]
                let draws = 400

                let changes =
                    [
                        for _ in 1..draws do
                            let noisy =
                                [|
                                    for factor in kept ->
                                        factor.plus (
                                            torch.randn(factor.shape, dtype = torch.float64, generator = generator).mul(torch.tensor sigma)
                                        )
                                |]

                            layer.SetFactors noisy
                            weigh(layer.Kernel()).minus(before).norm().item<double>() / sigma
                    ]

                let squares = changes |> List.map (fun c -> c * c)
                let mean = List.average squares
                let error = sqrt ((squares |> List.averageBy (fun c -> (c - mean) ** 2.0)) / float draws)
                layer.SetFactors(List.toArray kept)
                let s = (layer.Sensitivity()).item<double>()
                Expect.isLessThan (abs (s - mean)) (5.0 * error) $"S {s}, drawn {mean} ± {error}")
            testCase "a norm that does not fit is refused and changes nothing" (fun () ->
                use _ = torch.NewDisposeScope()
                let norm = Norm.Weighted([ 0 ], covariance 8L)
                let _, layer = layerOf norm 1L
                let before = layer.Sensitivity().item<double>()

                match layer.TrySetNorm(Norm.Weighted([ 0 ], covariance 7L)) with
                | Error [ TensorNetError.Shape _ ] -> ()
                | other -> failtestf "%A" other

                Expect.equal (layer.Sensitivity().item<double>()) before "as before")
        ]
