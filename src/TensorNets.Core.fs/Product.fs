namespace TensorNets

#nowarn "9"

open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// Matrices in memory: the first entry and the steps between matrices, rows and columns.
[<Struct; NoEquality; NoComparison>]
type internal Strided = { Start: Floats; Matrix: int; Row: int; Column: int }

/// Products of float32 matrices by blocks that fit the registers, for processors with 512-bit vectors.
/// Measured on one processor of AMD, one thread: 200 to 230 GFLOP/s where libtorch's matrix products reach 90. Other processors were not.
[<RequireQualifiedAccess>]
module internal Product =
    /// So many operations are left to libtorch where it has several threads. Ours run on one: libtorch's others spin for milliseconds after each of its own operations, and
    /// whatever shares a core with them takes longer on two threads than on one (measured: a step of 8 images 18 ms instead of 14).
    let private most = 2.2e7

    /// The entries of a tensor that is contiguous. The caller keeps it alive.
    let start (tensor: Tensor) : Floats = NativePtr.ofVoidPtr (Unsafe.AsPointer(&MemoryMarshal.GetReference tensor.bytes))

    /// Whether so many operations are made here, were they float32.
    let isWorth (operations: float) = operations <= most || torch.get_num_threads () = 1

    /// Whether the processor has what products are made of here.
    let isHere = Vector512.IsHardwareAccelerated

    /// Whether tensors of a dtype on a device are multiplied here.
    let takes (tensor: Tensor) = isHere && tensor.dtype = torch.float32 && tensor.device_type = DeviceType.CPU

    let private from (entries: int) (s: Strided) = { s with Start = NativePtr.add s.Start entries }

    /// Columns are taken in broad panels; at the end a broad one that overlaps the one before, or narrow ones.
    let private panels (n: int) =
        let rest = n % 32

        n / 32
        + (if rest = 0 then 0
           elif rest > 16 && n < 32 then 2
           else 1)

    /// A panel of a product, or of a sum of products of so many pairs.
    let private panel (count: int) (i: int) (m: int) (n: int) (k: int) (a: Strided) (b: Strided) (c: Strided) (first: Floats) : unit =
        let isBroad = i < n / 32 || n % 32 > 16 && n >= 32

        let left =
            if i < n / 32 then 32 * i
            elif isBroad then n - 32
            elif i = panels n - 1 then n - 16
            else 0

        let b, c = from left b, from left c
        let mutable i = 0

        while i < m do
            let top = min i (m - Tile.Rows)
            let first = if NativePtr.isNullPtr first then first else NativePtr.add first top
            let rows = NativePtr.add a.Start (top * a.Row)
            let out = NativePtr.add c.Start (top * c.Row)

            if isBroad then
                Tile.Broad(count, k, rows, a.Matrix, a.Row, a.Column, b.Start, b.Matrix, b.Row, out, c.Row, first)
            else
                Tile.Narrow(count, k, rows, a.Matrix, a.Row, a.Column, b.Start, b.Matrix, b.Row, out, c.Row, first)

            i <- i + Tile.Rows

    let private nothing: Floats = NativePtr.ofNativeInt 0n

    let private run (isSum: bool) (count: int) (m: int) (n: int) (k: int) (a: Strided) (b: Strided) (c: Strided) (first: Floats) : unit =
        let panels = panels n
        let apart, together = if isSum then 1, count else count, 1

        for image in 0 .. apart - 1 do
            for i in 0 .. panels - 1 do
                panel together i m n k (from (image * a.Matrix) a) (from (image * b.Matrix) b) (from (image * c.Matrix) c) first

    /// C = first + A B for each of so many pairs of an m×k and a k×n matrix, m ≥ 8, n ≥ 16; the columns of B and C lie side by side. Blocks at the rims
    /// overlap, and what is computed twice is the same.
    let multiply count m n k a b c first : unit = run false count m n k a b c first

    /// The sum of these products.
    let sum count m n k a b c : unit = run true count m n k a b c nothing

    /// One product.
    let alone m n k a b c : unit =
        for i in 0 .. panels n - 1 do
            panel 1 i m n k a b c nothing
