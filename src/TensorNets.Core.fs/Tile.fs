namespace TensorNets

// Pointers into the memory of tensors, which is pinned.
#nowarn "9"

open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open System.Runtime.Intrinsics.X86
open Microsoft.FSharp.NativeInterop

type internal Floats = nativeptr<float32>

type private Wide = Vector512<float32>

/// Small blocks of float32 products of matrices, held in registers. What they read is not copied first: the matrix library is asked for packing at every call,
/// and on processors of AMD it runs at half the width.
[<AbstractClass; Sealed>]
type internal Tile private () =
    /// Rows of a block.
    static member Rows = 8
    /// Rows and columns of a block of dot products.
    static member Side = 4

    /// C = first + A B for eight rows and 32 columns: A by strides of its rows and columns, B and C by those of their rows. `first`: a value for each row, or null.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Broad(k: int, a: Floats, rows: int, columns: int, b: Floats, wide: int, c: Floats, out: int, first: Floats) : unit =
        let inline start i = if NativePtr.isNullPtr first then Wide.Zero else Vector512.Create(NativePtr.get first i)
        let inline add (x: Wide) y z = Vector512.FusedMultiplyAdd(x, y, z)
        let inline spread (p: Floats) (i: int) = Vector512.Create(NativePtr.get p i)
        let mutable a = a
        let mutable a' = NativePtr.add a (4 * rows)
        let mutable b = b
        let twice, thrice = 2 * rows, 3 * rows
        let mutable l0 = start 0
        let mutable l1 = start 1
        let mutable l2 = start 2
        let mutable l3 = start 3
        let mutable l4 = start 4
        let mutable l5 = start 5
        let mutable l6 = start 6
        let mutable l7 = start 7
        let mutable r0, r1, r2, r3 = l0, l1, l2, l3
        let mutable r4, r5, r6, r7 = l4, l5, l6, l7

        for _ in 1..k do
            let l = Vector512.Load b
            let r = Vector512.Load(NativePtr.add b 16)
            let x = spread a 0
            l0 <- add x l l0
            r0 <- add x r r0
            let x = spread a rows
            l1 <- add x l l1
            r1 <- add x r r1
            let x = spread a twice
            l2 <- add x l l2
            r2 <- add x r r2
            let x = spread a thrice
            l3 <- add x l l3
            r3 <- add x r r3
            let x = spread a' 0
            l4 <- add x l l4
            r4 <- add x r r4
            let x = spread a' rows
            l5 <- add x l l5
            r5 <- add x r r5
            let x = spread a' twice
            l6 <- add x l l6
            r6 <- add x r r6
            let x = spread a' thrice
            l7 <- add x l l7
            r7 <- add x r r7
            a <- NativePtr.add a columns
            a' <- NativePtr.add a' columns
            b <- NativePtr.add b wide

        let inline put i (l: Wide) (r: Wide) =
            let c = NativePtr.add c (i * out)
            Vector512.Store(l, c)
            Vector512.Store(r, NativePtr.add c 16)

        put 0 l0 r0
        put 1 l1 r1
        put 2 l2 r2
        put 3 l3 r3
        put 4 l4 r4
        put 5 l5 r5
        put 6 l6 r6
        put 7 l7 r7

    /// The same for 16 columns.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Narrow(k: int, a: Floats, rows: int, columns: int, b: Floats, wide: int, c: Floats, out: int, first: Floats) : unit =
        let inline start i = if NativePtr.isNullPtr first then Wide.Zero else Vector512.Create(NativePtr.get first i)
        let inline add (p: Floats) (i: int) (y: Wide) z = Vector512.FusedMultiplyAdd(Vector512.Create(NativePtr.get p i), y, z)
        let mutable a = a
        let mutable a' = NativePtr.add a (4 * rows)
        let mutable b = b
        let twice, thrice = 2 * rows, 3 * rows
        let mutable l0 = start 0
        let mutable l1 = start 1
        let mutable l2 = start 2
        let mutable l3 = start 3
        let mutable l4 = start 4
        let mutable l5 = start 5
        let mutable l6 = start 6
        let mutable l7 = start 7

        for _ in 1..k do
            let l = Vector512.Load b
            l0 <- add a 0 l l0
            l1 <- add a rows l l1
            l2 <- add a twice l l2
            l3 <- add a thrice l l3
            l4 <- add a' 0 l l4
            l5 <- add a' rows l l5
            l6 <- add a' twice l l6
            l7 <- add a' thrice l l7
            a <- NativePtr.add a columns
            a' <- NativePtr.add a' columns
            b <- NativePtr.add b wide

        let inline put i (l: Wide) = Vector512.Store(l, NativePtr.add c (i * out))
        put 0 l0
        put 1 l1
        put 2 l2
        put 3 l3
        put 4 l4
        put 5 l5
        put 6 l6
        put 7 l7

    /// C += Σ A Bᵀ over pairs of matrices, for four rows of A and four of B with k ≥ 16 entries side by side; of C only what lies beyond the first `skipRows`
    /// and `skipColumns`.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Dots
        (count: int, k: int, a: Floats, nextA: int, rows: int, b: Floats, nextB: int, wide: int, c: Floats, out: int, skipRows: int, skipColumns: int)
        : unit =
        let inline add (x: Wide) y z = Vector512.FusedMultiplyAdd(x, y, z)
        let inline load (p: Floats) (i: int) mask = Vector512.BitwiseAnd(Vector512.Load(NativePtr.add p i), mask)
        let mutable c00, c01, c02, c03 = Wide.Zero, Wide.Zero, Wide.Zero, Wide.Zero
        let mutable c10, c11, c12, c13 = Wide.Zero, Wide.Zero, Wide.Zero, Wide.Zero
        let mutable c20, c21, c22, c23 = Wide.Zero, Wide.Zero, Wide.Zero, Wide.Zero
        let mutable c30, c31, c32, c33 = Wide.Zero, Wide.Zero, Wide.Zero, Wide.Zero
        let whole = Vector512.Create -1
        let mutable a = a
        let mutable b = b

        for _ in 1..count do
            let mutable at = 0
            // The last step may go back over entries that were taken: those count as zero then.
            let mutable fresh = whole

            while at < k do
                if at + 16 > k then
                    let taken = at + 16 - k
                    at <- k - 16
                    fresh <- Vector512.GreaterThanOrEqual(Vector512<int>.Indices, Vector512.Create taken)

                let mask = fresh.AsSingle()
                let b0 = load b at mask
                let b1 = load b (at + wide) mask
                let b2 = load b (at + 2 * wide) mask
                let b3 = load b (at + 3 * wide) mask
                let x = load a at mask
                c00 <- add x b0 c00
                c01 <- add x b1 c01
                c02 <- add x b2 c02
                c03 <- add x b3 c03
                let x = load a (at + rows) mask
                c10 <- add x b0 c10
                c11 <- add x b1 c11
                c12 <- add x b2 c12
                c13 <- add x b3 c13
                let x = load a (at + 2 * rows) mask
                c20 <- add x b0 c20
                c21 <- add x b1 c21
                c22 <- add x b2 c22
                c23 <- add x b3 c23
                let x = load a (at + 3 * rows) mask
                c30 <- add x b0 c30
                c31 <- add x b1 c31
                c32 <- add x b2 c32
                c33 <- add x b3 c33
                at <- at + 16

            a <- NativePtr.add a nextA
            b <- NativePtr.add b nextB

        let inline half (v: Wide) = v.GetLower() + v.GetUpper()

        /// The sums of four vectors side by side.
        let inline sums (w: Wide) (x: Wide) (y: Wide) (z: Wide) =
            let all = Avx.HorizontalAdd(Avx.HorizontalAdd(half w, half x), Avx.HorizontalAdd(half y, half z))
            all.GetLower() + all.GetUpper()

        let inline put i (v: Vector128<float32>) =
            if i >= skipRows then
                let c = NativePtr.add c (i * out)

                if skipColumns = 0 then
                    Vector128.Store(Vector128.Load c + v, c)
                else
                    for j in skipColumns .. 3 do
                        NativePtr.set c j (NativePtr.get c j + v.GetElement j)

        put 0 (sums c00 c01 c02 c03)
        put 1 (sums c10 c11 c12 c13)
        put 2 (sums c20 c21 c22 c23)
        put 3 (sums c30 c31 c32 c33)
