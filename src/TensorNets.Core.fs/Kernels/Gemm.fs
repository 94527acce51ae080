namespace TensorNets

#nowarn "9"

open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// C = A B of an m×k and a k×n matrix, or of stacks of them: m at least 8, n at least a vector. The columns of B and C lie side by side.
[<Struct; NoEquality; NoComparison>]
type internal GemmCall<'T when 'T: unmanaged> =
    {
        M: int
        K: int
        N: int
        A: Strided<'T>
        B: Strided<'T>
        C: Strided<'T>
        /// What the rows of C start from, or null: zero.
        RowValues: nativeptr<'T>
    }

    /// The matrices at a place of their stacks.
    member this.At(matrix: int) : GemmCall<'T> =
        {
            M = this.M
            K = this.K
            N = this.N
            A = this.A.From(matrix * this.A.NextMatrix)
            B = this.B.From(matrix * this.B.NextMatrix)
            C = this.C.From(matrix * this.C.NextMatrix)
            RowValues = this.RowValues
        }

/// Places from the first to before the last.
[<Struct>]
type internal Places = { First: int; End: int }

/// Products of float32 or float64 matrices by blocks that fit the registers, for processors with 512-bit vectors. Measured on one thread of
/// the machine of `Tuning`: 200 to 230 GFLOP/s in float32 where libtorch's matrix products reach 90.
[<RequireQualifiedAccess>]
module internal Gemm =
    /// The entries of a tensor that is contiguous. The caller keeps it alive.
    let entries<'T when 'T: unmanaged> (tensor: Tensor) : nativeptr<'T> =
        NativePtr.ofVoidPtr (Unsafe.AsPointer(&MemoryMarshal.GetReference tensor.bytes))

    /// The entries of a float32 tensor that is contiguous.
    let floats (tensor: Tensor) : Floats = entries tensor

    /// No row values.
    let none<'T when 'T: unmanaged> : nativeptr<'T> = NativePtr.ofNativeInt 0n

    /// One matrix by rows of a length.
    let byRows (start: nativeptr<'T>) (length: int) : Strided<'T> = { Start = start; NextMatrix = 0; NextRow = length; NextColumn = 1 }

    /// Whether a number of operations is faster here than by libtorch's threads.
    let pays (operations: float) =
        operations <= Tuning.measured.MostUnshared
        || torch.get_num_threads () = 1
        || ParallelFor.isSupported ()

    /// Panels of columns, of two vectors; at the end one that overlaps the one before, or narrower ones.
    let private panelsOf<'T when 'T: unmanaged> (n: int) =
        let wide = 2 * Vector512<'T>.Count
        let rest = n % wide

        n / wide
        + (if rest = 0 then 0
           elif rest > wide / 2 && n < wide then 2
           else 1)

    /// Strips of eight rows; the last may overlap the one before.
    let private stripsOf (m: int) = (m + GemmMicrokernel.Rows - 1) / GemmMicrokernel.Rows

    /// The first column of a panel, and whether it has two vectors.
    let private columnsOf<'T when 'T: unmanaged> (n: int) (panels: int) (panel: int) : struct (int * bool) =
        let lanes = Vector512<'T>.Count
        let wide = 2 * lanes
        let whole, rest = n / wide, n % wide
        let isWide = panel < whole || rest > lanes && n >= wide

        let left =
            if panel < whole then wide * panel
            elif isWide then n - wide
            elif panel = panels - 1 then n - lanes
            else 0

        struct (left, isWide)

    /// Some panels of some strips of a product, or of the sum of the products of `pairs` matrices. What is summed over is taken in parts,
    /// but where blocks overlap: those are computed over all of it, last, so that numbers computed twice are twice the same.
    let private part<'T when 'T: unmanaged> (pairs: int) (call: GemmCall<'T>) (panelSpan: Places) (stripSpan: Places) : unit =
        let lanes = Vector512<'T>.Count
        let panels, rest = panelsOf<'T> call.N, call.N % (2 * lanes)
        let start = if NativePtr.isNullPtr call.RowValues then Accumulate.Zero else Accumulate.RowValues
        let depth = Tuning.measured.GemmDepth
        let parts = if pairs > 1 then 1 else max 1 ((call.K + depth / 2) / depth)
        let step = (call.K + parts - 1) / parts

        let height =
            max 1 (Tuning.measured.GemmBlockBytes / (step * sizeof<'T> * GemmMicrokernel.Rows))
            * GemmMicrokernel.Rows

        let low, high =
            stripSpan.First * GemmMicrokernel.Rows, min call.M (stripSpan.End * GemmMicrokernel.Rows)

        for part in 0 .. parts - 1 do
            let from, upTo = part * step, min call.K ((part + 1) * step)
            let mutable block = low

            while block < high do
                let bottom = min high (block + height)

                for panel in panelSpan.First .. panelSpan.End - 1 do
                    let struct (left, isWide) = columnsOf<'T> call.N panels panel
                    let overlaps = panel = panels - 1 && rest > 0 && rest <> lanes
                    let mutable row = block

                    while row < bottom do
                        let isRim = overlaps || row + GemmMicrokernel.Rows > call.M
                        let top = min row (call.M - GemmMicrokernel.Rows)

                        if not isRim || part = parts - 1 then
                            let from = if isRim then 0 else from

                            let block: GemmBlock<'T> =
                                {
                                    Pairs = pairs
                                    Depth = upTo - from
                                    A = call.A.From(top * call.A.NextRow + from * call.A.NextColumn)
                                    B = call.B.From(from * call.B.NextRow + left)
                                    C = call.C.From(top * call.C.NextRow + left)
                                    Start = if from = 0 then start else Accumulate.Result
                                    RowValues =
                                        if NativePtr.isNullPtr call.RowValues then call.RowValues else NativePtr.add call.RowValues top
                                }

                            if isWide then GemmMicrokernel.TwoVectors &block else GemmMicrokernel.OneVector &block

                        row <- row + GemmMicrokernel.Rows

                block <- block + height

    /// A product, or a sum of products of `pairs` matrices, for each of `images`, shared between threads by whichever side has more blocks.
    let private run<'T when 'T: unmanaged> (images: int) (pairs: int) (call: GemmCall<'T>) : unit =
        let panels, strips = panelsOf<'T> call.N, stripsOf call.M
        let operations = 2.0 * float images * float pairs * float call.M * float call.N * float call.K
        let wanted = (ParallelFor.partsFor operations + images - 1) / images
        // Two strips or panels at least: one that overlaps another is made by whoever made the other.
        let byRows = strips >= panels
        let slices = max 1 (min wanted ((if byRows then strips else panels) / 2))
        let range i all = { First = i * all / slices; End = (i + 1) * all / slices }
        let whole all = { First = 0; End = all }

        let slice i =
            let call, i = call.At(i / slices), i % slices

            if byRows then
                part pairs call (whole panels) (range i strips)
            else
                part pairs call (range i panels) (whole strips)

        ParallelFor.ranges operations (images * slices) (fun low high ->
            for i in low .. high - 1 do
                slice i)

    /// One product.
    let single (call: GemmCall<'T>) : unit = run 1 1 call

    /// The product of each of `count` pairs.
    let batched (count: int) (call: GemmCall<'T>) : unit = run count 1 call

    /// The sum of the products of `count` pairs.
    let summed (count: int) (call: GemmCall<'T>) : unit = run 1 count call

    /// One product, or what it adds to C, on the calling thread: m a multiple of 8, n of a vector.
    let wholeBlocks (start: Accumulate) (call: GemmCall<'T>) : unit =
        let wide = 2 * Vector512<'T>.Count

        for column in 0..wide .. call.N - 1 do
            for row in 0 .. GemmMicrokernel.Rows .. call.M - GemmMicrokernel.Rows do
                let block: GemmBlock<'T> =
                    {
                        Pairs = 1
                        Depth = call.K
                        A = call.A.From(row * call.A.NextRow)
                        B = call.B.From column
                        C = call.C.From(row * call.C.NextRow + column)
                        Start = start
                        RowValues = none
                    }

                if call.N - column >= wide then
                    GemmMicrokernel.TwoVectors &block
                else
                    GemmMicrokernel.OneVector &block
