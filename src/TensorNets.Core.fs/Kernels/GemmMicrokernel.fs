namespace TensorNets

// Pointers into the memory of tensors, which is pinned.
#nowarn "9"

open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop

type internal Floats = nativeptr<float32>

/// Matrices in memory: the first entry, and the distances between matrices, rows and columns.
[<Struct; NoEquality; NoComparison>]
type internal Strided<'T when 'T: unmanaged> =
    {
        Start: nativeptr<'T>
        NextMatrix: int
        NextRow: int
        NextColumn: int
    }

    member this.From(entries: int) : Strided<'T> =
        {
            Start = NativePtr.add this.Start entries
            NextMatrix = this.NextMatrix
            NextRow = this.NextRow
            NextColumn = this.NextColumn
        }

    member this.Transposed: Strided<'T> =
        {
            Start = this.Start
            NextMatrix = this.NextMatrix
            NextRow = this.NextColumn
            NextColumn = this.NextRow
        }

/// What products are added to.
[<Struct; RequireQualifiedAccess>]
type internal Accumulate =
    | Zero
    /// A value for each row.
    | RowValues
    /// What the result holds.
    | Result

/// A block of C = start + Σ A B over pairs of matrices: eight rows, one or two vectors of columns. The columns of B and C lie side by side.
[<Struct; NoEquality; NoComparison>]
type internal GemmBlock<'T when 'T: unmanaged> =
    {
        Pairs: int
        /// Columns of A that are summed over.
        Depth: int
        A: Strided<'T>
        B: Strided<'T>
        C: Strided<'T>
        Start: Accumulate
        RowValues: nativeptr<'T>
    }

/// Blocks of products of matrices of float32 or float64, held in registers. Operands are read as they lie: libtorch's matrix library packs
/// them at every call, and on processors of AMD it runs at half the width.
[<AbstractClass; Sealed>]
type internal GemmMicrokernel private () =
    /// Rows of a block.
    static member Rows = 8

    /// x y + z. The dtype is known when this is compiled to machine code: nothing of the choice or of the conversions is left there.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    static member private Add(x: Vector512<'T>, y: Vector512<'T>, z: Vector512<'T>) : Vector512<'T> =
        if sizeof<'T> = 4 then
            Vector512.FusedMultiplyAdd(x.AsSingle(), y.AsSingle(), z.AsSingle()).As<float32, 'T>()
        else
            Vector512.FusedMultiplyAdd(x.AsDouble(), y.AsDouble(), z.AsDouble()).As<float, 'T>()

    /// Of the columns of two vectors.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member TwoVectors<'T when 'T: unmanaged>(block: inref<GemmBlock<'T>>) : unit =
        let pairs, depth, accumulate, rowValues = block.Pairs, block.Depth, block.Start, block.RowValues
        let a, nextA, rows, columns = block.A.Start, block.A.NextMatrix, block.A.NextRow, block.A.NextColumn
        let b, nextB, nextRow = block.B.Start, block.B.NextMatrix, block.B.NextRow
        let c, nextOut = block.C.Start, block.C.NextRow

        let inline start i half =
            match accumulate with
            | Accumulate.Zero -> Vector512<'T>.Zero
            | Accumulate.RowValues -> Vector512.Create(NativePtr.get rowValues i)
            | Accumulate.Result -> Vector512.Load(NativePtr.add c (i * nextOut + half * Vector512<'T>.Count))

        let inline add x y z = GemmMicrokernel.Add<'T>(x, y, z)
        let inline spread (p: nativeptr<'T>) (i: int) = Vector512.Create(NativePtr.get p i)
        let mutable a = a
        let mutable a' = NativePtr.add a (4 * rows)
        let mutable b = b
        let twice, thrice = 2 * rows, 3 * rows
        let mutable l0 = start 0 0
        let mutable l1 = start 1 0
        let mutable l2 = start 2 0
        let mutable l3 = start 3 0
        let mutable l4 = start 4 0
        let mutable l5 = start 5 0
        let mutable l6 = start 6 0
        let mutable l7 = start 7 0
        let mutable r0 = start 0 1
        let mutable r1 = start 1 1
        let mutable r2 = start 2 1
        let mutable r3 = start 3 1
        let mutable r4 = start 4 1
        let mutable r5 = start 5 1
        let mutable r6 = start 6 1
        let mutable r7 = start 7 1

        for _ in 1..pairs do
            for _ in 1..depth do
                let l = Vector512.Load b
                let r = Vector512.Load(NativePtr.add b Vector512<'T>.Count)
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
                b <- NativePtr.add b nextRow

            a <- NativePtr.add a (nextA - depth * columns)
            a' <- NativePtr.add a' (nextA - depth * columns)
            b <- NativePtr.add b (nextB - depth * nextRow)

        let inline put i (l: Vector512<'T>) (r: Vector512<'T>) =
            let c = NativePtr.add c (i * nextOut)
            Vector512.Store(l, c)
            Vector512.Store(r, NativePtr.add c Vector512<'T>.Count)

        put 0 l0 r0
        put 1 l1 r1
        put 2 l2 r2
        put 3 l3 r3
        put 4 l4 r4
        put 5 l5 r5
        put 6 l6 r6
        put 7 l7 r7

    /// Of the columns of one vector.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member OneVector<'T when 'T: unmanaged>(block: inref<GemmBlock<'T>>) : unit =
        let pairs, depth, accumulate, rowValues = block.Pairs, block.Depth, block.Start, block.RowValues
        let a, nextA, rows, columns = block.A.Start, block.A.NextMatrix, block.A.NextRow, block.A.NextColumn
        let b, nextB, nextRow = block.B.Start, block.B.NextMatrix, block.B.NextRow
        let c, nextOut = block.C.Start, block.C.NextRow

        let inline start i =
            match accumulate with
            | Accumulate.Zero -> Vector512<'T>.Zero
            | Accumulate.RowValues -> Vector512.Create(NativePtr.get rowValues i)
            | Accumulate.Result -> Vector512.Load(NativePtr.add c (i * nextOut))

        let inline add (p: nativeptr<'T>) (i: int) y z = GemmMicrokernel.Add<'T>(Vector512.Create(NativePtr.get p i), y, z)
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

        for _ in 1..pairs do
            for _ in 1..depth do
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
                b <- NativePtr.add b nextRow

            a <- NativePtr.add a (nextA - depth * columns)
            a' <- NativePtr.add a' (nextA - depth * columns)
            b <- NativePtr.add b (nextB - depth * nextRow)

        let inline put i (l: Vector512<'T>) = Vector512.Store(l, NativePtr.add c (i * nextOut))
        put 0 l0
        put 1 l1
        put 2 l2
        put 3 l3
        put 4 l4
        put 5 l5
        put 6 l6
        put 7 l7
