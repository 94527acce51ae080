namespace TensorNets

#nowarn "9"

open System
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open System.Runtime.Intrinsics.X86
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// A matrix of float32 or float64 by rows and where its transpose goes.
[<Struct; NoEquality; NoComparison>]
type internal Transposition<'T when 'T: unmanaged> =
    {
        Rows: int
        Columns: int
        From: nativeptr<'T>
        /// The distance between rows of the matrix.
        Wide: int
        Into: nativeptr<'T>
        /// The distance between rows of the transpose.
        Out: int
    }

/// Transposes of stacks of float32 or float64 matrices, eight by eight numbers at a time. libtorch's copy writes one row of the result
/// after the other and fetches what it reads for every one of them: 64×3136 numbers take it four times as long.
[<AbstractClass; Sealed>]
type internal Transpose private () =
    /// Eight rows and columns of float32.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    static member private Singles(from: Floats, wide: int, into: Floats, out: int) : unit =
        let inline load i = Vector256.Load(NativePtr.add from (i * wide))
        let inline put i (v: Vector256<float32>) = Vector256.Store(v, NativePtr.add into (i * out))
        let a, b, c, d = load 0, load 1, load 2, load 3
        let e, f, g, h = load 4, load 5, load 6, load 7
        let ab, ab' = Avx.UnpackLow(a, b), Avx.UnpackHigh(a, b)
        let cd, cd' = Avx.UnpackLow(c, d), Avx.UnpackHigh(c, d)
        let ef, ef' = Avx.UnpackLow(e, f), Avx.UnpackHigh(e, f)
        let gh, gh' = Avx.UnpackLow(g, h), Avx.UnpackHigh(g, h)
        let top0, bottom0 = Avx.Shuffle(ab, cd, 0x44uy), Avx.Shuffle(ef, gh, 0x44uy)
        let top1, bottom1 = Avx.Shuffle(ab, cd, 0xEEuy), Avx.Shuffle(ef, gh, 0xEEuy)
        let top2, bottom2 = Avx.Shuffle(ab', cd', 0x44uy), Avx.Shuffle(ef', gh', 0x44uy)
        let top3, bottom3 = Avx.Shuffle(ab', cd', 0xEEuy), Avx.Shuffle(ef', gh', 0xEEuy)
        put 0 (Avx.Permute2x128(top0, bottom0, 0x20uy))
        put 1 (Avx.Permute2x128(top1, bottom1, 0x20uy))
        put 2 (Avx.Permute2x128(top2, bottom2, 0x20uy))
        put 3 (Avx.Permute2x128(top3, bottom3, 0x20uy))
        put 4 (Avx.Permute2x128(top0, bottom0, 0x31uy))
        put 5 (Avx.Permute2x128(top1, bottom1, 0x31uy))
        put 6 (Avx.Permute2x128(top2, bottom2, 0x31uy))
        put 7 (Avx.Permute2x128(top3, bottom3, 0x31uy))

    /// Four rows and columns of float64.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    static member private Doubles(from: nativeptr<float>, wide: int, into: nativeptr<float>, out: int) : unit =
        let inline load i = Vector256.Load(NativePtr.add from (i * wide))
        let inline put i (v: Vector256<float>) = Vector256.Store(v, NativePtr.add into (i * out))
        let a, b, c, d = load 0, load 1, load 2, load 3
        let ab, ab' = Avx.UnpackLow(a, b), Avx.UnpackHigh(a, b)
        let cd, cd' = Avx.UnpackLow(c, d), Avx.UnpackHigh(c, d)
        put 0 (Avx.Permute2x128(ab, cd, 0x20uy))
        put 1 (Avx.Permute2x128(ab', cd', 0x20uy))
        put 2 (Avx.Permute2x128(ab, cd, 0x31uy))
        put 3 (Avx.Permute2x128(ab', cd', 0x31uy))

    /// Eight rows and columns.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    static member private Block<'T when 'T: unmanaged>(from: nativeptr<'T>, wide: int, into: nativeptr<'T>, out: int) : unit =
        if not Avx.IsSupported then
            for i in 0..7 do
                for j in 0..7 do
                    NativePtr.set into (j * out + i) (NativePtr.get from (i * wide + j))
        elif sizeof<'T> = 4 then
            let single (p: nativeptr<'T>) : Floats = NativePtr.ofNativeInt (NativePtr.toNativeInt p)
            Transpose.Singles(single from, wide, single into, out)
        else
            let double (p: nativeptr<'T>) : nativeptr<float> = NativePtr.ofNativeInt (NativePtr.toNativeInt p)
            let from, into = double from, double into

            for i in 0..4..4 do
                for j in 0..4..4 do
                    Transpose.Doubles(NativePtr.add from (i * wide + j), wide, NativePtr.add into (j * out + i), out)

    /// Some rows, from row i on, of a matrix of eight rows and columns at least. Blocks at the rims overlap.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member private Strip<'T when 'T: unmanaged>(i: int, t: Transposition<'T>) : unit =
        let mutable j = 0

        while j < t.Columns do
            let left = min j (t.Columns - 8)

            for top in i..8 .. min (i + Tuning.measured.TransposedRows - 8) (t.Rows - 1) do
                let top = min top (t.Rows - 8)
                Transpose.Block(NativePtr.add t.From (top * t.Wide + left), t.Wide, NativePtr.add t.Into (left * t.Out + top), t.Out)

            j <- j + 8

    /// The transpose of one matrix. One of fewer than eight rows or columns goes number by number.
    static member Matrix<'T when 'T: unmanaged>
        (rows: int, columns: int, from: nativeptr<'T>, wide: int, into: nativeptr<'T>, out: int)
        : unit =
        if rows < 8 || columns < 8 then
            for i in 0 .. rows - 1 do
                for j in 0 .. columns - 1 do
                    NativePtr.set into (j * out + i) (NativePtr.get from (i * wide + j))
        else
            let all = { Rows = rows; Columns = columns; From = from; Wide = wide; Into = into; Out = out }

            for i in 0 .. Tuning.measured.TransposedRows .. rows - 1 do
                Transpose.Strip(i, all)

    static member private Stack<'T when 'T: unmanaged>(count: int, rows: int, columns: int, tensor: Tensor, result: Tensor) : unit =
        let from, into = Gemm.entries<'T> tensor, Gemm.entries<'T> result
        let strips = (rows + Tuning.measured.TransposedRows - 1) / Tuning.measured.TransposedRows

        // A number is moved about as fast as two are multiplied eight times.
        ParallelFor.ranges (8.0 * float count * float rows * float columns) (count * strips) (fun low high ->
            for i in low .. high - 1 do
                let at p = NativePtr.add p (i / strips * rows * columns)

                let matrix =
                    { Rows = rows; Columns = columns; From = at from; Wide = columns; Into = at into; Out = rows }

                Transpose.Strip(i % strips * Tuning.measured.TransposedRows, matrix))

        GC.KeepAlive tensor

    /// The transposes of `count` matrices that lie by rows one after the other, without gradients: a new tensor of matrices × columns ×
    /// rows.
    static member Of(count: int, rows: int, columns: int, tensor: Tensor) : Tensor =
        let result = Fresh.empty tensor.dtype [| int64 count; int64 columns; int64 rows |]

        if rows < 8 || columns < 8 then
            use flat = tensor.view (int64 count, int64 rows, int64 columns)
            use transposed = flat.transpose (1L, 2L)
            result.copy_ transposed |> ignore
        elif tensor.dtype = torch.float32 then
            Transpose.Stack<float32>(count, rows, columns, tensor, result)
        else
            Transpose.Stack<float>(count, rows, columns, tensor, result)

        result
