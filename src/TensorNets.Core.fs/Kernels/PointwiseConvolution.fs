namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// Where the channels of a position lie: a plane for each channel, or side by side.
[<Struct; RequireQualifiedAccess>]
type internal Channels =
    | First
    | Last

/// A convolution of one position as products of matrices that read images as they lie.
[<RequireQualifiedAccess>]
module private Pixels =
    let nothing: Floats = NativePtr.ofNativeInt 0n

    let positions (shape: int64[]) = Array.fold (*) 1L shape[2..]

    let plain (tensor: Tensor) (columns: int) = { Start = Product.start tensor; Matrix = 0; Row = columns; Column = 1 }

    let turned (tensor: Tensor) (columns: int) = { Start = Product.start tensor; Matrix = 0; Row = 1; Column = columns }

    /// An image of so many channels and positions after the other, as matrices of channels × positions.
    let planes (tensor: Tensor) (channels: int) (positions: int) =
        { Start = Product.start tensor; Matrix = channels * positions; Row = positions; Column = 1 }

    let rowsOf (tensor: Tensor) (channels: int) (positions: int) =
        { Start = Product.start tensor; Matrix = channels * positions; Row = channels; Column = 1 }

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
        Turn.Of(int shape[0], int shape[1], int (positions shape), x)

    /// Images that lie in one of the two orders, brought to a layout: a view where they have it.
    let into (layout: Channels) (x: Tensor) : Tensor =
        match layout with
        | Channels.First when x.is_contiguous () -> x.alias ()
        | Channels.First ->
            let shape = x.shape
            use last = lastOf x
            use planes = Turn.Of(int shape[0], int (positions shape), int shape[1], last)
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

    /// Images by a matrix of new × old channels, whose rows or columns lie side by side, into a layout; `first`: the bias, of planes alone.
    let apply (output: Channels) (matrix: Tensor) (first: Tensor | null) (x: Tensor) : Tensor =
        let shape = x.shape
        let t, s = int matrix.shape[0], int matrix.shape[1]
        let images, p = int shape[0], int (positions shape)
        let byRows = matrix.is_contiguous ()
        let result = Array.append [| shape[0]; int64 t |] shape[2..]
        let y = empty output result
        use out = memory y
        let isFirst = x.is_contiguous ()

        match output with
        | Channels.First ->
            use x = into Channels.First x
            use matrix = if byRows then matrix.alias () else matrix.t ()
            let rows = if byRows then plain matrix s else turned matrix t

            let start =
                match first with
                | null -> nothing
                | first -> Product.start first

            Product.multiply images t p s rows (planes x s p) (planes out t p) start
            GC.KeepAlive x
            GC.KeepAlive matrix
        | Channels.Last ->
            // The new channels of an old one side by side.
            use columns = (use turned = matrix.t () in turned.contiguous ())
            use lying = memory x
            let out = rowsOf out t p

            let rows = if isFirst then Product.across (planes lying s p) else rowsOf lying s p

            Product.multiply images p t s rows (plain columns t) out nothing
            GC.KeepAlive lying

        GC.KeepAlive first
        y

    /// The gradient of the matrix, from those of what comes out and the images: the one that has fewer channels is turned, unless it lies so.
    let matrixGradient (gradient: Tensor) (x: Tensor) : Tensor =
        let shape = x.shape
        let t, s = int gradient.shape[1], int shape[1]
        let images, p = int shape[0], int (positions shape)

        // As it lies, for its memory alone.
        use gradient' = memory gradient
        use x' = memory x

        let turnsX =
            if x.is_contiguous () <> gradient.is_contiguous () then not (x.is_contiguous ()) else s <= t

        if turnsX then
            use rows = if x.is_contiguous () then pixels x else x'.alias ()
            let sum = Fresh.floats [| int64 t; int64 s |]

            let left =
                if gradient.is_contiguous () then planes gradient' t p else Product.across (rowsOf gradient' t p)

            Product.sum images t s p left (rowsOf rows s p) (plain sum s)
            sum
        else
            use rows = if gradient.is_contiguous () then pixels gradient else gradient'.alias ()
            use sum = Fresh.floats [| int64 s; int64 t |]

            let left = if x.is_contiguous () then planes x' s p else Product.across (rowsOf x' s p)
            Product.sum images s t p left (rowsOf rows t p) (plain sum t)
            sum.t ()

/// A convolution of one position, with its gradients.
[<Sealed>]
type internal PointwiseProduct() =
    inherit torch.autograd.SingleTensorFunction<PointwiseProduct>()

    override _.Name = "TensorNets.PointwiseProduct"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let output, matrix, x = operands[0] :?> Channels, operands[1] :?> Tensor, operands[2] :?> Tensor
        context.save_for_backward (List [ matrix; x ])

        context.save_data (PointwiseProduct.Biased, operands.Length > 3)

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
        let isBiased = context.get_data PointwiseProduct.Biased :?> bool
        use turned = matrix.t ()

        if torch.is_grad_enabled () then
            // Gradients of gradients: by libtorch's own operations.
            let flat (y: Tensor) : Tensor = y.flatten (2L, -1L)

            List
                [
                    none
                    flat(gradient).matmul(flat(x).transpose(1L, 2L)).sum 0L
                    turned.matmul(flat gradient).view x.shape
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
                    if x.requires_grad then Pixels.apply input turned null gradient else none
                    if isBiased then
                        bias ()
                ]

    /// Whether so many old and new channels at so many positions are multiplied here, were they float32.
    static member Fits(images: int64, summed: int64, fresh: int64, positions: int64) =
        Product.isWorth (2.0 * float images * float positions * float summed * float fresh)
        && min summed (min fresh positions) >= 16L
        && images * positions * max summed fresh < int64 Int32.MaxValue
        && summed * fresh < int64 Int32.MaxValue

    /// The images with other channels, by a matrix of new × old ones; the bias only where the result lies in planes. For sizes that fit.
    static member Of(output: Channels, matrix: Tensor, bias: Tensor | null, images: Tensor) : Tensor =
        let images =
            match Pixels.layout images with
            | ValueSome _ -> images
            | ValueNone -> images.contiguous ()

        let isLying = matrix.is_contiguous () || (use turned = matrix.t () in turned.is_contiguous ())
        let matrix = if isLying then matrix else matrix.contiguous ()

        match bias with
        | null ->
            if torch.is_grad_enabled () && (matrix.requires_grad || images.requires_grad) then
                PointwiseProduct.apply (output, matrix, images)
            else
                Pixels.apply output matrix null images
        | bias ->
            if torch.is_grad_enabled () && (matrix.requires_grad || images.requires_grad || bias.requires_grad) then
                PointwiseProduct.apply (output, matrix, images, bias)
            else
                Pixels.apply output matrix bias images
