/// Results have the dtype of what they are made of.
module DTypeLaws

open Expecto
open TorchSharp
open TensorNets
open Generators

let private dtypes = [ torch.float64; torch.float32; torch.bfloat16; torch.float16 ]

/// The relative rounding of a dtype.
let unit (dtype: torch.ScalarType) =
    match dtype with
    | torch.ScalarType.Float64 -> 1.2e-16
    | torch.ScalarType.Float32 -> 6.0e-8
    | torch.ScalarType.Float16 -> 4.9e-4
    | _ -> 3.9e-3

/// Float32 products of small cores that cancel lose a few digits; results of 16 bits are made in float32 and rounded once or, as a term of
/// S, twice.
let private tolerance dtype =
    if dtype = torch.float64 || dtype = torch.float32 then
        1000.0 * unit dtype
    else
        2.0 * unit dtype + 1e-4

/// The dtype and value of a scalar, against a number of float64.
let private holds (dtype: torch.ScalarType) (scale: float) what (actual: torch.Tensor) (expected: torch.Tensor) =
    Expect.equal actual.dtype dtype $"{what}: dtype"
    Expect.equal (string actual.device) "cpu" $"{what}: device"
    let rounded = expected.``to``(dtype).``to`` torch.float64

    // Beyond the range of float16 tensors are infinite.
    if rounded.isfinite().all().truth() then
        let error = actual.``to``(torch.float64).minus(expected).abs().max().number()
        Expect.isLessThanOrEqual error (tolerance dtype * max 1.0 scale) $"{what} in {dtype}"

/// Numbers made by a call, which says so where they are beyond the dtype; those below it may vanish.
let private holdsOrSays vanishes (dtype: torch.ScalarType) scale what (actual: unit -> torch.Tensor list) (expected: torch.Tensor list) =
    let isHeld (number: torch.Tensor) =
        let rounded = number.``to`` dtype
        rounded.isfinite().all().truth() && (vanishes || number.number () = 0.0 || rounded.number () <> 0.0)

    if expected |> List.forall isHeld then
        List.iter2 (holds dtype scale what) (actual ()) expected
    else
        Expect.throwsT<TensorNetException> (fun () -> actual () |> ignore) $"{what} beyond {dtype}"

let private agree (spec: Spec) (seed: int) =
    for dtype in dtypes do
        use network = Network.random dtype (uint64 seed) spec
        use exact = Network.copyAs torch.float64 network
        let terms = Sensitivity.ofCores exact
        let s = (Sensitivity.total exact).number()
        let norm = Contraction.norm exact
        let tensor = Contraction.reconstruct exact
        holdsOrSays false dtype s "S" (fun () -> [ Sensitivity.total network ]) [ Sensitivity.total exact ]
        holdsOrSays true dtype s "a term of S" (fun () -> Sensitivity.ofCores network) terms
        holds dtype (norm.number ()) "T" (Contraction.reconstruct network) tensor
        // A norm keeps half the digits where T cancels.
        Expect.equal (Contraction.norm network).dtype dtype "norm: dtype"
        let square (x: torch.Tensor) = x.``to``(torch.float64).squared()
        holds torch.float64 0.0 "dtype of the law" (square norm) (square norm)
        let share = 4.0 * tolerance dtype * max 1.0 (s + (square norm).number())
        Expect.isLessThanOrEqual (abs ((square (Contraction.norm network)).number() - (square norm).number())) share $"norm in {dtype}"

        if dtype <> torch.float64 then
            Golden.near (max 1e-4 (tolerance torch.float32)) (Sensitivity.value network + 1.0) (s + 1.0) "S as a number"

let private ofNetworks =
    testList
        "of networks"
        [
            law "T, its norm, S and its terms have the dtype of any network" (fun (case: AnyNetwork) -> agree case.Spec case.Seed)
            costlyLaw "and of any format" (fun (case: FormatCase) -> agree case.Spec case.Seed)
            costlyLaw "and of a chain, whose S comes by elimination" (fun (case: AnyNetwork) ->
                let shape = [ for i in 0..4 -> 2 + (case.Seed >>> i) % 2 ]

                match Format.spec shape (Format.TensorTrain [ 2; 2; 2; 2 ]) with
                | Ok spec -> agree spec case.Seed
                | Error errors -> failtestf "%A" errors)
            costlyLaw "a balanced or truncated network has the dtype of the one given" (fun (case: FormatCase) ->
                for dtype in [ torch.float64; torch.float32 ] do
                    use network = Network.random dtype (uint64 case.Seed) case.Spec
                    use cut = Gauge.truncate network
                    Expect.equal cut.DType dtype "truncated"

                    match Gauge.balance cut with
                    | Ok balanced ->
                        use balanced = balanced
                        Expect.equal balanced.DType dtype "balanced"
                        Expect.equal (Sensitivity.total balanced).dtype dtype "S"
                    | Error _ -> ())
            costlyLaw "gradients of S have the dtype of the cores" (fun (case: FormatCase) ->
                for dtype in dtypes do
                    let network = Network.random dtype (uint64 case.Seed) case.Spec
                    let cores = [| for core in network.Cores -> core.requires_grad_ true |]
                    (Sensitivity.total network).backward()

                    for core in cores do
                        Expect.equal (nonNull core.grad).dtype dtype "gradient")
        ]

let private formats =
    [
        Format.CP 3
        Format.Tucker2(2, 2)
        Format.TensorTrain [ 2; 2 ]
        Format.TensorChain [ 2; 2; 2 ]
        Format.Tucker [ 2; 2; 2 ]
    ]

let private ofLayers =
    testList
        "of layers"
        [
            for dtype in dtypes do
                testCase $"S of a layer in {dtype} is in {dtype}, and so is a loss with it" (fun () ->
                    use _ = torch.NewDisposeScope()

                    for format in formats do
                        use dense = torch.nn.Conv2d(6L, 8L, 3L)
                        use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 format dense |> ok
                        let sigma = (noise 3 [ 6L; 9L ]) |> fun x -> x.matmul x.mT

                        for norm in [ Norm.Frobenius; Norm.Weighted([ 0 ], sigma) ] do
                            layer.``to`` torch.float64 |> ignore
                            layer.SetNorm norm
                            let exact = layer.Sensitivity().detach()
                            layer.``to`` dtype |> ignore
                            let s = layer.Sensitivity()
                            Expect.equal s.dtype dtype "S"
                            let error = abs (s.detach().number() / exact.number () - 1.0)
                            Expect.isLessThan error (if dtype = torch.float64 then 1e-5 else 40.0 * unit dtype + 1e-5) "value"
                            let loss = (layer.call (torch.zeros (1L, 6L, 5L, 5L, dtype = dtype))).sum()
                            Expect.equal (loss.plus (s.mul (Num.one))).dtype dtype "loss"

                            match Compress.sensitivity layer with
                            | Ok total -> Expect.equal total.dtype dtype "of the model"
                            | Error errors -> failtestf "%A" errors)
            testCase "S of a float32 layer reads as a float" (fun () ->
                use _ = torch.NewDisposeScope()
                use conv = torch.nn.Conv2d(6L, 8L, 3L)

                for format in formats do
                    use layer = Layers.conv2d Factorize.defaults None format conv |> ok
                    let s = layer.Sensitivity().detach().item<float32>()
                    use network = layer.Network()
                    Golden.near 1e-5 (float s) (Sensitivity.value network) "S")
        ]

let all = testList "dtypes" [ ofNetworks; ofLayers ]
