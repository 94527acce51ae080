namespace TensorNets

#nowarn "9"

open System
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// A convolution of planes by kernels of 3×3 in float32, stride and dilation 1, no groups, by minimal filtering: 16 of 36 multiplications are left.
[<RequireQualifiedAccess>]
module internal WinogradProduct =
    let private nothing: Floats = NativePtr.ofNativeInt 0n

    /// Whether kernels of such channels are made here at all: of 3×3, channels of whole vectors.
    let takes (s: int64) (t: int64) (w: PlaneWindow) = w.Rows = 3 && w.Columns = 3 && s % 16L = 0L && t % 16L = 0L

    let private tilesOf (w: PlaneWindow) (images: int) (s: int) (t: int) = { Window = w; Images = images; From = s; Into = t }

    let private operations (z: Tiles) = 2.0 * float z.From * float z.Into * float Winograd.Numbers * float z.Count

    /// Numbers that are transformed cost as much as so many operations.
    let private transformed = 8.0

    /// G g Gᵀ of kernels whose taps lie at a distance, so many matrices of so many numbers each: sixteen of all, one after the other.
    let private filters (kernels: Tensor) (matrices: int) (count: int) (first: int) (tap: int) : Tensor =
        let all = matrices * count
        let filters = Fresh.floats [| int64 Winograd.Numbers; int64 all |]
        let from, into = NativePtr.add (Product.start kernels) (first * abs tap), Product.start filters

        Team.ranges (transformed * float (Winograd.Numbers * all)) matrices (fun low high ->
            for i in low .. high - 1 do
                Winograd.Kernel(count, NativePtr.add from (i * Winograd.Taps * abs tap), tap, NativePtr.add into (i * count), all))

        GC.KeepAlive kernels
        filters

    /// So few tiles are shared between threads by the channels that come out, more by their rows: each thread then reads kernels of its own, and rows of small planes lie too
    /// near to each other for several threads.
    let private few = 128L

    /// Groups of the channels that come out, for so many threads.
    let private groupsFor (z: Tiles) (threads: int) = max 1 (min threads ((z.Into + 31) / 32))

    /// The first channel of a group, and how many.
    let private channelsOf (into: int) (groups: int) (group: int) =
        let blocks = (into + 31) / 32
        let first = group * blocks / groups * 32
        struct (first, min into ((group + 1) * blocks / groups * 32) - first)

    /// The sixteen products of m × k and k × n matrices, by the distances between them.
    let private multiply onto m n k (a: Strided<float32>) (b: Strided<float32>) (c: Strided<float32>) : unit =
        let at (matrices: Strided<float32>) i = { matrices with Start = NativePtr.add matrices.Start (i * matrices.Matrix) }

        for i in 0 .. Winograd.Numbers - 1 do
            Product.blocks onto 1 m n k (at a i) (at b i) (at c i) nothing

    /// Images by filters, sixteen matrices from × into.
    let private correlate (w: PlaneWindow) (into: int) (filters: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let images, from = int x.shape[0], int x.shape[1]
        let z = tilesOf w images from into
        let y = Fresh.floats [| int64 images; int64 into; int64 w.OutHeight; int64 w.OutWidth |]
        let x', y', u' = Product.start x, Product.start y, Product.start filters

        let first =
            match bias with
            | null -> nothing
            | bias -> Product.start bias

        let all = operations z
        let groups = if z.Count > few then 1 else groupsFor z (Team.threadsFor all)
        let parts = z.Parts(z.Rows, (if groups > 1 then 1 else Team.partsFor all))

        Team.ranges all (groups * parts) (fun low high ->
            use tiles = z.Room from
            use products = z.Room into
            use desk = z.Desk

            for i in low .. high - 1 do
                let group, part = i / parts, i % parts
                let struct (channel, channels) = channelsOf into groups group
                let top, bottom = part * z.Rows / parts, (part + 1) * z.Rows / parts
                z.Input(x', top, bottom, desk.Start, tiles.Start)

                multiply
                    Onto.Zero
                    (Tiles.Whole((bottom - top) * z.Across))
                    channels
                    from
                    { Start = tiles.Start; Matrix = z.Next from; Row = from; Column = 1 }
                    { Start = NativePtr.add u' channel; Matrix = from * into; Row = into; Column = 1 }
                    { Start = products.Start; Matrix = z.Next channels; Row = channels; Column = 1 }

                z.Output(products.Start, top, bottom, channel, channels, first, desk.Start, y'))

        GC.KeepAlive x
        GC.KeepAlive filters
        GC.KeepAlive bias
        y

    let convolve (w: PlaneWindow) (kernel: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use turned = Turn.Of(1, t, s * Winograd.Taps, kernel)
        use filters = filters turned s t 0 t
        correlate w t filters bias x

    /// The gradient of the images: the taps from the last to the first, the other way.
    let back (w: PlaneWindow) (kernel: Tensor) (gradient: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use turned = Turn.Of(t, s, Winograd.Taps, kernel)
        use filters = filters turned t s (Winograd.Taps - 1) -s
        correlate w.Back s filters null gradient

    /// The gradient of the kernel.
    let gather (w: PlaneWindow) (gradient: Tensor) (x: Tensor) : Tensor =
        let images, s, t = int x.shape[0], int x.shape[1], int gradient.shape[1]
        let z = tilesOf w images s t
        let kernel = Fresh.floats [| int64 t; int64 s; int64 w.Rows; int64 w.Columns |]
        let x', g', k' = Product.start x, Product.start gradient, Product.start kernel
        // The same sums whatever threads there are.
        let halves = if z.Count > few then min 2 z.Rows else 1
        let groups = groupsFor z (Team.threadsFor (operations z) / halves)
        let size = Winograd.Numbers * s * t
        use sums = new Scratch<float32>(halves * size)

        let sum i =
            let half, group = i / groups, i % groups
            let struct (channel, channels) = channelsOf t groups group
            use tiles = z.Room s
            use gradients = z.Room channels
            use desk = z.Desk
            let low, rows = half * z.Rows / halves, (half + 1) * z.Rows / halves - half * z.Rows / halves
            let parts = z.Parts(rows, 1)

            for part in 0 .. parts - 1 do
                let top, bottom = low + part * rows / parts, low + (part + 1) * rows / parts
                z.Input(x', top, bottom, desk.Start, tiles.Start)
                z.OutputBack(g', top, bottom, channel, channels, desk.Start, gradients.Start)

                multiply
                    (if part = 0 then Onto.Zero else Onto.Result)
                    channels
                    s
                    ((bottom - top) * z.Across)
                    { Start = gradients.Start; Matrix = z.Next channels; Row = 1; Column = channels }
                    { Start = tiles.Start; Matrix = z.Next s; Row = s; Column = 1 }
                    {
                        Start = NativePtr.add sums.Start (half * size + channel * s)
                        Matrix = t * s
                        Row = s
                        Column = 1
                    }

        Team.ranges (operations z) (halves * groups) (fun low high ->
            for i in low .. high - 1 do
                sum i)

        for half in 1 .. halves - 1 do
            Winograd.Add(size, NativePtr.add sums.Start (half * size), sums.Start)

        use taps = new Scratch<float32>(Winograd.Taps * s * t)
        Winograd.KernelBack(s * t, sums.Start, s * t, taps.Start, s * t)
        Turn.One(Winograd.Taps, s * t, taps.Start, s * t, k', Winograd.Taps)
        GC.KeepAlive gradient
        GC.KeepAlive x
        kernel

    /// So many tiles pay for the transform of a kernel of so many pairs of channels.
    let private least (pairs: int64) =
        if torch.get_num_threads () = 1 then (if pairs <= 65_536L then 1L else 100L)
        elif pairs <= 9_216L then 1L
        elif pairs <= 16_384L then 40L
        else 200L

    /// The tiles of such channels and sizes where they are convolved here: where libtorch was measured to take longer (benchmarks, mode <c>convolutions</c>).
    let tiles (images: int64) (s: int64) (t: int64) (w: PlaneWindow) : int64 voption =
        let largest =
            images * max (s * int64 w.Height * int64 w.Width) (t * int64 w.OutHeight * int64 w.OutWidth)
            |> max (int64 Winograd.Numbers * s * t)

        if takes s t w && largest < int64 Int32.MaxValue then
            let z = tilesOf w (int images) (int s) (int t)
            if z.Count >= least (s * t) && Product.isWorth (operations z) then ValueSome z.Count else ValueNone
        else
            ValueNone
