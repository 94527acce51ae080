namespace TensorNets

open TorchSharp

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

/// The ways to apply a stage to images of a size.
[<RequireQualifiedAccess>]
module internal StageOperator =
    /// Multiplications up to which a matrix product that reads a core as it lies is faster than a convolution that copies it first.
    let private small (images: int64) =
        let struct (one, several) = Kernels.tuning.SmallProduct
        if images = 1L then one else several

    /// A stage as a convolution, its tensor repeated along axes that pass by.
    let convolved (g: ConvGeometry) (spec: Spec) (stage: Stage) (arrangement: AxisOrder) apply : StageOperator =
        let summed, fresh = Spec.size stage.Summed spec, Spec.size stage.New spec
        let rows, columns = if g.Transposed && not stage.Dims.IsEmpty then summed, fresh else fresh, summed
        let ones = [| for axis in stage.Kept -> if stage.Carried axis then int64 (Spec.dim axis spec) else 1L |]
        let full = [| for axis in stage.Kept -> int64 (Spec.dim axis spec) |]
        let shape = TorchConvolution.shapeOf g stage.Dims (TorchConvolution.product full * rows) columns
        let kernel = TorchConvolution.product shape[2..]

        let shaped =
            if ones = full then
                arrangement.Shaped shape
            else
                let lone = Array.append ones [| rows; columns; kernel |]
                let wide = Array.append full [| rows; columns; kernel |]

                fun tensor ->
                    use turned = arrangement.Apply tensor
                    use lone = turned.reshape lone
                    use wide = lone.expand wide
                    wide.reshape shape

        { Shaped = shaped; IsView = arrangement.IsLying && ones = full; Apply = apply }

    /// A stage as a product of matrices, where that is faster.
    let multiplied
        (g: ConvGeometry)
        (spec: Spec)
        (stage: Stage)
        (arrangement: AxisOrder)
        (padding: int64 list)
        (images: int64)
        (before: int64 list)
        (after: int64 list)
        : StageOperator option =
        let summed, fresh = Spec.size stage.Summed spec, Spec.size stage.New spec
        let multiplications = images * summed * TorchConvolution.product before * fresh
        let pointwise = stage.Dims.IsEmpty && multiplications <= small images

        let windows =
            images = 1L
            && g.Kernel.Length = 2
            && stage.Dims = [ 0; 1 ]
            && not g.Transposed
            && TorchConvolution.product before <= Kernels.tuning.UnfoldedPositions

        if Spec.size stage.Kept spec = 1L && (pointwise || windows) then
            let columns: Tensor -> Tensor =
                if windows then
                    let pair (values: int64 list) = struct (values[0], values[1])
                    let kernel, dilation = pair g.Kernel, pair g.Dilation
                    let padding, stride = pair padding, pair g.Stride

                    fun x ->
                        use all = torch.nn.functional.unfold (x, kernel, dilation, padding, stride)
                        all.squeeze 0L
                else
                    let flat =
                        [|
                            if images <> 1L then
                                yield images
                            yield summed
                            yield TorchConvolution.product before
                        |]

                    fun x -> x.reshape flat

            let out = [| yield images; yield fresh; yield! after |]

            let apply (matrix: Tensor) (bias: Tensor | null) (x: Tensor) =
                use columns = columns x

                use y =
                    match bias with
                    | null -> Kernels.matmul (matrix, columns)
                    | bias ->
                        use bias = bias.unsqueeze 1L

                        if images = 1L then
                            bias.addmm (matrix, columns)
                        else
                            use y = matrix.matmul columns
                            y.plus bias

                y.reshape out

            let kernel = stage.Dims |> List.map (fun i -> g.Kernel[i]) |> TorchConvolution.product

            Some
                {
                    Shaped = arrangement.Shaped [| fresh; summed * kernel |]
                    IsView = arrangement.IsMatrix fresh
                    Apply = apply
                }
        else
            None

    /// A stage of one position as a product by blocks, which leaves the channels of a position side by side or not.
    let blocks
        (spec: Spec)
        (stage: Stage)
        (arrangement: AxisOrder)
        (output: Channels)
        (images: int64)
        (before: int64 list)
        : StageOperator option =
        let summed, fresh = Spec.size stage.Summed spec, Spec.size stage.New spec

        if
            Spec.size stage.Kept spec = 1L
            && stage.Dims.IsEmpty
            && Kernels.pays (ConvCall.Pointwise(images, summed, fresh, TorchConvolution.product before))
        then
            Some
                {
                    Shaped = arrangement.Shaped [| fresh; summed |]
                    IsView = arrangement.IsMatrix fresh
                    Apply = fun matrix bias x -> Kernels.pointwise output matrix bias x
                }
        else
            None

    /// The planes of a stage that has a kernel for each channel, where such products are made.
    let window
        (g: ConvGeometry)
        (spec: Spec)
        (stage: Stage)
        (padding: int64 list)
        (images: int64)
        (before: int64 list)
        : ConvWindow option =
        let isPlane =
            not stage.Dims.IsEmpty
            && stage.Kept |> List.forall stage.Carried
            && TorchConvolution.isPlane g stage.Dims (Spec.size stage.Summed spec) (Spec.size stage.New spec)

        if isPlane then
            Some(TorchConvolution.window g stage.Dims padding before)
            |> Option.filter (fun window -> Kernels.pays (ConvCall.Depthwise(images, Spec.size stage.Kept spec, window)))
        else
            None

    /// A stage of a kernel for each channel as products by planes.
    let planes (spec: Spec) (stage: Stage) (arrangement: AxisOrder) (window: ConvWindow) : StageOperator =
        let shaped = arrangement.Shaped [| Spec.size stage.Kept spec; int64 window.Taps |]

        {
            Shaped =
                fun tensor ->
                    use matrix = shaped tensor
                    matrix.contiguous ()
            IsView = arrangement.IsLying
            Apply =
                fun kernels bias x ->
                    match bias with
                    | null -> Kernels.depthwise window kernels x
                    | bias ->
                        use y = Kernels.depthwise window kernels x
                        y.plus (bias.view (-1L, 1L, 1L))
        }
