namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// The sizes of a convolution of planes: stride and dilation 1, the same number of zeros before and after.
[<Struct>]
type internal PlaneWindow =
    {
        Height: int
        Width: int
        /// Of the kernel.
        Rows: int
        Columns: int
        Above: int
        Left: int
    }

    /// Of images of a shape, and a kernel.
    static member Of(shape: int64[], rows: int, columns: int, above: int, left: int) : PlaneWindow =
        {
            Height = int shape[2]
            Width = int shape[3]
            Rows = rows
            Columns = columns
            Above = above
            Left = left
        }

    /// The distance between rows of the padded plane.
    member this.Pitch = this.Width + 2 * this.Left
    member this.OutHeight = this.Height + 2 * this.Above - this.Rows + 1
    member this.OutWidth = this.Pitch - this.Columns + 1
    member this.Taps = this.Rows * this.Columns

    /// Whether no zeros lie beyond the kernel, and there is a result.
    member this.IsRegular =
        this.Above >= 0
        && this.Above < this.Rows
        && this.Left >= 0
        && this.Left < this.Columns
        && this.OutHeight >= 1
        && this.OutWidth >= 1

    /// Numbers from the first of the result to its last, where its rows lie as far apart as those of the padded plane.
    member this.Length = (this.OutHeight - 1) * this.Pitch + this.OutWidth

    /// What leads from gradients of the result to those of the plane.
    member this.Back =
        {
            Height = this.OutHeight
            Width = this.OutWidth
            Rows = this.Rows
            Columns = this.Columns
            Above = this.Rows - 1 - this.Above
            Left = this.Columns - 1 - this.Left
        }

/// One plane at a time, in the first cache of a core. A result is computed as one row of all its rows at the pitch of the padded plane: what falls between them is
/// dropped.
[<AbstractClass; Sealed>]
type internal Plane private () =
    /// Vectors of 16 in a step.
    static member Step = 64

    /// Room for a plane at a pitch, cleared, and what the last step reads behind it.
    static member Room(w: PlaneWindow) : Scratch<float32> = Scratch<float32>.Zeros((w.Height + 2 * w.Above + 1) * w.Pitch + 2 * Plane.Step)

    /// Room for a result at the pitch, cleared.
    static member Wide(w: PlaneWindow) : Scratch<float32> = Scratch<float32>.Zeros(w.Length + 2 * Plane.Step)

    /// So many rows from one pitch to another.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Move(rows: int, width: int, from: Floats, pitch: int, into: Floats, out: int) : unit =
        for y in 0 .. rows - 1 do
            let source = Span<float32>(NativePtr.toVoidPtr (NativePtr.add from (y * pitch)), width)
            source.CopyTo(Span<float32>(NativePtr.toVoidPtr (NativePtr.add into (y * out)), width))

    /// out[i] = Σ_uv kernel[u, v] padded[i + u pitch + v]. `turned`: the kernel from its end.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Correlate(w: PlaneWindow, kernel: Floats, turned: bool, padded: Floats, out: Floats) : unit =
        let inline load p (i: int) = Vector512.Load(NativePtr.add p i)
        let first, next = if turned then w.Taps - 1, -1 else 0, 1
        let mutable i = 0

        while i < w.Length do
            let mutable a = Vector512<float32>.Zero
            let mutable b = Vector512<float32>.Zero
            let mutable c = Vector512<float32>.Zero
            let mutable d = Vector512<float32>.Zero
            let mutable tap = NativePtr.add kernel first

            for u in 0 .. w.Rows - 1 do
                let row = NativePtr.add padded (i + u * w.Pitch)

                for v in 0 .. w.Columns - 1 do
                    let k = Vector512.Create(NativePtr.read tap)
                    let p = NativePtr.add row v
                    a <- Vector512.FusedMultiplyAdd(k, load p 0, a)
                    b <- Vector512.FusedMultiplyAdd(k, load p 16, b)
                    c <- Vector512.FusedMultiplyAdd(k, load p 32, c)
                    d <- Vector512.FusedMultiplyAdd(k, load p 48, d)
                    tap <- NativePtr.add tap next

            Vector512.Store(a, NativePtr.add out i)
            Vector512.Store(b, NativePtr.add out (i + 16))
            Vector512.Store(c, NativePtr.add out (i + 32))
            Vector512.Store(d, NativePtr.add out (i + 48))
            i <- i + Plane.Step

    /// kernel[u, v] += Σ_i wide[i] padded[i + u pitch + v].
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Gather(w: PlaneWindow, wide: Floats, padded: Floats, kernel: Floats) : unit =
        let inline load p (i: int) = Vector512.Load(NativePtr.add p i)

        for u in 0 .. w.Rows - 1 do
            for v in 0 .. w.Columns - 1 do
                let p = NativePtr.add padded (u * w.Pitch + v)
                let mutable a = Vector512<float32>.Zero
                let mutable b = Vector512<float32>.Zero
                let mutable c = Vector512<float32>.Zero
                let mutable d = Vector512<float32>.Zero
                let mutable i = 0

                while i < w.Length do
                    a <- Vector512.FusedMultiplyAdd(load wide i, load p i, a)
                    b <- Vector512.FusedMultiplyAdd(load wide (i + 16), load p (i + 16), b)
                    c <- Vector512.FusedMultiplyAdd(load wide (i + 32), load p (i + 32), c)
                    d <- Vector512.FusedMultiplyAdd(load wide (i + 48), load p (i + 48), d)
                    i <- i + Plane.Step

                let at = NativePtr.add kernel (u * w.Columns + v)
                NativePtr.write at (NativePtr.read at + Vector512.Sum((a + b) + (c + d)))

/// A convolution of each channel by a kernel of its own, with its gradients. The engine's takes up to six times as long.
[<Sealed>]
type internal PlaneProduct() =
    inherit torch.autograd.SingleTensorFunction<PlaneProduct>()

    static let operations (w: PlaneWindow) (planes: int64) = 2.0 * float w.Taps * float w.Length * float planes

    /// Every plane by the kernel of its channel; kernels are channels × taps.
    static let correlate (w: PlaneWindow) (turned: bool) (kernels: Tensor) (x: Tensor) : Tensor =
        let images, channels = int x.shape[0], int x.shape[1]
        let y = Fresh.floats [| int64 images; int64 channels; int64 w.OutHeight; int64 w.OutWidth |]
        let k, from, into = Product.start kernels, Product.start x, Product.start y

        let all = images * channels

        Team.ranges (operations w (int64 all)) all (fun low high ->
            use paddedRoom = Plane.Room w
            use wideRoom = Plane.Wide w
            let padded, wide = paddedRoom.Start, wideRoom.Start
            let inside = NativePtr.add padded (w.Above * w.Pitch + w.Left)

            for i in low .. high - 1 do
                Plane.Move(w.Height, w.Width, NativePtr.add from (i * w.Height * w.Width), w.Width, inside, w.Pitch)
                Plane.Correlate(w, NativePtr.add k (i % channels * w.Taps), turned, padded, wide)
                Plane.Move(w.OutHeight, w.OutWidth, wide, w.Pitch, NativePtr.add into (i * w.OutHeight * w.OutWidth), w.OutWidth))

        GC.KeepAlive kernels
        GC.KeepAlive x
        y

    /// The gradients of the kernels.
    static let gather (w: PlaneWindow) (gradient: Tensor) (x: Tensor) : Tensor =
        let images, channels = int x.shape[0], int x.shape[1]
        let sums = Fresh.zeros torch.float32 [| int64 channels; int64 w.Taps |]
        let k, g, from = Product.start sums, Product.start gradient, Product.start x

        Team.ranges (operations w (int64 images * int64 channels)) channels (fun low high ->
            use paddedRoom = Plane.Room w
            use wideRoom = Plane.Wide w
            let padded, wide = paddedRoom.Start, wideRoom.Start
            let inside = NativePtr.add padded (w.Above * w.Pitch + w.Left)

            for channel in low .. high - 1 do
                for image in 0 .. images - 1 do
                    let i = image * channels + channel
                    Plane.Move(w.Height, w.Width, NativePtr.add from (i * w.Height * w.Width), w.Width, inside, w.Pitch)
                    Plane.Move(w.OutHeight, w.OutWidth, NativePtr.add g (i * w.OutHeight * w.OutWidth), w.OutWidth, wide, w.Pitch)
                    Plane.Gather(w, wide, padded, NativePtr.add k (channel * w.Taps)))

        GC.KeepAlive gradient
        GC.KeepAlive x
        sums

    static member private Sizes = [| "rows"; "columns"; "above"; "left" |]

    override _.Name = "TensorNets.PlaneProduct"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let kernels, x = operands[0] :?> Tensor, operands[1] :?> Tensor
        let sizes = operands[2..] |> Array.map unbox<int>
        context.save_for_backward (List [ kernels; x ])
        Array.iter2 (fun name (size: int) -> context.save_data (name, size)) PlaneProduct.Sizes sizes
        correlate (PlaneWindow.Of(x.shape, sizes[0], sizes[1], sizes[2], sizes[3])) false kernels x

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let kernels, x = saved[0], saved[1]
        let sizes = PlaneProduct.Sizes |> Array.map (fun name -> unbox<int>(context.get_data name))
        let w = PlaneWindow.Of(x.shape, sizes[0], sizes[1], sizes[2], sizes[3])
        let none = Unchecked.defaultof<Tensor>

        let found =
            if torch.is_grad_enabled () then
                // Gradients of gradients: by libtorch's own operations.
                let images, channels = x.shape[0], x.shape[1]
                let padding = [| int64 w.Above; int64 w.Left |]
                let weight = kernels.view (channels, 1L, int64 w.Rows, int64 w.Columns)
                let planes (tensor: Tensor) (shape: int64[]) = tensor.reshape (Array.append shape tensor.shape[2..])

                [
                    torch.nn.functional
                        .conv2d(
                            planes x [| 1L; images * channels |],
                            planes gradient [| images * channels; 1L |],
                            null,
                            [| 1L; 1L |],
                            padding,
                            [| 1L; 1L |],
                            images * channels
                        )
                        .view(images, channels, int64 w.Taps)
                        .sum
                        0L
                    torch.nn.functional.conv_transpose2d (
                        gradient,
                        weight,
                        null,
                        [| 1L; 1L |],
                        padding,
                        [| 0L; 0L |],
                        [| 1L; 1L |],
                        channels
                    )
                ]
            else
                use lying = gradient.contiguous ()

                [
                    if kernels.requires_grad then gather w lying x else none
                    if x.requires_grad then correlate w.Back true kernels lying else none
                ]

        List(found @ List.replicate PlaneProduct.Sizes.Length none)

    /// Whether planes of a size are convolved here, were they float32: stride and dilation 1, padding within the kernel.
    static member Fits(images: int64, channels: int64, w: PlaneWindow) =
        Product.isWorth (operations w (images * channels))
        && w.IsRegular
        && images * channels * int64 (w.Height + w.Rows) * int64 (w.Width + w.Columns) < int64 Int32.MaxValue

    /// Channels by kernels of their own, channels × taps, in planes. For sizes that fit.
    static member Of(w: PlaneWindow, kernels: Tensor, images: Tensor) : Tensor =
        let kernels, images = kernels.contiguous (), images.contiguous ()

        if torch.is_grad_enabled () && (kernels.requires_grad || images.requires_grad) then
            PlaneProduct.apply (kernels, images, w.Rows, w.Columns, w.Above, w.Left)
        else
            correlate w false kernels images
