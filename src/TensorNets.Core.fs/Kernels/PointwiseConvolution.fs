namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// A convolution of one position as products of matrices that read images as they lie.
[<RequireQualifiedAccess>]
module private Pixels =
    let positions (shape: int64[]) = Array.fold (*) 1L shape[2..]

    /// A matrix by rows of a length.
    let matrix (tensor: Tensor) (columns: int) = Gemm.byRows (Gemm.floats tensor) columns

    /// One image after the other, as matrices of channels × positions.
    let planes (tensor: Tensor) (channels: int) (positions: int) = { matrix tensor positions with NextMatrix = channels * positions }

    /// One image after the other with the channels of a position side by side, as matrices of positions × channels.
    let rowsOf (tensor: Tensor) (channels: int) (positions: int) = { matrix tensor channels with NextMatrix = channels * positions }

    /// Images with the channels of a position side by side, as the tensor that lies in this order, and back.
    let lastOf (x: Tensor) : Tensor = x.permute (0L, 2L, 3L, 1L)

    let logical (x: Tensor) : Tensor = x.permute (0L, 3L, 1L, 2L)

    let layout (x: Tensor) : Channels voption =
        if x.is_contiguous () then ValueSome Channels.First
        elif x.dim () = 4L && (use last = lastOf x in last.is_contiguous ()) then ValueSome Channels.Last
        else ValueNone

    /// Images as matrices of positions × channels, and the other way.
    let pixels (x: Tensor) : Tensor =
        let shape = x.shape
        Transpose.Of(int shape[0], int shape[1], int (positions shape), x)

    /// Images that lie in one of the two orders, brought to a layout: a view where they have it.
    let into (layout: Channels) (x: Tensor) : Tensor =
        match layout with
        | Channels.First when x.is_contiguous () -> x.alias ()
        | Channels.First ->
            let shape = x.shape
            use last = lastOf x
            use planes = Transpose.Of(int shape[0], int (positions shape), int shape[1], last)
            planes.view shape
        | Channels.Last when x.is_contiguous () ->
            let shape = x.shape
            use rows = pixels x
            use last = rows.view (shape[0], shape[2], shape[3], shape[1])
            logical last
        | Channels.Last -> x.alias ()

    let empty (layout: Channels) (shape: int64[]) : Tensor =
        match layout with
        | Channels.First -> Fresh.floats shape
        | Channels.Last ->
            use last = Fresh.floats [| shape[0]; shape[2]; shape[3]; shape[1] |]
            logical last

    /// The entries of images in the order in which they lie.
    let memory (x: Tensor) : Tensor = if x.is_contiguous () then x.alias () else lastOf x

    /// Images by a matrix of new × old channels, whose rows or columns lie side by side, into a layout. A bias only where the result lies
    /// in planes.
    let apply (output: Channels) (weight: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let shape = x.shape
        let t, s = int weight.shape[0], int weight.shape[1]
        let images, p = int shape[0], int (positions shape)
        let byRows = weight.is_contiguous ()
        let result = Array.append [| shape[0]; int64 t |] shape[2..]
        let y = empty output result
        use out = memory y
        let isFirst = x.is_contiguous ()

        match output with
        | Channels.First ->
            use x = into Channels.First x
            use lying = if byRows then weight.alias () else weight.t ()
            let rows = if byRows then matrix lying s else (matrix lying t).Transposed

            let values =
                match bias with
                | null -> Gemm.none
                | bias -> Gemm.floats bias

            Gemm.batched images { M = t; K = s; N = p; A = rows; B = planes x s p; C = planes out t p; RowValues = values }
            GC.KeepAlive x
            GC.KeepAlive lying
        | Channels.Last ->
            // The new channels of an old one side by side.
            use columns = (use transposed = weight.t () in transposed.contiguous ())
            use lying = memory x
            let rows = if isFirst then (planes lying s p).Transposed else rowsOf lying s p

            Gemm.batched images { M = p; K = s; N = t; A = rows; B = matrix columns t; C = rowsOf out t p; RowValues = Gemm.none }
            GC.KeepAlive lying

        GC.KeepAlive bias
        y

    /// The gradient of the matrix, from those of what comes out and the images: the one that has fewer channels is transposed, unless it
    /// lies so.
    let matrixGradient (gradient: Tensor) (x: Tensor) : Tensor =
        let shape = x.shape
        let t, s = int gradient.shape[1], int shape[1]
        let images, p = int shape[0], int (positions shape)

        // As it lies, for its memory alone.
        use gradient' = memory gradient
        use x' = memory x

        let transposesX =
            if x.is_contiguous () <> gradient.is_contiguous () then not (x.is_contiguous ()) else s <= t

        if transposesX then
            use rows = if x.is_contiguous () then pixels x else x'.alias ()
            let sum = Fresh.floats [| int64 t; int64 s |]

            let left = if gradient.is_contiguous () then planes gradient' t p else (rowsOf gradient' t p).Transposed

            Gemm.summed images { M = t; K = p; N = s; A = left; B = rowsOf rows s p; C = matrix sum s; RowValues = Gemm.none }
            sum
        else
            use rows = if gradient.is_contiguous () then pixels gradient else gradient'.alias ()
            use sum = Fresh.floats [| int64 s; int64 t |]

            let left = if x.is_contiguous () then planes x' s p else (rowsOf x' s p).Transposed
            Gemm.summed images { M = s; K = p; N = t; A = left; B = rowsOf rows t p; C = matrix sum t; RowValues = Gemm.none }
            sum.t ()

/// A convolution of one position, with its gradients.
[<Sealed>]
type internal PointwiseConvolution() =
    inherit torch.autograd.SingleTensorFunction<PointwiseConvolution>()

    override _.Name = "TensorNets.PointwiseConvolution"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let output, matrix, x = operands[0] :?> Channels, operands[1] :?> Tensor, operands[2] :?> Tensor
        context.save_for_backward (List [ matrix; x ])

        context.save_data (PointwiseConvolution.Biased, operands.Length > 3)

        if operands.Length > 3 then
            Pixels.apply output matrix (operands[3] :?> Tensor) x
        else
            Pixels.apply output matrix null x

    static member private Biased = "bias"

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let matrix, x = saved[0], saved[1]
        // What has no gradient, as the layout.
        let none = Unchecked.defaultof<Tensor>
        let bias () = gradient.sum (Array.append [| 0L |] [| 2L .. gradient.dim () - 1L |])
        let isBiased = context.get_data PointwiseConvolution.Biased :?> bool
        use transposed = matrix.t ()

        if torch.is_grad_enabled () then
            // Gradients of gradients: by libtorch's own operations.
            let flat (y: Tensor) : Tensor = y.flatten (2L, -1L)

            List
                [
                    none
                    flat(gradient).matmul(flat(x).transpose(1L, 2L)).sum 0L
                    transposed.matmul(flat gradient).view x.shape
                    if isBiased then
                        bias ()
                ]
        else
            let input = if x.is_contiguous () then Channels.First else Channels.Last

            use gradient =
                match Pixels.layout gradient with
                | ValueSome _ -> gradient.alias ()
                | ValueNone -> gradient.contiguous ()

            List
                [
                    none
                    if matrix.requires_grad then Pixels.matrixGradient gradient x else none
                    if x.requires_grad then Pixels.apply input transposed null gradient else none
                    if isBiased then
                        bias ()
                ]

    /// Whether channels that are summed and new ones at a number of positions, were they float32, are multiplied here.
    static member Pays(images: int64, summed: int64, fresh: int64, positions: int64) =
        KernelSwitch.multiplies ()
        && Gemm.pays (2.0 * float images * float positions * float summed * float fresh)
        && min summed (min fresh positions) >= Tuning.measured.LeastGemmSize
        && images * positions * max summed fresh < int64 Int32.MaxValue
        && summed * fresh < int64 Int32.MaxValue

    /// The images with other channels, by a matrix of new × old ones; the bias only where the result lies in planes. For sizes for which
    /// that pays.
    static member Of(output: Channels, matrix: Tensor, bias: Tensor | null, images: Tensor) : Tensor =
        let images =
            match Pixels.layout images with
            | ValueSome _ -> images
            | ValueNone -> images.contiguous ()

        let isLying = matrix.is_contiguous () || (use transposed = matrix.t () in transposed.is_contiguous ())
        let matrix = if isLying then matrix else matrix.contiguous ()

        match bias with
        | null ->
            if torch.is_grad_enabled () && (matrix.requires_grad || images.requires_grad) then
                PointwiseConvolution.apply (output, matrix, images)
            else
                Pixels.apply output matrix null images
        | bias ->
            if torch.is_grad_enabled () && (matrix.requires_grad || images.requires_grad || bias.requires_grad) then
                PointwiseConvolution.apply (output, matrix, images, bias)
            else
                Pixels.apply output matrix bias images
