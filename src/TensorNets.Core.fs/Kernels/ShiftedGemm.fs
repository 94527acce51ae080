namespace TensorNets

#nowarn "9"

open System
open Microsoft.FSharp.NativeInterop

/// A convolution of all channels with all, some rows of the result at a time. Y[t, i] = Σ_uv Σ_s K[t, s, u, v] X[s, i + u pitch + v], where a row of the result lies as far
/// from the next as one of the padded planes: for each tap one product of matrices, whose columns are positions of the padded planes and start where the tap does. What falls
/// between the rows of the result is dropped.
[<NoEquality; NoComparison>]
type internal Shifts =
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

    /// Cleared, and what the last block reaches behind it.
    static member Room(numbers: int) : Scratch<float32> = Scratch<float32>.Zeros(numbers + 2 * Shifts.Block)

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
