/// Dense layers of 16 bits become factorized ones; dtypes that no network has are refused by name.
module HalfPrecisionCompression

open Expecto
open TorchSharp
open TensorNets
open Generators

/// ‖K − T‖ / ‖K‖, of the weights as the layers hold them.
let private relativeError (dense: torch.nn.Module) (layer: FactorizedLayer) =
    use _ = torch.no_grad ()
    let double (x: torch.Tensor) = x.``to`` torch.float64
    let weight = double (nonNull (dense.get_parameter "weight"))
    use network = layer.Network()
    use exact = Network.copyAs torch.float64 network
    use wide = Layers.ofNetwork None layer.Geometry None exact |> ok
    weight.minus(wide.Kernel()).norm().number() / weight.norm().number()

let private quick = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 8 } }

let private smaller: (string * (unit -> torch.nn.Module<torch.Tensor, torch.Tensor>) * Format) list =
    [
        "Linear", (fun () -> torch.nn.Linear(12L, 10L)), Format.CP 6
        "Conv1d", (fun () -> torch.nn.Conv1d(6L, 8L, 3L)), Format.TensorTrain [ 4; 5 ]
        "Conv2d", (fun () -> torch.nn.Conv2d(6L, 8L, 3L)), Format.Tucker2(4, 5)
        "Conv2d in groups", (fun () -> torch.nn.Conv2d(8L, 8L, 3L, groups = 2L)), Format.CP 6
        "Conv3d", (fun () -> torch.nn.Conv3d(4L, 5L, 2L)), Format.CP 8
        "ConvTranspose1d", (fun () -> torch.nn.ConvTranspose1d(4L, 6L, 3L)), Format.TensorChain [ 2; 2; 3 ]
        "ConvTranspose2d", (fun () -> torch.nn.ConvTranspose2d(4L, 6L, 3L)), Format.Tucker [ 3; 5; 4 ]
    ]

let private ofDense =
    testList
        "a dense layer of 16 bits is compressed like the others"
        [
            for name, make, format in smaller do
                testCase $"{name}: in its dtype, within the bound as rounded" (fun () ->
                    for dtype in [ torch.bfloat16; torch.float16 ] do
                        use _ = torch.NewDisposeScope()
                        use dense = make ()
                        dense.``to`` dtype |> ignore
                        use free = Layers.factorize quick KernelAxes.Fused None format dense |> ok
                        Expect.equal free.Factors[0].dtype dtype "dtype"
                        // A bound that the format reaches with something to spare.
                        let bound = 1.2 * relativeError dense free + 0.02
                        use layer = Layers.factorize quick KernelAxes.Fused (Some(ErrorBound.Relative bound)) format dense |> ok
                        Expect.equal layer.Factors[0].dtype dtype "dtype, bounded"
                        Expect.isLessThanOrEqual (relativeError dense layer) (bound * (1.0 + 2e-9)) $"{dtype}: error")
            testCase "a bound that cores of 16 bits cannot meet is unreachable" (fun () ->
                for dtype, bound in [ torch.bfloat16, 1e-4; torch.float16, 1e-5 ] do
                    use _ = torch.NewDisposeScope()
                    use dense = torch.nn.Linear(12L, 10L)
                    dense.``to`` dtype |> ignore

                    match Layers.factorize quick KernelAxes.Fused (Some(ErrorBound.Relative bound)) (Format.CP 10) dense with
                    | Error [ TensorNetError.Unreachable(_, reached) ] -> Expect.isGreaterThan reached 0.0 "reached"
                    | Error errors -> failtestf "%A" (errors |> List.map _.Message)
                    | Ok _ -> failtest "accepted")
            testCase "in the weighted norm too" (fun () ->
                for dtype in [ torch.bfloat16; torch.float16 ] do
                    use _ = torch.NewDisposeScope()
                    use dense = torch.nn.Conv2d(6L, 8L, 3L)
                    dense.``to`` dtype |> ignore
                    let sigma = (noise 3 [ 6L; 9L ]) |> fun x -> x.matmul x.mT
                    let options = { quick with Sweeps = { quick.Sweeps with Norm = Norm.Weighted([ 0 ], sigma) } }

                    use layer =
                        Layers.factorize options KernelAxes.Fused (Some(ErrorBound.Relative 0.4)) (Format.CP 24) dense |> ok

                    use network = layer.Network()
                    use exact = Network.copyAs torch.float64 network

                    let weighted (k: torch.Tensor) =
                        let rows = k.flatten(1L).``to`` torch.float64
                        sqrt (sigma.matmul(rows).mul(rows).sum().number())

                    let geometry, weight, _ = ConvGeometry.ofDense dense |> ok
                    let kernel = ConvGeometry.kernelOfWeight geometry (weight.detach().``to`` torch.float64)
                    let error = weighted (kernel.minus (Contraction.reconstruct exact)) / weighted kernel
                    Expect.isLessThanOrEqual error (0.4 * (1.0 + 2e-9)) $"{dtype}")
            testCase "in a model; what cannot be is told by the layer's path" (fun () ->
                use _ = torch.NewDisposeScope()
                let bits = torch.nn.Linear(12L, 10L, dtype = torch.bfloat16)
                let dead = torch.nn.Linear(12L, 10L, dtype = torch.bfloat16)
                let broken = torch.nn.Linear(12L, 10L)
                let complex = torch.nn.Linear(12L, 10L)

                (use _ = torch.no_grad ()
                 dead.weight.zero_ () |> ignore
                 broken.weight.fill_ (nan.ToScalar()) |> ignore)

                complex.weight <- new Modules.Parameter(complex.weight.detach().``to`` torch.complex64)

                use model =
                    torch.nn.Sequential(
                        [|
                            struct ("bits", bits :> torch.nn.Module<torch.Tensor, torch.Tensor>)
                            struct ("dead", dead)
                            struct ("broken", broken)
                            struct ("complex", complex)
                        |]
                    )

                let layer = Compress.layer quick (Some(ErrorBound.Relative 0.5)) (Format.CP 9) "bits" model |> ok
                Expect.equal layer.Factors[0].dtype torch.bfloat16 "dtype"
                Expect.equal (layer.call (torch.zeros (1L, 12L, dtype = torch.bfloat16))).dtype torch.bfloat16 "output"

                for path in [ "dead"; "broken"; "complex" ] do
                    match Compress.layer quick None (Format.CP 3) path model with
                    | Ok _ -> failtestf "%s was accepted" path
                    | Error errors ->
                        for error in errors do
                            Expect.stringContains error.Message $"The weight of '{path}'" "path")
        ]

let private dtypes =
    [
        for name in System.Enum.GetNames typeof<torch.ScalarType> -> System.Enum.Parse<torch.ScalarType> name
    ]

let private isReal (dtype: torch.ScalarType) = List.contains dtype [ torch.float64; torch.float32; torch.bfloat16; torch.float16 ]

let private refusals =
    testCase "networks and fresh layers are made in dtypes of real numbers, all others are refused by name" (fun () ->
        use _ = torch.NewDisposeScope()
        let spec = Golden.specOf "ab,bc->ac" [ "a", 3; "b", 2; "c", 4 ]
        use network = Network.random torch.float32 1UL spec

        for dtype in dtypes do
            let refused (act: unit -> unit) =
                try
                    act ()
                    false
                with :? TensorNetException as e ->
                    Expect.isTrue (e.Errors |> Seq.forall _.IsDType) e.Message
                    Expect.stringContains e.Message (string dtype) "what was found"
                    true

            Expect.equal
                (refused (fun () -> Expect.equal (Network.random dtype 1UL spec).DType dtype "random"))
                (not (isReal dtype))
                $"random {dtype}"

            Expect.equal
                (refused (fun () -> Expect.equal (Network.copyAs dtype network).DType dtype "copy"))
                (not (isReal dtype))
                $"copy {dtype}"

            match Layers.random { FreshOptions.defaults with Seed = 1UL; DType = dtype } (ConvGeometry.plain 0 3L 4L) spec with
            | Ok layer ->
                use layer = layer
                Expect.isTrue (isReal dtype) $"fresh {dtype}"
                Expect.equal layer.Factors[0].dtype dtype "fresh"
            | Error errors ->
                Expect.isFalse (isReal dtype) $"fresh {dtype}"
                Expect.isTrue (errors |> List.forall _.IsDType) "fresh")

let private handles =
    testCase "a kernel of a weight, and a weight of a kernel, are one tensor more" (fun () ->
        use conv = torch.nn.Conv2d(4L, 6L, 3L)
        let geometry, _, _ = ConvGeometry.ofDense conv |> ok
        let weight = conv.weight

        let rounds: (unit -> unit) list =
            [
                fun () -> use _ = ConvGeometry.kernelOfWeight geometry weight in ()
                fun () ->
                    use kernel = ConvGeometry.kernelOfWeight geometry weight
                    use _ = ConvGeometry.weightOfKernel geometry kernel
                    ()
            ]

        for act in rounds do
            act ()
            let before = NativeTensors.settledCount ()

            for _ in 1..100 do
                act ()

            // Nothing waits for the garbage collector.
            Expect.isLessThan (torch.Tensor.TotalCount - before) 50L "handles")

let all =
    testList "dense layers of 16 bits, and what no network has" [ ofDense; refusals; testSequenced handles ]
