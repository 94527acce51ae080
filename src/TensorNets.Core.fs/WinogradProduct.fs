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

    let tiles (w: PlaneWindow) (images: int64) : int64 = images * int64 ((w.OutHeight + 1) / 2) * int64 ((w.OutWidth + 1) / 2)

    let operations (w: PlaneWindow) (images: int) (s: int) (t: int) =
        2.0 * float s * float t * float Winograd.Numbers * float (tiles w images)

    /// Numbers that are transformed cost as much as so many operations.
    let private transformed = 8.0

    /// G g Gᵀ of kernels whose taps lie at a distance, so many matrices of so many numbers each: sixteen of all, one after the other.
    let private filters (kernels: Tensor) (matrices: int) (count: int) (first: int) (tap: int) : Tensor =
        let all = matrices * count
        let filters = torch.empty (int64 Winograd.Numbers, int64 all)
        let from, into = NativePtr.add (Product.start kernels) (first * abs tap), Product.start filters

        Team.ranges (transformed * float (Winograd.Numbers * all)) matrices (fun low high ->
            for i in low .. high - 1 do
                Winograd.Kernel(count, NativePtr.add from (i * Winograd.Taps * abs tap), tap, NativePtr.add into (i * count), all))

        GC.KeepAlive kernels
        filters

    /// Whether so many tiles are shared between threads by their rows; fewer by the channels that come out: each thread then reads kernels of its own, and rows of small
    /// planes lie too near to each other for several threads.
    let private sharesRows (z: Tiles) = z.All * z.Across > Tiles.Few

    /// Groups of the channels that come out, for so many threads.
    let private groupsFor (z: Tiles) (threads: int) = max 1 (min threads ((z.Into + 31) / 32))

    /// The first channel of a group, and how many.
    let private channelsOf (into: int) (groups: int) (group: int) =
        let blocks = (into + 31) / 32
        let first = group * blocks / groups * 32
        struct (first, min into ((group + 1) * blocks / groups * 32) - first)

    /// Images by filters, sixteen matrices from × into.
    let private correlate (w: PlaneWindow) (into: int) (filters: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let images, from = int x.shape[0], int x.shape[1]
        let z = { Window = w; Images = images; From = from; Into = into }
        let y = torch.empty (int64 images, int64 into, int64 w.OutHeight, int64 w.OutWidth)
        let x', y', u' = Product.start x, Product.start y, Product.start filters

        let first =
            match bias with
            | null -> nothing
            | bias -> Product.start bias

        let all = operations w images from into
        let groups = if sharesRows z then 1 else groupsFor z (Team.threadsFor all)
        let pieces = z.Pieces(if groups > 1 then 1 else Team.partsFor all)

        Team.ranges all (groups * pieces) (fun low high ->
            let next = z.Next from
            let tiles, turned, rim = Tiles.Room(Winograd.Numbers * next), Tiles.Room z.Turned, Tiles.Room z.Rim
            let products = Tiles.Room(Winograd.Numbers * z.Next into)

            for i in low .. high - 1 do
                let group, piece = i / pieces, i % pieces
                let struct (channel, channels) = channelsOf into groups group
                let top, bottom = piece * z.All / pieces, (piece + 1) * z.All / pieces
                let count = Tiles.Whole((bottom - top) * z.Across)
                z.Input(x', top, bottom, turned, rim, tiles)
                let next' = z.Next channels

                for k in 0 .. Winograd.Numbers - 1 do
                    let a = { Start = NativePtr.add tiles (k * next); Matrix = 0; Row = from; Column = 1 }
                    let b = { Start = NativePtr.add u' (k * from * into + channel); Matrix = 0; Row = into; Column = 1 }
                    let c = { Start = NativePtr.add products (k * next'); Matrix = 0; Row = channels; Column = 1 }
                    Product.blocks Onto.Zero 1 count channels from a b c nothing

                z.Output(products, next', top, bottom, channel, channels, first, turned, rim, y')

            for room in [ tiles; turned; rim; products ] do
                Tiles.Free room)

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
        let z = { Window = w; Images = images; From = s; Into = t }
        let kernel = torch.empty (int64 t, int64 s, int64 w.Rows, int64 w.Columns)
        let x', g', k' = Product.start x, Product.start gradient, Product.start kernel
        let threads = Team.threadsFor (operations w images s t)
        // The same sums whatever threads there are.
        let parts = if sharesRows z then min 2 z.All else 1
        let groups = groupsFor z (threads / parts)
        let size = Winograd.Numbers * s * t
        let sums = [| for _ in 1..parts -> Tiles.Room size |]

        let part i =
            let part, group = i / groups, i % groups
            let struct (channel, channels) = channelsOf t groups group
            let tiles, turned, rim = Tiles.Room(Winograd.Numbers * z.Next s), Tiles.Room z.Turned, Tiles.Room z.Rim
            let gradients = Tiles.Room(Winograd.Numbers * z.Next channels)
            let low, high = part * z.All / parts, (part + 1) * z.All / parts
            let pieces = (high - low + z.Together - 1) / z.Together

            for piece in 0 .. pieces - 1 do
                let top, bottom = low + piece * (high - low) / pieces, low + (piece + 1) * (high - low) / pieces
                let count = (bottom - top) * z.Across
                z.Input(x', top, bottom, turned, rim, tiles)
                z.OutputBack(g', top, bottom, channel, channels, turned, rim, gradients)
                let onto = if piece = 0 then Onto.Zero else Onto.Result

                for k in 0 .. Winograd.Numbers - 1 do
                    let a =
                        { Start = NativePtr.add gradients (k * z.Next channels); Matrix = 0; Row = 1; Column = channels }

                    let b = { Start = NativePtr.add tiles (k * z.Next s); Matrix = 0; Row = s; Column = 1 }
                    let c = { Start = NativePtr.add sums[part] ((k * t + channel) * s); Matrix = 0; Row = s; Column = 1 }
                    Product.blocks onto 1 channels s count a b c nothing

            for room in [ tiles; turned; rim; gradients ] do
                Tiles.Free room

        if threads > 1 then
            Team.run (parts * groups) part
        else
            for i in 0 .. parts * groups - 1 do
                part i

        let taps = Tiles.Room(Winograd.Taps * s * t)

        for i in 1 .. parts - 1 do
            Winograd.Add(size, sums[i], sums[0])

        Winograd.KernelBack(s * t, sums[0], s * t, taps, s * t)
        Turn.One(Winograd.Taps, s * t, taps, s * t, k', Winograd.Taps)
        Tiles.Free taps

        for room in sums do
            Tiles.Free room

        GC.KeepAlive gradient
        GC.KeepAlive x
        kernel

    /// So many tiles pay for the transform of a kernel of so many pairs of channels.
    let private least (pairs: int64) =
        if torch.get_num_threads () = 1 then (if pairs <= 65_536L then 1L else 100L)
        elif pairs <= 9_216L then 1L
        elif pairs <= 16_384L then 40L
        else 200L

    /// Whether such channels and sizes are convolved here: where libtorch was measured to take longer (benchmarks, mode <c>convolutions</c>).
    let fits (images: int64) (s: int64) (t: int64) (w: PlaneWindow) =
        let largest =
            images * max (s * int64 w.Height * int64 w.Width) (t * int64 w.OutHeight * int64 w.OutWidth)
            |> max (int64 Winograd.Numbers * s * t)

        takes s t w
        && tiles w images >= least (s * t)
        && largest < int64 Int32.MaxValue
        && Product.isWorth (operations w (int images) (int s) (int t))
