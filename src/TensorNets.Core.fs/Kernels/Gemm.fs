namespace TensorNets

#nowarn "9"

open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// Matrices in memory: the first entry and the steps between matrices, rows and columns.
[<Struct; NoEquality; NoComparison>]
type internal Strided<'T when 'T: unmanaged> = { Start: nativeptr<'T>; Matrix: int; Row: int; Column: int }

/// Products of float32 or float64 matrices by blocks that fit the registers, for processors with 512-bit vectors.
/// Measured on one processor of AMD, one thread: 200 to 230 GFLOP/s in float32 where libtorch's matrix products reach 90. Other processors were not.
[<RequireQualifiedAccess>]
module internal Product =
    /// So many operations are left to libtorch where it has several threads that cannot be had for ours.
    let private most = 2.2e7

    /// The entries of a tensor that is contiguous. The caller keeps it alive.
    let entries<'T when 'T: unmanaged> (tensor: Tensor) : nativeptr<'T> =
        NativePtr.ofVoidPtr (Unsafe.AsPointer(&MemoryMarshal.GetReference tensor.bytes))

    /// The entries of a float32 tensor that is contiguous.
    let start (tensor: Tensor) : Floats = entries tensor

    /// Whether so many operations are made here, were they float32.
    let isWorth (operations: float) = operations <= most || torch.get_num_threads () = 1 || Team.isHere ()

    /// Whether the processor has what products are made of here.
    let isHere = Vector512.IsHardwareAccelerated

    /// Whether tensors of a dtype on a device are multiplied here.
    let takes (tensor: Tensor) = isHere && tensor.dtype = torch.float32 && tensor.device_type = DeviceType.CPU

    /// Whether tensors of a dtype on a device are multiplied here, where both widths are.
    let takesEither (tensor: Tensor) = takes tensor || isHere && tensor.dtype = torch.float64 && tensor.device_type = DeviceType.CPU

    /// The same matrices read transposed.
    let across (s: Strided<'T>) = { s with Row = s.Column; Column = s.Row }

    let private from (entries: int) (s: Strided<'T>) = { s with Start = NativePtr.add s.Start entries }

    /// So many columns and rows are summed over at a time, of so many bytes of A: what a panel of B takes stays in the first cache, a block of A in the second.
    let private depth, private near = 256, 262_144

    /// Panels of columns: of two vectors; at the end one that overlaps the one before, or narrow ones.
    let private panels<'T when 'T: unmanaged> (n: int) =
        let broad = 2 * Vector512<'T>.Count
        let rest = n % broad

        n / broad
        + (if rest = 0 then 0
           elif rest > broad / 2 && n < broad then 2
           else 1)

    /// Strips of rows.
    let private strips (m: int) = (m + Tile.Rows - 1) / Tile.Rows

    /// Some strips of some panels of C = first + A B, or of the sum over so many pairs. What overlaps is computed over all that is summed, last: twice the same.
    let private part<'T when 'T: unmanaged>
        (struct (fromPanel, toPanel))
        (struct (fromStrip, toStrip))
        (count: int)
        (m: int)
        (n: int)
        (k: int)
        (a: Strided<'T>)
        (b: Strided<'T>)
        (c: Strided<'T>)
        (first: nativeptr<'T>)
        : unit =
        let lanes = Vector512<'T>.Count
        let broad = 2 * lanes
        let whole, rest = n / broad, n % broad
        let panels = panels<'T> n
        let start = if NativePtr.isNullPtr first then Onto.Zero else Onto.Rows
        let parts = if count > 1 then 1 else max 1 ((k + depth / 2) / depth)
        let step = (k + parts - 1) / parts
        let height = max 1 (near / (step * sizeof<'T> * Tile.Rows)) * Tile.Rows
        let low, high = fromStrip * Tile.Rows, min m (toStrip * Tile.Rows)

        for part in 0 .. parts - 1 do
            let from, upTo = part * step, min k ((part + 1) * step)
            let mutable block = low

            while block < high do
                let bottom = min high (block + height)

                for panel in fromPanel .. toPanel - 1 do
                    let isBroad = panel < whole || rest > lanes && n >= broad

                    let left =
                        if panel < whole then broad * panel
                        elif isBroad then n - broad
                        elif panel = panels - 1 then n - lanes
                        else 0

                    let overlaps = panel = panels - 1 && rest > 0 && rest <> lanes
                    let mutable row = block

                    while row < bottom do
                        let isRim = overlaps || row + Tile.Rows > m
                        let top = min row (m - Tile.Rows)

                        if not isRim || part = parts - 1 then
                            let from = if isRim then 0 else from
                            let onto = if from = 0 then start else Onto.Result
                            let first = if NativePtr.isNullPtr first then first else NativePtr.add first top
                            let rows = NativePtr.add a.Start (top * a.Row + from * a.Column)
                            let columns = NativePtr.add b.Start (from * b.Row + left)
                            let out = NativePtr.add c.Start (top * c.Row + left)
                            let k = upTo - from

                            if isBroad then
                                Tile.Broad(count, k, rows, a.Matrix, a.Row, a.Column, columns, b.Matrix, b.Row, out, c.Row, onto, first)
                            else
                                Tile.Narrow(count, k, rows, a.Matrix, a.Row, a.Column, columns, b.Matrix, b.Row, out, c.Row, onto, first)

                        row <- row + Tile.Rows

                block <- block + height

    /// A product, or a sum of products of so many pairs, for each of so many images.
    let private run<'T when 'T: unmanaged>
        (images: int)
        (count: int)
        (m: int)
        (n: int)
        (k: int)
        (a: Strided<'T>)
        (b: Strided<'T>)
        (c: Strided<'T>)
        (first: nativeptr<'T>)
        : unit =
        let panels, strips = panels<'T> n, strips m
        let operations = 2.0 * float images * float count * float m * float n * float k
        let wanted = (Team.partsFor operations + images - 1) / images
        // Two strips or panels at least: one that overlaps another is made by whoever made the other.
        let ofRows = strips >= panels
        let slices = max 1 (min wanted ((if ofRows then strips else panels) / 2))

        let slice i =
            let image, i = i / slices, i % slices
            let a, b, c = from (image * a.Matrix) a, from (image * b.Matrix) b, from (image * c.Matrix) c
            let range all = struct (i * all / slices, (i + 1) * all / slices)

            if ofRows then
                part struct (0, panels) (range strips) count m n k a b c first
            else
                part (range panels) struct (0, strips) count m n k a b c first

        Team.ranges operations (images * slices) (fun low high ->
            for i in low .. high - 1 do
                slice i)

    /// C = first + A B for each of so many pairs of an m×k and a k×n matrix, m at least 8, n at least a vector; the columns of B and C lie side by side. `first`: a value
    /// for each row, or null.
    let multiply count m n k (a: Strided<'T>) (b: Strided<'T>) (c: Strided<'T>) (first: nativeptr<'T>) : unit =
        run count 1 m n k a b c first

    /// The sum of these products.
    let sum count m n k (a: Strided<'T>) (b: Strided<'T>) (c: Strided<'T>) : unit = run 1 count m n k a b c (NativePtr.ofNativeInt 0n)

    /// The sum of so many products, or what it adds to C: of whole blocks, m a multiple of 8, n of a vector, on the calling thread.
    let blocks (onto: Onto) count m n k (a: Strided<'T>) (b: Strided<'T>) (c: Strided<'T>) (first: nativeptr<'T>) : unit =
        let broad = 2 * Vector512<'T>.Count

        for column in 0..broad .. n - 1 do
            for row in 0 .. Tile.Rows .. m - Tile.Rows do
                let rows, columns = from (row * a.Row) a, from column b
                let out = NativePtr.add c.Start (row * c.Row + column)
                let first = if NativePtr.isNullPtr first then first else NativePtr.add first row

                if n - column >= broad then
                    Tile.Broad(count, k, rows.Start, a.Matrix, a.Row, a.Column, columns.Start, b.Matrix, b.Row, out, c.Row, onto, first)
                else
                    Tile.Narrow(count, k, rows.Start, a.Matrix, a.Row, a.Column, columns.Start, b.Matrix, b.Row, out, c.Row, onto, first)

    /// One product.
    let alone m n k (a: Strided<'T>) (b: Strided<'T>) (c: Strided<'T>) : unit = run 1 1 m n k a b c (NativePtr.ofNativeInt 0n)
