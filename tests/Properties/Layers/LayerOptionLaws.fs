/// Options that TorchSharp's own layers take by name, single precision, devices and unbatched input, for every kind of layer.
module LayerOptionLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open DenseKinds

/// Sums of a few hundred products of numbers of order one, each rounded to 24 bits, in another order.
let private single = 2e-4

let private double = 1e-10

let private near tolerance what (actual: torch.Tensor) (expected: torch.Tensor) =
    Expect.equal (List.ofArray actual.shape) (List.ofArray expected.shape) $"{what}: shape"
    let norm (x: torch.Tensor) = x.detach().``to``(torch.float64).norm().number()
    Expect.isLessThanOrEqual (norm (actual.minus expected)) (tolerance * (1.0 + norm expected)) what

let private lowerings (geometry: ConvGeometry) =
    [
        if not geometry.Kernel.IsEmpty then
            Lowering.Staged
        Lowering.Windowed
        Lowering.Dense
        Lowering.Cheapest
    ]

/// The dense layer given the kernel of a fresh layer like it: itself, with no geometry of ours in between.
let private overLowerings (dense: torch.nn.Module<torch.Tensor, torch.Tensor>) check =
    let geometry, _, _ = ConvGeometry.ofDense dense |> ok

    for lowering in lowerings geometry do
        use layer = Layers.fresh (Some lowering) KernelAxes.Fused 4UL 1.0 (Format.CP 3) dense |> ok

        (use _ = torch.no_grad ()
         (nonNull (dense.get_parameter "weight")).copy_(layer.Kernel()) |> ignore

         match layer.Bias with
         | null -> ()
         | bias -> bias.copy_ (nonNull (dense.get_parameter "bias")) |> ignore)

        check lowering layer

let private modes =
    [ PaddingModes.Zeros; PaddingModes.Reflect; PaddingModes.Replicate; PaddingModes.Circular ]

let private named: (string * (Padding -> PaddingModes -> torch.nn.Module<torch.Tensor, torch.Tensor>) * int64 list) list =
    [
        "Conv1d", (fun padding mode -> torch.nn.Conv1d(4L, 6L, 3L, padding, dilation = 2L, padding_mode = mode)), [ 2L; 4L; 9L ]
        "Conv1d, even kernel", (fun padding mode -> torch.nn.Conv1d(4L, 6L, 4L, padding, padding_mode = mode)), [ 2L; 4L; 9L ]
        "Conv2d", (fun padding mode -> torch.nn.Conv2d(4L, 6L, struct (3L, 2L), padding, padding_mode = mode)), [ 2L; 4L; 7L; 8L ]
        "Conv2d in groups", (fun padding mode -> torch.nn.Conv2d(4L, 6L, 3L, padding, groups = 2L, padding_mode = mode)), [ 2L; 4L; 7L; 8L ]
        "Conv3d", (fun padding mode -> torch.nn.Conv3d(4L, 5L, struct (3L, 2L, 1L), padding, padding_mode = mode)), [ 2L; 4L; 5L; 6L; 4L ]
    ]

let private paddings =
    testList
        "padding by name is that of the dense layer"
        [
            for padding in [ Padding.Same; Padding.Valid ] do
                for name, make, shape in named do
                    for mode in modes do
                        testCase $"{name}, {padding}, {mode}" (fun () ->
                            use _ = torch.NewDisposeScope()
                            use dense = make padding mode
                            dense.``to`` torch.float64 |> ignore
                            let x = noise 1 shape

                            overLowerings dense (fun lowering layer ->
                                let y = layer.call x
                                near double $"{lowering}" y (dense.call x)

                                if padding = Padding.Same && mode = PaddingModes.Zeros then
                                    Expect.equal (List.ofArray y.shape[2..]) shape[2..] "the size is kept"))
        ]

/// Channels in sixteens: otherwise libtorch's single convolutions may read memory that nobody wrote.
let private wide: (string * (unit -> torch.nn.Module<torch.Tensor, torch.Tensor>) * int64 list) list =
    [
        "Linear", (fun () -> torch.nn.Linear(16L, 32L)), [ 3L; 5L; 16L ]
        "Conv1d", (fun () -> torch.nn.Conv1d(16L, 32L, 3L, stride = 2L, padding = 1L)), [ 2L; 16L; 9L ]
        "Conv2d", (fun () -> torch.nn.Conv2d(16L, 32L, 3L, padding = 1L)), [ 2L; 16L; 7L; 8L ]
        "Conv3d", (fun () -> torch.nn.Conv3d(16L, 16L, 2L, padding = 1L)), [ 2L; 16L; 4L; 5L; 3L ]
        "ConvTranspose1d", (fun () -> torch.nn.ConvTranspose1d(16L, 32L, 3L, stride = 2L, output_padding = 1L)), [ 2L; 16L; 5L ]
        "ConvTranspose2d", (fun () -> torch.nn.ConvTranspose2d(16L, 32L, 3L, stride = 2L)), [ 2L; 16L; 5L; 4L ]
    ]

let private precision =
    testList
        "single precision, forward and gradients"
        [
            for name, make, shape in wide ->
                testCase name (fun () ->
                    use _ = torch.NewDisposeScope()
                    use dense = make ()
                    let input () = ((noise 1 shape).``to`` torch.float32).requires_grad_ true

                    overLowerings dense (fun lowering layer ->
                        let x1, x2 = input (), input ()
                        let y = layer.call x1
                        Expect.equal y.dtype torch.float32 "dtype"
                        near single $"{lowering}" y (dense.call x2)
                        let weights = (noise 2 y.shape).``to`` torch.float32
                        dense.zero_grad ()
                        y.mul(weights).sum().backward()
                        dense.call(x2).mul(weights).sum().backward()
                        near single $"{lowering}: input" (nonNull x1.grad) (nonNull x2.grad)
                        let found = [ for p in layer.Factors -> (nonNull p.grad).clone() ]
                        layer.zero_grad ()
                        layer.Kernel().mul(nonNull (nonNull (dense.get_parameter "weight")).grad).sum().backward()

                        Seq.iter2
                            (fun (g: torch.Tensor) (p: Modules.Parameter) -> near single $"{lowering}: core" g (nonNull p.grad))
                            found
                            layer.Factors))
        ]

let private unbatched =
    overKinds "an input without images gives what it gives as the only image" (fun dense shape ->
        overLowerings dense (fun lowering layer ->
            let x = noise 1 shape.Tail
            let y = layer.call x
            near double $"{lowering}" y (layer.call(x.unsqueeze 0L).squeeze 0L)

            if shape.Length > 2 then
                // TorchSharp's transposed layers and its padding by modes take no unbatched input everywhere: ask them with an image.
                near double $"{lowering}, dense" y (dense.call(x.unsqueeze 0L).squeeze 0L)))

let private devices =
    testList
        "devices"
        [
            overKinds "a layer on the CPU, named, is on it and stays" (fun dense shape ->
                dense.``to`` torch.CPU |> ignore

                overLowerings dense (fun lowering layer ->
                    let x = (noise 1 shape).``to`` torch.CPU
                    let y = layer.call x
                    Expect.equal y.device_type DeviceType.CPU "output"
                    let held = [ for p in layer.Factors -> p.Handle ]
                    layer.``to`` torch.CPU |> ignore
                    Expect.equal [ for p in layer.Factors -> p.Handle ] held "a move to where it is moves nothing"
                    Expect.isTrue (identical (layer.call x) y) $"{lowering}"))
            overKinds "a fresh layer like one on the meta device is on it" (fun dense _ ->
                dense.``to`` torch.META |> ignore
                use layer = Layers.fresh None KernelAxes.Fused 4UL 1.0 (Format.CP 3) dense |> ok

                for core, p in Seq.zip layer.Spec.Cores layer.Factors do
                    Expect.equal p.device_type DeviceType.META "device"
                    Expect.equal (List.ofArray p.shape) (Spec.coreShape core layer.Spec) "shape")
            testCase "a linear layer on the meta device tells the shape of its output" (fun () ->
                // libtorch's convolutions do not run there.
                use _ = torch.NewDisposeScope()
                use dense = torch.nn.Linear(12L, 8L)

                overLowerings dense (fun lowering layer ->
                    layer.``to`` torch.META |> ignore
                    let x = torch.zeros (5L, 12L, device = torch.META)

                    for recorded in [ true; false; false ] do
                        use _ = torch.set_grad_enabled recorded
                        let y = layer.call x
                        Expect.equal y.device_type DeviceType.META "device"
                        Expect.equal (List.ofArray y.shape) [ 5L; 8L ] $"{lowering}"))
        ]

let private message (layer: FactorizedLayer) (shape: int64 list) =
    use _ = torch.NewDisposeScope()

    try
        layer.call (noise 1 shape) |> ignore
        "accepted"
    with :? TensorNetException as e ->
        e.Message

let private small =
    testList
        "an input too small is refused with the least size, and the least size is accepted"
        [
            for mode, why in
                [
                    PaddingModes.Zeros, "a kernel that reaches over 7 with 4 added"
                    PaddingModes.Replicate, "a kernel that reaches over 7 with 4 added"
                ] do
                testCase $"{mode}" (fun () ->
                    use dense =
                        torch.nn.Conv2d(4L, 4L, 3L, padding = 2L, dilation = 3L, padding_mode = mode, dtype = torch.float64)

                    use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) dense |> ok
                    Expect.equal (message layer [ 1L; 4L; 3L; 3L ]) "accepted" "least"
                    let found = message layer [ 1L; 4L; 3L; 2L ]
                    Expect.stringContains found "shape [1, 4, 3, 2]; expected at least 3 along axis 3" "found and expected"
                    Expect.stringContains found why "why")
            for mode, least, why in [ PaddingModes.Reflect, 5L, "reflecting 4"; PaddingModes.Circular, 4L, "wrapping 4 around" ] do
                testCase $"{mode}" (fun () ->
                    use dense = torch.nn.Conv2d(4L, 4L, 3L, padding = 4L, padding_mode = mode, dtype = torch.float64)

                    for lowering in [ Lowering.Staged; Lowering.Windowed; Lowering.Dense ] do
                        use layer = Layers.fresh (Some lowering) KernelAxes.Fused 1UL 1.0 (Format.CP 2) dense |> ok
                        Expect.equal (message layer [ 4L; least; least ]) "accepted" "least"
                        let found = message layer [ 4L; least - 1L; least - 2L ]

                        for axis in 1..2 do
                            Expect.stringContains found $"expected at least {least} along axis {axis}" "every axis"

                        Expect.stringContains found why "why")
            testCase "transposed" (fun () ->
                use dense = torch.nn.ConvTranspose1d(4L, 4L, 2L, stride = 2L, padding = 3L, dtype = torch.float64)
                use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) dense |> ok
                Expect.equal (message layer [ 1L; 4L; 4L ]) "accepted" "least"
                Expect.stringContains (message layer [ 1L; 4L; 3L ]) "expected at least 4 along axis 2: cutting off 6" "found and expected")
            testCase "output padding that reaches a stride is refused by name" (fun () ->
                let geometry =
                    { ConvGeometry.plain 1 4L 4L with Transposed = true; Stride = [ 2L ]; OutputPadding = [ 2L ] }

                match Layers.spec KernelAxes.Fused geometry (Format.CP 2) with
                | Error [ TensorNetError.Unsupported("output_padding", found, _) ] -> Expect.equal found "[2]" "found"
                | other -> failtestf "%A" other)
        ]

let private sparse =
    overKinds "a sparse input is refused by name" (fun dense shape ->
        for lowering in lowerings (ConvGeometry.ofLayer dense |> ok) do
            use layer = Layers.fresh (Some lowering) KernelAxes.Fused 1UL 1.0 (Format.CP 2) dense |> ok
            let x = (noise 1 shape).to_sparse()

            match
                (try
                    layer.call x |> ignore
                    []
                 with :? TensorNetException as error ->
                     List.ofSeq error.Errors)
            with
            | [ TensorNetError.Unreadable(what, found) ] -> Expect.equal (what, found) ("The input", "sparse") "found"
            | other -> failtestf "%A" other)

let all = testList "layer options" [ paddings; precision; unbatched; devices; small; sparse ]
