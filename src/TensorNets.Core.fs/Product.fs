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
    /// So many operations are left to libtorch where it has several threads. Ours run on one: libtorch's others spin for milliseconds after each of its own operations, and
    /// whatever shares a core with them takes longer on two threads than on one (measured: a step of 8 images 18 ms instead of 14).
    let private most = 2.2e7

    /// The entries of a tensor that is contiguous. The caller keeps it alive.
    let entries<'T when 'T: unmanaged> (tensor: Tensor) : nativeptr<'T> =
        NativePtr.ofVoidPtr (Unsafe.AsPointer(&MemoryMarshal.GetReference tensor.bytes))

    /// The entries of a float32 tensor that is contiguous.
    let start (tensor: Tensor) : Floats = entries tensor

    /// Whether so many operations are made here, were they float32.
    let isWorth (operations: float) = operations <= most || torch.get_num_threads () = 1

    /// Whether the processor has what products are made of here.
    let isHere = Vector512.IsHardwareAccelerated

    /// Whether tensors of a dtype on a device are multiplied here.
    let takes (tensor: Tensor) = isHere && tensor.dtype = torch.float32 && tensor.device_type = DeviceType.CPU

    /// Whether tensors of a dtype on a device are multiplied here, where both widths are.
    let takesEither (tensor: Tensor) = takes tensor || isHere && tensor.dtype = torch.float64 && tensor.device_type = DeviceType.CPU

    let private from (entries: int) (s: Strided<'T>) = { s with Start = NativePtr.add s.Start entries }

    /// Pairs of matrices are summed over at most so many columns and rows at a time, of at most so many rows: what a panel of B takes stays in the first cache, what a
    /// block of A takes in the second.
    let private depth, private height = 256, 128

    /// C = first + A B, or the sum over so many pairs. Columns are taken in panels of two vectors; at the end a panel that overlaps the one before, or narrow ones.
    /// What overlaps, there and in the rows, is computed over all that is summed, last: twice the same.
    let private run<'T when 'T: unmanaged>
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

        let panels =
            whole
            + (if rest = 0 then 0
               elif rest > lanes && n < broad then 2
               else 1)

        let start = if NativePtr.isNullPtr first then Onto.Zero else Onto.Rows
        let parts = if count > 1 then 1 else max 1 ((k + depth / 2) / depth)
        let step = (k + parts - 1) / parts

        for part in 0 .. parts - 1 do
            let low, high = part * step, min k ((part + 1) * step)
            let mutable block = 0

            while block < m do
                let bottom = min m (block + height)

                for panel in 0 .. panels - 1 do
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
                            let low = if isRim then 0 else low
                            let onto = if low = 0 then start else Onto.Result
                            let first = if NativePtr.isNullPtr first then first else NativePtr.add first top
                            let rows = NativePtr.add a.Start (top * a.Row + low * a.Column)
                            let columns = NativePtr.add b.Start (low * b.Row + left)
                            let out = NativePtr.add c.Start (top * c.Row + left)
                            let k = high - low

                            if isBroad then
                                Tile.Broad(count, k, rows, a.Matrix, a.Row, a.Column, columns, b.Matrix, b.Row, out, c.Row, onto, first)
                            else
                                Tile.Narrow(count, k, rows, a.Matrix, a.Row, a.Column, columns, b.Matrix, b.Row, out, c.Row, onto, first)

                        row <- row + Tile.Rows

                block <- block + height

    /// C = first + A B for each of so many pairs of an m×k and a k×n matrix, m at least 8, n at least a vector; the columns of B and C lie side by side. `first`: a value
    /// for each row, or null.
    let multiply count m n k (a: Strided<'T>) (b: Strided<'T>) (c: Strided<'T>) (first: nativeptr<'T>) : unit =
        for image in 0 .. count - 1 do
            run 1 m n k (from (image * a.Matrix) a) (from (image * b.Matrix) b) (from (image * c.Matrix) c) first

    /// The sum of these products.
    let sum count m n k (a: Strided<'T>) (b: Strided<'T>) (c: Strided<'T>) : unit = run count m n k a b c (NativePtr.ofNativeInt 0n)

    /// One product.
    let alone m n k (a: Strided<'T>) (b: Strided<'T>) (c: Strided<'T>) : unit = run 1 m n k a b c (NativePtr.ofNativeInt 0n)
