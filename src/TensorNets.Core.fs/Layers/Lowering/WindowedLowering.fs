namespace TensorNets

open TorchSharp

/// The input as one more core: windows at every position of the output, contracted with the network in the order of a plan. For any
/// network.
[<RequireQualifiedAccess>]
module internal WindowedLowering =
    // No name of a user's ends in a prime.
    let private image = Axis "image'"
    let private place i = Axis $"place{i}'"
    let private position i = Axis $"position{i}'"
    let private input = "input'"

    /// The network with the windows as a core: its output is (images, places, output channels).
    let private extended (layer: SizedLayer) (places: int64 list) : Spec =
        let roles, spec = layer.Roles, layer.Spec
        let kernel = roles.Kernel |> List.map fst
        let around = places |> List.mapi (fun i n -> place i, int n)

        Spec.extended
            ((image, int layer.Images) :: around)
            ({ Name = input; Axes = image :: roles.Group @ roles.Inputs @ kernel @ List.map fst around }
             :: spec.Cores)
            (image :: roles.Group @ roles.Outputs @ List.map fst around)
            spec

    let plan (layer: SizedLayer) : Plan = Plan.make Order.Auto (extended layer (ConvGeometry.outputSize layer.Geometry layer.Input))

    /// The input of a transposed convolution with zeros between and around its positions: the convolution at stride 1 that remains reads
    /// its kernel backwards.
    let private stuffed (g: ConvGeometry) (x: Tensor) : Tensor =
        let n = g.Kernel.Length
        let mutable y = x

        for i in 0 .. n - 1 do
            let dim = int64 (2 + i)
            let size = y.shape[2 + i]

            if g.Stride[i] > 1L then
                let shape = y.shape

                let zeros =
                    torch.zeros (
                        Array.concat [ shape[.. 1 + i]; [| size; g.Stride[i] - 1L |]; shape[3 + i ..] ],
                        dtype = y.dtype,
                        device = y.device
                    )

                let wide = torch.cat ([| y.unsqueeze (dim + 1L); zeros |], dim + 1L)

                y <-
                    wide
                        .reshape(Array.concat [ shape[.. 1 + i]; [| size * g.Stride[i] |]; shape[3 + i ..] ])
                        .narrow(dim, 0L, (size - 1L) * g.Stride[i] + 1L)

        let pads =
            [|
                for i in n - 1 .. -1 .. 0 do
                    let struct (cut, _) = g.Padding[i]
                    let reach = g.Dilation[i] * (g.Kernel[i] - 1L)
                    yield reach - cut
                    yield reach - cut + g.OutputPadding[i]
            |]

        // A negative pad cuts off.
        torch.nn.functional.pad (y, pads, PaddingModes.Constant, 0.0)

    /// The padded input as windows: images × channels × kernel positions by dimension × places by dimension.
    let private windows (g: ConvGeometry) (x: Tensor) : Tensor =
        let n = g.Kernel.Length

        let mutable y =
            if g.Transposed then
                stuffed g x
            else
                let x, padding = TorchConvolution.padded g x

                if padding |> List.forall ((=) 0L) then
                    x
                else
                    torch.nn.functional.pad (
                        x,
                        [|
                            for p in List.rev padding do
                                yield! [ p; p ]
                        |],
                        PaddingModes.Constant,
                        0.0
                    )

        for i in 0 .. n - 1 do
            let reach = g.Dilation[i] * (g.Kernel[i] - 1L) + 1L
            y <- y.unfold (int64 (2 + i), reach, (if g.Transposed then 1L else g.Stride[i]))
            y <- y.slice (y.dim () - 1L, 0L, reach, g.Dilation[i])

        // Now images, channels, places, positions.
        let order =
            Array.concat [ [| 0L; 1L |]; Array.init n (fun i -> int64 (2 + n + i)); Array.init n (fun i -> int64 (2 + i)) ]

        let y = if n = 0 then y else y.permute order
        if g.Transposed then y.flip [| for i in 0 .. n - 1 -> int64 (2 + i) |] else y

    let private size (spec: Spec) axes = [| for axis in axes -> int64 (Spec.dim axis spec) |]

    /// The contraction, by its plan. The input is images × channels × spatial dimensions.
    let run (layer: SizedLayer) (plan: Plan) (tensors: LayerWeights) (x: Tensor) : Tensor =
        let g, roles = layer.Geometry, layer.Roles
        let view = windows g x
        let places = view.shape[2 + g.Kernel.Length ..]

        let core =
            view.reshape
                [|
                    yield x.shape[0]
                    yield! size layer.Spec (roles.Group @ roles.Inputs @ List.map fst roles.Kernel)
                    yield! places
                |]

        let lookup name = if name = input then core else tensors.Lookup name
        let y = Contraction.runMany [ plan ] x.dtype x.device lookup |> List.head
        let y = y.reshape (Array.append [| x.shape[0]; g.OutChannels |] places)

        match tensors.Bias with
        | null -> y
        | bias -> y.plus (bias.view [| yield 1L; yield -1L; yield! Seq.replicate places.Length 1L |])
