namespace TensorNets

#nowarn "9"

open System
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// A convolution of one image, or of few, in float32 as products of matrices: stride and dilation 1, no groups. It reorders nothing but some rows of padded planes at a time.
[<RequireQualifiedAccess>]
module internal ShiftedProduct =
    let private nothing: Floats = NativePtr.ofNativeInt 0n

    let operations (w: PlaneWindow) (images: int) (s: int) (t: int) =
        2.0 * float images * float s * float t * float w.Taps * float w.OutHeight * float w.Pitch

    /// Images by a matrix `taps` for each tap.
    let private correlate (w: PlaneWindow) (into: int) (taps: Strided<float32>) (bias: Tensor | null) (x: Tensor) : Tensor =
        let images, from = int x.shape[0], int x.shape[1]
        let z = { Window = w; From = from; Into = into }
        let y = Fresh.floats [| int64 images; int64 into; int64 w.OutHeight; int64 w.OutWidth |]
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
            use padded = Shifts.Room(from * z.Under rows * w.Pitch)
            use block = Shifts.Room(into * Shifts.Block)

            for i in low .. high - 1 do
                let image, group, row = i / (groups * pieces), i / pieces % groups, i % pieces * rows
                let rows = min rows (w.OutHeight - row)
                let from' = group * (into / Tile.Rows) / groups * Tile.Rows
                let upTo = (group + 1) * (into / Tile.Rows) / groups * Tile.Rows
                z.Pad(NativePtr.add x' (image * from * w.Height * w.Width), row, rows, padded.Start)
                let into = NativePtr.add y' (image * into * w.OutHeight * w.OutWidth)
                z.Correlate(padded.Start, row, rows, from', upTo - from', taps, first, block.Start, into))

        GC.KeepAlive x
        GC.KeepAlive bias
        y

    /// A matrix t × s for each tap of a kernel.
    let private matrices (w: PlaneWindow) (kernel: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        Turn.Of(1, t * s, w.Taps, kernel)

    let convolve (w: PlaneWindow) (kernel: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use taps = matrices w kernel
        let y = correlate w t { Start = Product.start taps; Matrix = t * s; Row = s; Column = 1 } bias x
        GC.KeepAlive taps
        y

    /// The gradient of the images: the taps from the last to the first, the other way.
    let back (w: PlaneWindow) (kernel: Tensor) (gradient: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use taps = matrices w kernel
        let last = NativePtr.add (Product.start taps) ((w.Taps - 1) * t * s)
        let x = correlate w.Back s { Start = last; Matrix = -t * s; Row = 1; Column = s } null gradient
        GC.KeepAlive taps
        x

    /// The gradient of the kernel.
    let gather (w: PlaneWindow) (gradient: Tensor) (x: Tensor) : Tensor =
        let images, s, t = int x.shape[0], int x.shape[1], int gradient.shape[1]
        let z = { Window = w; From = s; Into = t }
        let kernel = Fresh.floats [| int64 t; int64 s; int64 w.Rows; int64 w.Columns |]
        let x', g', k' = Product.start x, Product.start gradient, Product.start kernel
        let rows, strips = z.Deep, t / Tile.Rows

        Team.ranges (operations w images s t) strips (fun low high ->
            let low, count = low * Tile.Rows, (high - low) * Tile.Rows
            let under = z.Under rows * w.Pitch
            use padded = Shifts.Room(s * under)
            use turned = Shifts.Room(s * under)
            use wide = Shifts.Room(count * rows * w.Pitch)
            use sums = Shifts.Room(w.Taps * count * s)

            for image in 0 .. images - 1 do
                for row in 0..rows .. w.OutHeight - 1 do
                    let some = min rows (w.OutHeight - row)
                    let under = z.Under some * w.Pitch
                    z.Pad(NativePtr.add x' (image * s * w.Height * w.Width), row, some, padded.Start)
                    Turn.One(s, under, padded.Start, under, turned.Start, s)
                    let gradient = NativePtr.add g' (image * t * w.OutHeight * w.OutWidth)
                    z.Gather(turned.Start, row, some, low, count, wide.Start, gradient, sums.Start)

            Turn.One(w.Taps, count * s, sums.Start, count * s, NativePtr.add k' (low * s * w.Taps), w.Taps))

        GC.KeepAlive gradient
        GC.KeepAlive x
        kernel

    /// Whether such channels and sizes are convolved here: whole blocks of channels, and so little that libtorch, which reorders kernel and images at every call, was
    /// measured to take as long or up to twice as long. Several threads leave it behind on larger planes too.
    let fits (images: int64) (s: int64) (t: int64) (w: PlaneWindow) =
        let positions = int64 w.OutHeight * int64 w.OutWidth

        s % 32L = 0L
        && t % 32L = 0L
        && w.Taps > 1
        // Fewer positions are not transposed by blocks.
        && w.Rows * w.Pitch >= 8
        && images <= 2L
        && (positions <= 400L
            || positions <= 3200L && images = 1L && s * t <= 4096L && torch.get_num_threads () > 1)
        && (s * t <= 9216L || s * t <= 65536L && positions <= 100L)
        && Product.isWorth (operations w (int images) (int s) (int t))
