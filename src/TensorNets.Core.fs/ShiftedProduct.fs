namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open System.Runtime.InteropServices
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// A convolution of all channels with all, some rows of the result at a time. Y[t, i] = Σ_uv Σ_s K[t, s, u, v] X[s, i + u pitch + v], where a row of the result lies as far
/// from the next as one of the padded planes: for each tap one product of matrices, whose columns are positions of the padded planes and start where the tap does. What falls
/// between the rows of the result is dropped.
[<NoEquality; NoComparison>]
type private Shifts =
    {
        Window: PlaneWindow
        /// Channels that are summed over, and that come out.
        From: int
        Into: int
    }

    /// Columns at a time: what they become stays in the first cache.
    static member Block = 64

    /// So many numbers of padded planes stay in the second cache beside the kernel, and so many positions of both sides in the first.
    static member private Near = 65_536

    static member private Depth = 256

    /// Positions of a plane that two threads had better not share.
    static member Small = 1024

    static member Room(numbers: int) : Floats =
        NativePtr.ofVoidPtr (NativeMemory.AllocZeroed(unativeint (4 * (numbers + 2 * Shifts.Block))))

    static member Free(room: Floats) : unit = NativeMemory.Free(NativePtr.toVoidPtr room)

    /// Rows of padded planes under so many rows of the result.
    member z.Under(rows: int) = rows + z.Window.Rows - 1

    /// Rows of the result at a time, for so many parts of an image or more.
    member z.Rows(parts: int) =
        let near = Shifts.Near / (z.From * z.Window.Pitch) - z.Window.Rows + 1
        max 1 (min near ((z.Window.OutHeight + parts - 1) / parts))

    /// Rows of the result at a time where positions are summed over.
    member z.Deep = max 1 (min z.Window.OutHeight (Shifts.Depth / z.Window.Pitch))

    /// The padded planes of an image under the rows of the result from one on. Rows lie at multiples of the pitch, however many there are: what is zero beside them stays so.
    member z.Pad(image: Floats, row: int, rows: int, padded: Floats) : unit =
        let w, under = z.Window, z.Under rows

        for s in 0 .. z.From - 1 do
            for i in 0 .. under - 1 do
                let y = row + i - w.Above
                let into = NativePtr.add padded ((s * under + i) * w.Pitch)

                if y >= 0 && y < w.Height then
                    Plane.Move(1, w.Width, NativePtr.add image ((s * w.Height + y) * w.Width), w.Width, NativePtr.add into w.Left, w.Pitch)
                else
                    Span<float32>(NativePtr.toVoidPtr into, w.Pitch).Clear()

    /// The rows of some channels of the result of an image from one on; the kernel as a matrix for each tap. `first`: a value for each channel, or null.
    member z.Correlate
        (padded: Floats, row: int, rows: int, low: int, count: int, kernel: Strided<float32>, first: Floats, block: Floats, image: Floats)
        : unit =
        let w = z.Window
        let kernel = { kernel with Start = NativePtr.add kernel.Start (low * kernel.Row) }
        let first = if NativePtr.isNullPtr first then first else NativePtr.add first low
        let image = NativePtr.add image (low * w.OutHeight * w.OutWidth)
        let length, plane = (rows - 1) * w.Pitch + w.OutWidth, z.Under rows * w.Pitch
        let out = { Start = block; Matrix = 0; Row = Shifts.Block; Column = 1 }
        let mutable at = 0

        while at < length do
            for u in 0 .. w.Rows - 1 do
                let taps = { kernel with Start = NativePtr.add kernel.Start (u * w.Columns * kernel.Matrix) }
                let columns = { Start = NativePtr.add padded (at + u * w.Pitch); Matrix = 1; Row = plane; Column = 1 }

                let onto =
                    if u > 0 then Onto.Result
                    elif NativePtr.isNullPtr first then Onto.Zero
                    else Onto.Rows

                // What is left may fill half a block.
                let wide = if length - at <= Shifts.Block / 2 then Shifts.Block / 2 else Shifts.Block
                Product.blocks onto w.Columns count wide z.From taps columns out first

            let high = min length (at + Shifts.Block)
            let mutable i = at

            while i < high do
                let y, x = i / w.Pitch, i % w.Pitch
                let some = min (w.OutWidth - x) (high - i)

                if some > 0 then
                    let into = NativePtr.add image ((row + y) * w.OutWidth + x)
                    Plane.Move(count, some, NativePtr.add block (i - at), Shifts.Block, into, w.OutHeight * w.OutWidth)

                i <- (y + 1) * w.Pitch

            at <- at + Shifts.Block

    /// What rows of an image add to the gradients of the kernel of some channels that come out, a matrix channels × From for each tap.
    member z.Gather(turned: Floats, row: int, rows: int, low: int, count: int, wide: Floats, gradient: Floats, sums: Floats) : unit =
        let w = z.Window
        let plane = rows * w.Pitch

        for t in 0 .. count - 1 do
            let from = NativePtr.add gradient (((low + t) * w.OutHeight + row) * w.OutWidth)
            Plane.Move(rows, w.OutWidth, from, w.OutWidth, NativePtr.add wide (t * plane), w.Pitch)

        let left = { Start = wide; Matrix = 0; Row = plane; Column = 1 }
        let length = (rows - 1) * w.Pitch + w.OutWidth

        for u in 0 .. w.Rows - 1 do
            for v in 0 .. w.Columns - 1 do
                let right =
                    { Start = NativePtr.add turned ((u * w.Pitch + v) * z.From); Matrix = 0; Row = z.From; Column = 1 }

                let out = NativePtr.add sums ((u * w.Columns + v) * count * z.From)
                let out = { Start = out; Matrix = 0; Row = z.From; Column = 1 }
                Product.blocks Onto.Result 1 count z.From length left right out (NativePtr.ofNativeInt 0n)

/// A convolution of one image, or of few, in float32 as products of matrices: stride and dilation 1, no groups. It reorders nothing but some rows of padded planes at a time.
[<Sealed>]
type internal ShiftedProduct() =
    inherit torch.autograd.SingleTensorFunction<ShiftedProduct>()

    static let nothing: Floats = NativePtr.ofNativeInt 0n

    static let operations (w: PlaneWindow) (images: int) (s: int) (t: int) =
        2.0 * float images * float s * float t * float w.Taps * float w.OutHeight * float w.Pitch

    /// Images by a matrix `taps` for each tap.
    static let correlate (w: PlaneWindow) (into: int) (taps: Strided<float32>) (bias: Tensor | null) (x: Tensor) : Tensor =
        let images, from = int x.shape[0], int x.shape[1]
        let z = { Window = w; From = from; Into = into }
        let y = torch.empty (int64 images, int64 into, int64 w.OutHeight, int64 w.OutWidth)
        let x', y' = Product.start x, Product.start y

        let first =
            match bias with
            | null -> nothing
            | bias -> Product.start bias

        let all = operations w images from into
        let parts = (Team.partsFor all + images - 1) / images
        // Rows of small planes lie too near to each other for several threads.
        let ofChannels = w.OutHeight * w.OutWidth <= Shifts.Small
        let groups = if ofChannels then max 1 (min (parts / 2) (into / Tile.Rows)) else 1
        let rows = z.Rows(if ofChannels then 1 else parts)
        let pieces = (w.OutHeight + rows - 1) / rows

        Team.ranges all (images * groups * pieces) (fun low high ->
            let padded, block = Shifts.Room(from * z.Under rows * w.Pitch), Shifts.Room(into * Shifts.Block)

            for i in low .. high - 1 do
                let image, group, row = i / (groups * pieces), i / pieces % groups, i % pieces * rows
                let rows = min rows (w.OutHeight - row)
                let from' = group * (into / Tile.Rows) / groups * Tile.Rows
                let upTo = (group + 1) * (into / Tile.Rows) / groups * Tile.Rows
                z.Pad(NativePtr.add x' (image * from * w.Height * w.Width), row, rows, padded)
                let into = NativePtr.add y' (image * into * w.OutHeight * w.OutWidth)
                z.Correlate(padded, row, rows, from', upTo - from', taps, first, block, into)

            Shifts.Free padded
            Shifts.Free block)

        GC.KeepAlive x
        GC.KeepAlive bias
        y

    /// A matrix t × s for each tap of a kernel.
    static let matrices (w: PlaneWindow) (kernel: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        Turn.Of(1, t * s, w.Taps, kernel)

    static let convolve (w: PlaneWindow) (kernel: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use taps = matrices w kernel
        let y = correlate w t { Start = Product.start taps; Matrix = t * s; Row = s; Column = 1 } bias x
        GC.KeepAlive taps
        y

    /// The gradient of the images: the taps from the last to the first, the other way.
    static let back (w: PlaneWindow) (kernel: Tensor) (gradient: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use taps = matrices w kernel
        let last = NativePtr.add (Product.start taps) ((w.Taps - 1) * t * s)
        let x = correlate w.Back s { Start = last; Matrix = -t * s; Row = 1; Column = s } null gradient
        GC.KeepAlive taps
        x

    /// The gradient of the kernel.
    static let gather (w: PlaneWindow) (gradient: Tensor) (x: Tensor) : Tensor =
        let images, s, t = int x.shape[0], int x.shape[1], int gradient.shape[1]
        let z = { Window = w; From = s; Into = t }
        let kernel = torch.empty (int64 t, int64 s, int64 w.Rows, int64 w.Columns)
        let x', g', k' = Product.start x, Product.start gradient, Product.start kernel
        let rows, strips = z.Deep, t / Tile.Rows

        Team.ranges (operations w images s t) strips (fun low high ->
            let low, count = low * Tile.Rows, (high - low) * Tile.Rows
            let under = z.Under rows * w.Pitch
            let padded, turned = Shifts.Room(s * under), Shifts.Room(s * under)
            let wide, sums = Shifts.Room(count * rows * w.Pitch), Shifts.Room(w.Taps * count * s)

            for image in 0 .. images - 1 do
                for row in 0..rows .. w.OutHeight - 1 do
                    let some = min rows (w.OutHeight - row)
                    let under = z.Under some * w.Pitch
                    z.Pad(NativePtr.add x' (image * s * w.Height * w.Width), row, some, padded)
                    Turn.One(s, under, padded, under, turned, s)
                    z.Gather(turned, row, some, low, count, wide, NativePtr.add g' (image * t * w.OutHeight * w.OutWidth), sums)

            if w.Taps >= 8 then
                Turn.One(w.Taps, count * s, sums, count * s, NativePtr.add k' (low * s * w.Taps), w.Taps)
            else
                for d in 0 .. w.Taps - 1 do
                    for i in 0 .. count * s - 1 do
                        NativePtr.set k' ((low * s + i) * w.Taps + d) (NativePtr.get sums (d * count * s + i))

            for room in [ padded; turned; wide; sums ] do
                Shifts.Free room)

        GC.KeepAlive gradient
        GC.KeepAlive x
        kernel

    override _.Name = "TensorNets.ShiftedProduct"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let kernel, x = operands[0] :?> Tensor, operands[1] :?> Tensor
        let above, left = unbox<int> operands[2], unbox<int> operands[3]
        let bias = operands |> Array.tryItem 4 |> Option.map (fun bias -> bias :?> Tensor) |> Option.toObj
        context.save_for_backward (List [ kernel; x ])
        context.save_data ("above", above)
        context.save_data ("left", left)
        context.save_data ("bias", not (isNull bias))
        convolve (ShiftedProduct.Window(kernel, x, above, left)) kernel bias x

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let kernel, x = saved[0], saved[1]
        let above, left = unbox<int>(context.get_data "above"), unbox<int>(context.get_data "left")
        let none = Unchecked.defaultof<Tensor>

        let found =
            if torch.is_grad_enabled () then
                // Gradients of gradients: by libtorch's own operations.
                let padding = [| int64 above; int64 left |]
                let ones = [| 1L; 1L |]
                let across (tensor: Tensor) = tensor.transpose (0L, 1L)

                [
                    across (torch.nn.functional.conv2d (across x, across gradient, null, ones, padding, ones))
                    torch.nn.functional.conv_transpose2d (gradient, kernel, null, ones, padding, [| 0L; 0L |], ones)
                ]
            else
                use lying = gradient.contiguous ()
                let w = ShiftedProduct.Window(kernel, x, above, left)

                [
                    if kernel.requires_grad then gather w lying x else none
                    if x.requires_grad then back w kernel lying else none
                ]

        List(
            found
            @ [
                none
                none
                if unbox<bool>(context.get_data "bias") then
                    gradient.sum [| 0L; 2L; 3L |]
            ]
        )

    static member Window(kernel: Tensor, x: Tensor, above: int, left: int) : PlaneWindow =
        let k, size = kernel.shape, x.shape

        {
            Height = int size[2]
            Width = int size[3]
            Rows = int k[2]
            Columns = int k[3]
            Above = above
            Left = left
        }

    /// Whether such channels and sizes are convolved here, were they float32: whole blocks of channels, padding within the kernel, and so little that libtorch, which
    /// reorders kernel and images at every call, was measured to take as long or up to twice as long. Several threads leave it behind on larger planes too.
    static member Fits(images: int64, s: int64, t: int64, w: PlaneWindow) =
        let positions = int64 w.OutHeight * int64 w.OutWidth

        Product.isHere
        && s % 32L = 0L
        && t % 32L = 0L
        && w.Taps > 1
        && w.IsRegular
        // Fewer positions are not transposed by blocks.
        && w.Rows * w.Pitch >= 8
        && images <= 2L
        && (positions <= 800L
            || positions <= 3200L && images = 1L && s * t <= 4096L && torch.get_num_threads () > 1)
        && (s * t <= 9216L || s * t <= 65536L && positions <= 100L)
        && Product.isWorth (operations w (int images) (int s) (int t))

    /// Images by a kernel t × s × rows × columns and a bias or none. For sizes that fit.
    static member Of(above: int, left: int, kernel: Tensor, bias: Tensor | null, x: Tensor) : Tensor =
        let kernel, x = kernel.contiguous (), x.contiguous ()
        let bias = bias |> Option.ofObj |> Option.map _.contiguous() |> Option.toObj

        let records =
            torch.is_grad_enabled ()
            && (kernel.requires_grad
                || x.requires_grad
                || (match bias with
                    | null -> false
                    | bias -> bias.requires_grad))

        if not records then
            convolve (ShiftedProduct.Window(kernel, x, above, left)) kernel bias x
        else
            match bias with
            | null -> ShiftedProduct.apply (kernel, x, above, left)
            | bias -> ShiftedProduct.apply (kernel, x, above, left, bias)
