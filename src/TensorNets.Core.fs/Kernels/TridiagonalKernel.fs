namespace TensorNets

#nowarn "9"

open System
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop

type internal Doubles = nativeptr<float>

/// Loops over float64 memory, eight numbers at a time; lengths are multiples of eight.
[<AbstractClass; Sealed>]
type internal Lanes private () =
    /// Four rows of A −= v wᵀ + w vᵀ, and their products with x. `a`: the first of the rows at the first column, `i`: its number.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Update(length: int, a: Doubles, pitch: int, i: int, v: Doubles, w: Doubles, left: int, x: Doubles, y: Doubles) : unit =
        let inline spread (p: Doubles) k = Vector512.Create(-(NativePtr.get p (i + k)))
        let v0, v1, v2, v3 = spread v 0, spread v 1, spread v 2, spread v 3
        let w0, w1, w2, w3 = spread w 0, spread w 1, spread w 2, spread w 3
        let mutable s0 = Vector512<float>.Zero
        let mutable s1 = Vector512<float>.Zero
        let mutable s2 = Vector512<float>.Zero
        let mutable s3 = Vector512<float>.Zero
        let b, c, d = NativePtr.add a pitch, NativePtr.add a (2 * pitch), NativePtr.add a (3 * pitch)
        let v, w, x = NativePtr.add v left, NativePtr.add w left, NativePtr.add x left
        let mutable j = 0

        while j < length do
            let v = Vector512.Load(NativePtr.add v j)
            let w = Vector512.Load(NativePtr.add w j)
            let x = Vector512.Load(NativePtr.add x j)

            let inline row (p: Doubles) vi wi s =
                let p = NativePtr.add p j
                let next = Vector512.FusedMultiplyAdd(vi, w, Vector512.FusedMultiplyAdd(wi, v, Vector512.Load p))
                Vector512.Store(next, p)
                Vector512.FusedMultiplyAdd(next, x, s)

            s0 <- row a v0 w0 s0
            s1 <- row b v1 w1 s1
            s2 <- row c v2 w2 s2
            s3 <- row d v3 w3 s3
            j <- j + 8

        NativePtr.set y i (Vector512.Sum s0)
        NativePtr.set y (i + 1) (Vector512.Sum s1)
        NativePtr.set y (i + 2) (Vector512.Sum s2)
        NativePtr.set y (i + 3) (Vector512.Sum s3)

    /// into = b + f · other, over so many numbers of any count.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Add(length: int, b: Doubles, f: float, other: Doubles, into: Doubles) : unit =
        let factor = Vector512.Create f
        let mutable j = 0

        while j + 8 <= length do
            let sum =
                Vector512.FusedMultiplyAdd(factor, Vector512.Load(NativePtr.add other j), Vector512.Load(NativePtr.add b j))

            Vector512.Store(sum, NativePtr.add into j)
            j <- j + 8

        while j < length do
            NativePtr.set into j (Math.FusedMultiplyAdd(f, NativePtr.get other j, NativePtr.get b j))
            j <- j + 1

    /// z = z / pivot − l · next, and ⟨z, d + λ z⟩ (or ⟨z, d + λ (y + z)⟩) over so many numbers of any count.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Back(length: int, z: Doubles, pivot: float, l: float, next: Doubles, d: Doubles, lambda: float, y: Doubles) : float =
        let inverse, factor, shift = Vector512.Create(1.0 / pivot), Vector512.Create -l, Vector512.Create lambda
        let isAnchored = not (NativePtr.isNullPtr y)
        let mutable sum = Vector512<float>.Zero
        let mutable j = 0

        while j + 8 <= length do
            let at p = Vector512.Load(NativePtr.add p j)
            let u = Vector512.FusedMultiplyAdd(factor, at next, Vector512.Multiply(at z, inverse))
            let whole = if isAnchored then Vector512.Add(u, at y) else u
            sum <- Vector512.FusedMultiplyAdd(u, Vector512.FusedMultiplyAdd(shift, whole, at d), sum)
            Vector512.Store(u, NativePtr.add z j)
            j <- j + 8

        let mutable total = Vector512.Sum sum

        while j < length do
            let u = NativePtr.get z j / pivot - l * NativePtr.get next j
            let whole = if isAnchored then u + NativePtr.get y j else u
            total <- total + u * (NativePtr.get d j + lambda * whole)
            NativePtr.set z j u
            j <- j + 1

        total
