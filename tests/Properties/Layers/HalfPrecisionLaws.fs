/// Layers of 16 bits: the result of float64, rounded once.
module HalfPrecisionLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators

/// Freed memory of many sizes full of NaN: whoever reads what nobody wrote shows it.
let private poison (dtype: torch.ScalarType) =
    for n in [ 100L; 300L; 1_000L; 3_000L; 10_000L; 30_000L; 100_000L; 300_000L ] do
        use _ = torch.full ([| n |], nan.ToScalar(), dtype = torch.float32)
        use _ = torch.full ([| n |], nan.ToScalar(), dtype = dtype)
        ()

/// Dense layers whose channels fill blocks of 16 and such as do not, and an input.
let private kinds: (string * (unit -> torch.nn.Module<torch.Tensor, torch.Tensor>) * int64 list) list =
    [
        "Linear", (fun () -> torch.nn.Linear(24L, 40L)), [ 3L; 5L; 24L ]
        "Conv1d", (fun () -> torch.nn.Conv1d(24L, 40L, 3L, padding = 1L)), [ 1L; 24L; 9L ]
        "Conv2d", (fun () -> torch.nn.Conv2d(32L, 32L, 3L, padding = 1L)), [ 4L; 32L; 16L; 16L ]
        "Conv2d, one image", (fun () -> torch.nn.Conv2d(24L, 32L, 3L, stride = 2L)), [ 1L; 24L; 9L; 8L ]
        "Conv2d of one position", (fun () -> torch.nn.Conv2d(24L, 40L, 1L)), [ 2L; 24L; 6L; 5L ]
        "Conv2d in groups", (fun () -> torch.nn.Conv2d(24L, 48L, 3L, groups = 2L, bias = false)), [ 2L; 24L; 7L; 8L ]
        "Conv2d, reflecting", (fun () -> torch.nn.Conv2d(24L, 32L, 3L, padding = 1L, padding_mode = PaddingModes.Reflect)), [ 24L; 9L; 8L ]
        "Conv3d", (fun () -> torch.nn.Conv3d(24L, 40L, 3L, padding = 1L)), [ 2L; 24L; 4L; 5L; 3L ]
        "ConvTranspose1d", (fun () -> torch.nn.ConvTranspose1d(24L, 40L, 3L, stride = 2L)), [ 2L; 24L; 9L ]
        "ConvTranspose2d", (fun () -> torch.nn.ConvTranspose2d(24L, 40L, 3L, stride = 2L, output_padding = 1L)), [ 2L; 24L; 6L; 7L ]
    ]

let private formats (n: int) : Format list =
    if n = 2 then
        [ Format.CP 20; Format.TensorTrain [ 12 ] ]
    else
        [
            Format.CP 20
            Format.Tucker2(20, 20)
            Format.TensorTrain [ 20; 12 ]
            Format.TensorChain [ 3; 4; 5 ]
            Format.BlockTerm(2, [ 4; 2; 4 ])
        ]

/// Against float64, entry by entry: rounded once, beside the rounding of float32 sums.
let private near (dtype: torch.ScalarType) what (actual: torch.Tensor) (exact: torch.Tensor) =
    Expect.equal actual.dtype dtype $"{what}: dtype"
    Expect.equal (List.ofArray actual.shape) (List.ofArray exact.shape) $"{what}: shape"
    let share = if dtype = torch.float16 then 5e-4 else 4e-3
    let largest = exact.abs().max()
    let allowed = exact.abs().mul(Num.tensor share).plus(largest.mul (Num.tensor 2e-5))
    let over = actual.``to``(torch.float64).minus(exact).abs().minus(allowed).max().number()
    // NaN is not below anything.
    Expect.isTrue (over <= 0.0) $"{what}: {over} above the rounding, of {largest.number ()}"

let private lowerings (layer: ConvGeometry) (spec: Spec) =
    [
        if Convolution.canStage layer spec then
            Lowering.Staged
        Lowering.Windowed
        Lowering.Dense
        Lowering.Cheapest
        Lowering.Measured
    ]

/// The output, and gradients of input, bias and cores.
let private pass (layer: FactorizedLayer) (x: torch.Tensor) : torch.Tensor list =
    layer.zero_grad ()
    let x = x.detach().clone().requires_grad_ true
    let y = layer.call x
    y.mul((noise 5 y.shape).``to``(torch.bfloat16).``to`` y.dtype).sum().backward()

    [
        y.detach ()
        nonNull x.grad
        for struct (_, p) in layer.named_parameters () do
            (nonNull p.grad).clone()
    ]

let private check (dtype: torch.ScalarType) (dense: torch.nn.Module<torch.Tensor, torch.Tensor>) (shape: int64 list) (format: Format) =
    let geometry, _, _ = ConvGeometry.ofDense dense |> ok

    match Layers.spec KernelAxes.Fused geometry format with
    | Error _ -> ()
    | Ok spec ->
        for lowering in lowerings geometry spec do
            use layer = Layers.fresh (Some lowering) KernelAxes.Fused 4UL 1.0 format dense |> ok
            use exact = Layers.fresh (Some Lowering.Dense) KernelAxes.Fused 4UL 1.0 format dense |> ok
            layer.``to`` dtype |> ignore
            exact.``to``(dtype).``to`` torch.float64 |> ignore
            let x = (noise 1 shape).``to`` dtype
            let expected = pass exact (x.``to`` torch.float64)
            let what = $"%A{format} {lowering} {dtype}"

            let found =
                [
                    for _ in 1..3 do
                        poison dtype
                        pass layer x
                ]

            List.iteri2 (fun i a b -> near dtype $"{what}: result {i} of a step" a b) found.Head expected
            // Measured ways may differ from one size to the next, not from call to call.
            for again in found.Tail do
                List.iteri2 (fun i a b -> Expect.isTrue (identical a b) $"{what}: result {i} again") again found.Head

            use _ = torch.no_grad ()

            let still =
                [
                    for _ in 1..3 do
                        poison dtype
                        layer.call x
                ]

            near dtype $"{what}: without gradients" still.Head expected.Head

            for again in still.Tail do
                Expect.isTrue (identical again still.Head) $"{what}: without gradients, again"

let private ofKinds =
    testList
        "a layer of 16 bits is that of float64 but for one rounding, and the same at every call"
        [
            for name, make, shape in kinds do
                onOneThread name (fun () ->
                    for dtype in [ torch.bfloat16; torch.float16 ] do
                        use dense = make ()
                        let geometry, _, _ = ConvGeometry.ofDense dense |> ok

                        for format in formats (if geometry.Kernel.IsEmpty then 2 else 3) do
                            use _ = torch.NewDisposeScope()
                            check dtype dense shape format)
        ]

let all = testList "16 bits" [ ofKinds ]
