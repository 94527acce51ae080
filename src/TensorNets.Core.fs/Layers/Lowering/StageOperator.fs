namespace TensorNets

open TorchSharp

/// A stage between the images that it takes and those that it makes.
[<NoEquality; NoComparison>]
type internal PlacedStage =
    {
        Layer: SizedLayer
        Stage: Stage
        /// What the convolution itself pads, along each spatial dimension.
        Padding: int64 list
        /// The spatial sizes of what comes in and of what goes out.
        Before: int64 list
        After: int64 list
    }

    /// Channels that pass through, each group of the others on its own.
    member this.Groups = Spec.size this.Stage.PassThrough this.Layer.Spec
    member this.Summed = Spec.size this.Stage.Summed this.Layer.Spec
    member this.Fresh = Spec.size this.Stage.New this.Layer.Spec
    /// Positions of an image that come in.
    member this.Positions = TorchConvolution.product this.Before

/// A way to apply the tensor of a stage to images.
[<NoEquality; NoComparison>]
type internal StageOperator =
    {
        /// The tensor as it is applied.
        Shaped: Tensor -> Tensor
        /// Whether that is a view of it.
        IsView: bool
        /// Applied, with the bias, to images.
        Apply: Tensor -> (Tensor | null) -> Tensor -> Tensor
    }

/// The ways to apply a stage to images of a size; `order` brings the axes of its tensor into those of a weight.
[<RequireQualifiedAccess>]
module internal StageOperator =
    /// Multiplications up to which a matrix product that reads a core as it lies is faster than a convolution that copies it first.
    let private small (images: int64) =
        let struct (one, several) = Kernels.tuning.SmallProduct
        if images = 1L then one else several

    /// A stage as a convolution, its tensor repeated along axes that pass through and that it does not carry.
    let convolved (place: PlacedStage) (order: AxisOrder) : StageOperator =
        let g, spec, stage = place.Layer.Geometry, place.Layer.Spec, place.Stage

        let rows, columns =
            if g.Transposed && not stage.Dims.IsEmpty then
                place.Summed, place.Fresh
            else
                place.Fresh, place.Summed

        let ones =
            [| for axis in stage.PassThrough -> if stage.Carried axis then int64 (Spec.dim axis spec) else 1L |]

        let full = [| for axis in stage.PassThrough -> int64 (Spec.dim axis spec) |]
        let shape = TorchConvolution.shapeOf g stage.Dims (TorchConvolution.product full * rows) columns
        let kernel = TorchConvolution.product shape[2..]

        let shaped =
            if ones = full then
                order.Shaped shape
            else
                let once = Array.append ones [| rows; columns; kernel |]
                let repeated = Array.append full [| rows; columns; kernel |]

                fun tensor ->
                    use reordered = order.Apply tensor
                    use once = reordered.reshape once
                    use repeated = once.expand repeated
                    repeated.reshape shape

        let inside = Spec.size stage.Before spec * place.Positions
        let thin = TorchConvolution.thin g stage.Dims place.Layer.Images inside (place.Groups * place.Fresh)

        {
            Shaped = shaped
            IsView = order.IsUnchanged && ones = full
            Apply = TorchConvolution.convolution g stage.Dims place.Padding place.Groups thin
        }

    /// The windows of one image as the columns of a matrix.
    let private unfolded (place: PlacedStage) : Tensor -> Tensor =
        let g = place.Layer.Geometry
        let pair (values: int64 list) = struct (values[0], values[1])
        let kernel, dilation = pair g.Kernel, pair g.Dilation
        let padding, stride = pair place.Padding, pair g.Stride

        fun x ->
            use all = torch.nn.functional.unfold (x, kernel, dilation, padding, stride)
            all.squeeze 0L

    /// The positions of each image as the columns of a matrix.
    let private flat (place: PlacedStage) : Tensor -> Tensor =
        let shape =
            [|
                if place.Layer.Images <> 1L then
                    yield place.Layer.Images
                yield place.Summed
                yield place.Positions
            |]

        fun x -> x.reshape shape

    /// Matrix times columns, with the bias.
    let private affine (images: int64) (matrix: Tensor) (bias: Tensor | null) (columns: Tensor) : Tensor =
        match bias with
        | null -> Kernels.matmul (matrix, columns)
        | bias ->
            use bias = bias.unsqueeze 1L

            if images = 1L then
                bias.addmm (matrix, columns)
            else
                use y = matrix.matmul columns
                y.plus bias

    /// A stage as a product of matrices, where that is faster.
    let multiplied (place: PlacedStage) (order: AxisOrder) : StageOperator option =
        let g, stage, images = place.Layer.Geometry, place.Stage, place.Layer.Images
        let multiplications = images * place.Summed * place.Positions * place.Fresh
        let pointwise = stage.Dims.IsEmpty && multiplications <= small images

        let windows =
            images = 1L
            && g.Kernel.Length = 2
            && stage.Dims = [ 0; 1 ]
            && not g.Transposed
            && place.Positions <= Kernels.tuning.UnfoldedPositions

        if place.Groups = 1L && (pointwise || windows) then
            let columns = if windows then unfolded place else flat place
            let out = [| yield images; yield place.Fresh; yield! place.After |]
            let kernel = stage.Dims |> List.map (fun i -> g.Kernel[i]) |> TorchConvolution.product

            Some
                {
                    Shaped = order.Shaped [| place.Fresh; place.Summed * kernel |]
                    IsView = order.IsMatrix place.Fresh
                    Apply =
                        fun matrix bias x ->
                            use columns = columns x
                            use y = affine images matrix bias columns
                            y.reshape out
                }
        else
            None

    /// A stage of one position as a product by blocks, which leaves the channels of a position side by side or not.
    let blocks (place: PlacedStage) (order: AxisOrder) (output: Channels) : StageOperator option =
        let call = ConvCall.Pointwise(place.Layer.Images, place.Summed, place.Fresh, place.Positions)

        if place.Groups = 1L && place.Stage.Dims.IsEmpty && Kernels.pays call then
            Some
                {
                    Shaped = order.Shaped [| place.Fresh; place.Summed |]
                    IsView = order.IsMatrix place.Fresh
                    Apply = fun matrix bias x -> Kernels.pointwise output matrix bias x
                }
        else
            None

    /// The planes of a stage that has a kernel for each channel, where such products are made.
    let window (place: PlacedStage) : ConvWindow option =
        let g, stage = place.Layer.Geometry, place.Stage

        let isPlane =
            not stage.Dims.IsEmpty
            && stage.PassThrough |> List.forall stage.Carried
            && TorchConvolution.isPlane g stage.Dims place.Summed place.Fresh

        if isPlane then
            Some(TorchConvolution.window g stage.Dims place.Padding place.Before)
            |> Option.filter (fun window -> Kernels.pays (ConvCall.Depthwise(place.Layer.Images, place.Groups, window)))
        else
            None

    /// A stage of a kernel for each channel as products by planes.
    let planes (place: PlacedStage) (order: AxisOrder) (window: ConvWindow) : StageOperator =
        let shaped = order.Shaped [| place.Groups; int64 window.Taps |]

        {
            Shaped =
                fun tensor ->
                    use matrix = shaped tensor
                    matrix.contiguous ()
            IsView = order.IsUnchanged
            Apply =
                fun kernels bias x ->
                    match bias with
                    | null -> Kernels.depthwise window kernels x
                    | bias ->
                        use y = Kernels.depthwise window kernels x
                        y.plus (bias.view (-1L, 1L, 1L))
        }
