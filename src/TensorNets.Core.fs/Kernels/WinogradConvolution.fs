namespace TensorNets

#nowarn "9"

open System
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// A convolution of all channels with all by 3×3 in float32, stride and dilation 1, by minimal filtering: 16 of 36 multiplications are
/// left.
[<RequireQualifiedAccess>]
module internal WinogradConvolution =
    /// Channels of the group that one thread takes are a multiple of this.
    let private groupSize = 32

    let private tilesOf (w: ConvWindow) (images: int) (s: int) (t: int) : WinogradTiles =
        { Window = w; Images = images; From = s; Into = t }

    let private operations (z: WinogradTiles) = 2.0 * float z.From * float z.Into * float WinogradTransforms.Numbers * float z.Count

    /// G g Gᵀ of the kernels of pairs of channels, as sixteen matrices. Tap k of matrix i lies at `taps`, from its NextMatrix and
    /// NextColumn on.
    let private filters (taps: Strided<float32>) (matrices: int) (count: int) : Tensor =
        let all = matrices * count
        let filters = Fresh.floats [| int64 WinogradTransforms.Numbers; int64 all |]
        let into = Gemm.floats filters
        let cost = Tuning.measured.TransformOperations * float (WinogradTransforms.Numbers * all)

        ParallelFor.ranges cost matrices (fun low high ->
            for i in low .. high - 1 do
                let taps = taps.From(i * taps.NextMatrix)
                WinogradTransforms.Kernel(count, taps.Start, taps.NextColumn, NativePtr.add into (i * count), all))

        filters

    /// In how many groups threads share the channels that come out.
    let private groupsFor (z: WinogradTiles) (threads: int) = max 1 (min threads ((z.Into + groupSize - 1) / groupSize))

    let private groupOf (channels: int) (groups: int) (group: int) : ChannelGroup =
        let blocks = (channels + groupSize - 1) / groupSize
        let first = group * blocks / groups * groupSize
        { First = first; Count = min channels ((group + 1) * blocks / groups * groupSize) - first }

    /// The sixteen products of two stacks of matrices.
    let private multiply (start: Accumulate) (call: GemmCall<float32>) : unit =
        for i in 0 .. WinogradTransforms.Numbers - 1 do
            Gemm.wholeBlocks start (call.At i)

    let private stack (start: Floats) (next: int) (columns: int) : Strided<float32> = { Gemm.byRows start columns with NextMatrix = next }

    /// Images by filters, sixteen matrices from × into.
    let private correlate (w: ConvWindow) (into: int) (filters: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let images, from = int x.shape[0], int x.shape[1]
        let z = tilesOf w images from into
        let y = Fresh.floats [| int64 images; int64 into; int64 w.OutHeight; int64 w.OutWidth |]
        let x', y', filters' = Gemm.floats x, Gemm.floats y, Gemm.floats filters

        let bias' =
            match bias with
            | null -> Gemm.none
            | bias -> Gemm.floats bias

        let all = operations z

        // Few tiles are shared by channels: rows of small planes lie too near to each other for several threads.
        let groups = if z.Count > Tuning.measured.FewTiles then 1 else groupsFor z (ParallelFor.threadsFor all)

        let parts = z.Parts(z.TileRows, (if groups > 1 then 1 else ParallelFor.partsFor all))

        ParallelFor.ranges all (groups * parts) (fun low high ->
            use tiles = z.TileBuffer from
            use products = z.TileBuffer into
            use workspace = z.Workspace

            for i in low .. high - 1 do
                let group, part = groupOf into groups (i / parts), i % parts
                let rows: TileRows = { Low = part * z.TileRows / parts; High = (part + 1) * z.TileRows / parts }
                z.Input(x', rows, workspace.Start, tiles.Start)

                multiply
                    Accumulate.Zero
                    {
                        M = WinogradTiles.Whole((rows.High - rows.Low) * z.TileColumns)
                        K = from
                        N = group.Count
                        A = stack tiles.Start (z.Next from) from
                        B = stack (NativePtr.add filters' group.First) (from * into) into
                        C = stack products.Start (z.Next group.Count) group.Count
                        RowValues = Gemm.none
                    }

                z.Output(products.Start, rows, group, bias', workspace.Start, y'))

        GC.KeepAlive x
        GC.KeepAlive filters
        GC.KeepAlive bias
        y

    let convolve (w: ConvWindow) (kernel: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use byTaps = Transpose.Of(1, t, s * WinogradTransforms.Taps, kernel)

        let taps =
            {
                Start = Gemm.floats byTaps
                NextMatrix = WinogradTransforms.Taps * t
                NextRow = 0
                NextColumn = t
            }

        use filters = filters taps s t
        GC.KeepAlive byTaps
        correlate w t filters bias x

    /// The gradient of the images: the taps from the last to the first, the channels the other way.
    let back (w: ConvWindow) (kernel: Tensor) (gradient: Tensor) : Tensor =
        let t, s = int kernel.shape[0], int kernel.shape[1]
        use byTaps = Transpose.Of(t, s, WinogradTransforms.Taps, kernel)
        let last = NativePtr.add (Gemm.floats byTaps) ((WinogradTransforms.Taps - 1) * s)
        let taps = { Start = last; NextMatrix = WinogradTransforms.Taps * s; NextRow = 0; NextColumn = -s }
        use filters = filters taps t s
        GC.KeepAlive byTaps
        correlate w.Back s filters null gradient

    /// What some rows of tiles of all images add to sixteen matrices of gradients of the kernel, into × from, of a group of channels.
    let private gatherRows (z: WinogradTiles) (x: Floats) (gradient: Floats) (rows: TileRows) (group: ChannelGroup) (sums: Floats) : unit =
        let s = z.From
        use tiles = z.TileBuffer s
        use gradients = z.TileBuffer group.Count
        use workspace = z.Workspace
        let count = rows.High - rows.Low
        let parts = z.Parts(count, 1)

        for part in 0 .. parts - 1 do
            let rows: TileRows =
                { Low = rows.Low + part * count / parts; High = rows.Low + (part + 1) * count / parts }

            z.Input(x, rows, workspace.Start, tiles.Start)
            z.OutputBack(gradient, rows, group, workspace.Start, gradients.Start)

            multiply
                (if part = 0 then Accumulate.Zero else Accumulate.Result)
                {
                    M = group.Count
                    K = (rows.High - rows.Low) * z.TileColumns
                    N = s
                    A = (stack gradients.Start (z.Next group.Count) group.Count).Transposed
                    B = stack tiles.Start (z.Next s) s
                    C = stack (NativePtr.add sums (group.First * s)) (z.Into * s) s
                    RowValues = Gemm.none
                }

    /// The gradient of the kernel.
    let gather (w: ConvWindow) (gradient: Tensor) (x: Tensor) : Tensor =
        let images, s, t = int x.shape[0], int x.shape[1], int gradient.shape[1]
        let z = tilesOf w images s t
        let kernel = Fresh.floats [| int64 t; int64 s; int64 w.Rows; int64 w.Columns |]
        let x', gradient' = Gemm.floats x, Gemm.floats gradient
        // The same sums whatever threads there are.
        let halves = if z.Count > Tuning.measured.FewTiles then min 2 z.TileRows else 1
        let groups = groupsFor z (ParallelFor.threadsFor (operations z) / halves)
        let size = WinogradTransforms.Numbers * s * t
        use sums = new Scratch<float32>(halves * size)

        ParallelFor.ranges (operations z) (halves * groups) (fun low high ->
            for i in low .. high - 1 do
                let half = i / groups
                let rows: TileRows = { Low = half * z.TileRows / halves; High = (half + 1) * z.TileRows / halves }
                gatherRows z x' gradient' rows (groupOf t groups (i % groups)) (NativePtr.add sums.Start (half * size)))

        for half in 1 .. halves - 1 do
            WinogradTransforms.Add(size, NativePtr.add sums.Start (half * size), sums.Start)

        use taps = new Scratch<float32>(WinogradTransforms.Taps * s * t)
        WinogradTransforms.KernelBack(s * t, sums.Start, s * t, taps.Start, s * t)
        Transpose.Matrix(WinogradTransforms.Taps, s * t, taps.Start, s * t, Gemm.floats kernel, WinogradTransforms.Taps)
        GC.KeepAlive gradient
        GC.KeepAlive x
        kernel

    /// The tiles of images of a size where this pays: kernels of 3×3, channels of whole vectors, and enough tiles for the transform of the
    /// kernel.
    let tiles (images: int64) (s: int64) (t: int64) (w: ConvWindow) : int64 voption =
        let largest =
            images * max (s * int64 w.Height * int64 w.Width) (t * int64 w.OutHeight * int64 w.OutWidth)
            |> max (int64 WinogradTransforms.Numbers * s * t)

        if
            w.Rows = 3
            && w.Columns = 3
            && w.IsRegular
            && s % 16L = 0L
            && t % 16L = 0L
            && largest < int64 Int32.MaxValue
        then
            let z = tilesOf w (int images) (int s) (int t)

            let least =
                if torch.get_num_threads () = 1 then
                    Tuning.measured.LeastTiles
                else
                    Tuning.measured.LeastTilesShared

            if z.Count >= least (s * t) && Gemm.pays (operations z) then ValueSome z.Count else ValueNone
        else
            ValueNone
