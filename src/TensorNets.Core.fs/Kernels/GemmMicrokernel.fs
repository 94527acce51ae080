namespace TensorNets

// Pointers into the memory of tensors, which is pinned.
#nowarn "9"

open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop

type internal Floats = nativeptr<float32>

/// What a block of a product starts from.
[<Struct; RequireQualifiedAccess>]
type internal Onto =
    | Zero
    /// A value for each row.
    | Rows
    /// What is there.
    | Result

/// Small blocks of products of matrices, held in registers, of float32 or float64. What they read is not copied first: the matrix library is asked for packing at
/// every call, and on processors of AMD it runs at half the width.
[<AbstractClass; Sealed>]
type internal Tile private () =
    /// Rows of a block.
    static member Rows = 8

    /// x y + z. The dtype is known when this is compiled to machine code: nothing of the choice or of the conversions is left there.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    static member private Add(x: Vector512<'T>, y: Vector512<'T>, z: Vector512<'T>) : Vector512<'T> =
        if sizeof<'T> = 4 then
            Vector512.FusedMultiplyAdd(x.AsSingle(), y.AsSingle(), z.AsSingle()).As<float32, 'T>()
        else
            Vector512.FusedMultiplyAdd(x.AsDouble(), y.AsDouble(), z.AsDouble()).As<float, 'T>()

    /// C = start + Σ A B over so many pairs, for eight rows and the columns of two vectors: A by strides of its rows and columns, B and C by those of their rows.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Broad<'T when 'T: unmanaged>
        (
            count: int,
            k: int,
            a: nativeptr<'T>,
            nextA: int,
            rows: int,
            columns: int,
            b: nativeptr<'T>,
            nextB: int,
            wide: int,
            c: nativeptr<'T>,
            out: int,
            onto: Onto,
            first: nativeptr<'T>
        ) : unit =
        let inline start i half =
            match onto with
            | Onto.Zero -> Vector512<'T>.Zero
            | Onto.Rows -> Vector512.Create(NativePtr.get first i)
            | Onto.Result -> Vector512.Load(NativePtr.add c (i * out + half * Vector512<'T>.Count))

        let inline add x y z = Tile.Add<'T>(x, y, z)
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

        for _ in 1..count do
            for _ in 1..k do
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
                b <- NativePtr.add b wide

            a <- NativePtr.add a (nextA - k * columns)
            a' <- NativePtr.add a' (nextA - k * columns)
            b <- NativePtr.add b (nextB - k * wide)

        let inline put i (l: Vector512<'T>) (r: Vector512<'T>) =
            let c = NativePtr.add c (i * out)
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

    /// The same for one vector of columns.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Narrow<'T when 'T: unmanaged>
        (
            count: int,
            k: int,
            a: nativeptr<'T>,
            nextA: int,
            rows: int,
            columns: int,
            b: nativeptr<'T>,
            nextB: int,
            wide: int,
            c: nativeptr<'T>,
            out: int,
            onto: Onto,
            first: nativeptr<'T>
        ) : unit =
        let inline start i =
            match onto with
            | Onto.Zero -> Vector512<'T>.Zero
            | Onto.Rows -> Vector512.Create(NativePtr.get first i)
            | Onto.Result -> Vector512.Load(NativePtr.add c (i * out))

        let inline add (p: nativeptr<'T>) (i: int) y z = Tile.Add<'T>(Vector512.Create(NativePtr.get p i), y, z)
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

        for _ in 1..count do
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

            a <- NativePtr.add a (nextA - k * columns)
            a' <- NativePtr.add a' (nextA - k * columns)
            b <- NativePtr.add b (nextB - k * wide)

        let inline put i (l: Vector512<'T>) = Vector512.Store(l, NativePtr.add c (i * out))
        put 0 l0
        put 1 l1
        put 2 l2
        put 3 l3
        put 4 l4
        put 5 l5
        put 6 l6
        put 7 l7
