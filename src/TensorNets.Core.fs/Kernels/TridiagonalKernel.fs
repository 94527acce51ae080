namespace TensorNets

#nowarn "9"

open System
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

type internal Doubles = nativeptr<float>

/// A symmetric matrix on its way to tridiagonal form, by rows of `Pitch` numbers, and vectors beside it.
[<NoEquality; NoComparison>]
type private Reduction =
    {
        N: int
        Pitch: int
        /// Numbers of a row that go by vectors; the others go one by one.
        Vectors: int
        A: Doubles
        /// Reflection j is row j.
        Reflections: Doubles
        W: Doubles
        Y: Doubles
    }

/// A row of a system that is solved from the last row up: what its elimination has left (which the solution overwrites), the solution of
/// the next row, the right-hand side, and the anchor, or null.
[<Struct; NoEquality; NoComparison>]
type private SystemRow = { Length: int; Vectors: int; U: Doubles; Next: Doubles; D: Doubles; Anchor: Doubles }

/// Loops over float64 memory: eight numbers at a time up to `vectors`, then one by one. Vectors of 512 bits run on any processor; those
/// that have none take two halves.
[<AbstractClass; Sealed>]
type private TridiagonalLoops private () =
    /// Four rows of A −= v wᵀ + w vᵀ from row i on, from column `left` on, and their products with x to Y.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Update(r: Reduction, i: int, left: int, v: Doubles, x: Doubles) : unit =
        let inline spread (p: Doubles) k = Vector512.Create(-(NativePtr.get p (i + k)))
        let v0, v1, v2, v3 = spread v 0, spread v 1, spread v 2, spread v 3
        let w0, w1, w2, w3 = spread r.W 0, spread r.W 1, spread r.W 2, spread r.W 3
        let mutable s0 = Vector512<float>.Zero
        let mutable s1 = Vector512<float>.Zero
        let mutable s2 = Vector512<float>.Zero
        let mutable s3 = Vector512<float>.Zero
        let a = NativePtr.add r.A (i * r.Pitch)
        let b, c, d = NativePtr.add a r.Pitch, NativePtr.add a (2 * r.Pitch), NativePtr.add a (3 * r.Pitch)
        let all = r.W
        let mutable j = left

        while j < r.Vectors do
            let v = Vector512.Load(NativePtr.add v j)
            let w = Vector512.Load(NativePtr.add all j)
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

        NativePtr.set r.Y i (Vector512.Sum s0)
        NativePtr.set r.Y (i + 1) (Vector512.Sum s1)
        NativePtr.set r.Y (i + 2) (Vector512.Sum s2)
        NativePtr.set r.Y (i + 3) (Vector512.Sum s3)

        if j < r.Pitch then
            for k in i .. i + 3 do
                let row, vk, wk = NativePtr.add r.A (k * r.Pitch), NativePtr.get v k, NativePtr.get r.W k
                let mutable sum = NativePtr.get r.Y k

                for j in j .. r.Pitch - 1 do
                    let next = NativePtr.get row j - vk * NativePtr.get r.W j - wk * NativePtr.get v j
                    NativePtr.set row j next
                    sum <- sum + next * NativePtr.get x j

                NativePtr.set r.Y k sum

    /// into = b + factor · other.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Add(length: int, vectors: int, b: Doubles, factor: float, other: Doubles, into: Doubles) : unit =
        let factors = Vector512.Create factor
        let mutable j = 0

        while j + 8 <= vectors do
            let sum =
                Vector512.FusedMultiplyAdd(factors, Vector512.Load(NativePtr.add other j), Vector512.Load(NativePtr.add b j))

            Vector512.Store(sum, NativePtr.add into j)
            j <- j + 8

        while j < length do
            NativePtr.set into j (Math.FusedMultiplyAdd(factor, NativePtr.get other j, NativePtr.get b j))
            j <- j + 1

    /// u = u / pivot − factor · next, and ⟨u, d + λ (anchor + u)⟩.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Back(row: SystemRow, pivot: float, factor: float, lambda: float) : float =
        let inverse, factors, shift =
            Vector512.Create(1.0 / pivot), Vector512.Create -factor, Vector512.Create lambda

        let u', next', d', anchor = row.U, row.Next, row.D, row.Anchor
        let isAnchored = not (NativePtr.isNullPtr anchor)
        let mutable sum = Vector512<float>.Zero
        let mutable j = 0

        while j + 8 <= row.Vectors do
            let at p = Vector512.Load(NativePtr.add p j)
            let u = Vector512.FusedMultiplyAdd(factors, at next', Vector512.Multiply(at u', inverse))
            let whole = if isAnchored then Vector512.Add(u, at anchor) else u
            sum <- Vector512.FusedMultiplyAdd(u, Vector512.FusedMultiplyAdd(shift, whole, at d'), sum)
            Vector512.Store(u, NativePtr.add u' j)
            j <- j + 8

        let mutable total = Vector512.Sum sum

        while j < row.Length do
            let u = NativePtr.get u' j / pivot - factor * NativePtr.get next' j
            let whole = if isAnchored then u + NativePtr.get anchor j else u
            total <- total + u * (NativePtr.get d' j + lambda * whole)
            NativePtr.set u' j u
            j <- j + 1

        total

/// The loops of `Tridiagonal`: the reduction of a symmetric matrix, and a system by elimination.
[<RequireQualifiedAccess>]
module internal TridiagonalKernel =
    let private vectorsOf (length: int) = if KernelSwitch.isAllowed () then length else 0

    /// Row i of A after all reflections but those to come; what the last one still subtracts is v wᵀ + w vᵀ.
    let private settle (r: Reduction) (v: Doubles) (i: int) : Doubles =
        let row = NativePtr.add r.A (i * r.Pitch)
        let vi, wi = NativePtr.get v i, NativePtr.get r.W i

        for j in i .. r.N - 1 do
            NativePtr.set row j (NativePtr.get row j - vi * NativePtr.get r.W j - wi * NativePtr.get v j)

        row

    /// The reflection x that leaves of row j, beyond the diagonal, one number: its τ, and that number.
    let private reflection (r: Reduction) (j: int) (row: Doubles) (x: Doubles) : struct (float * float) =
        let mutable below = 0.0

        for i in j + 2 .. r.N - 1 do
            below <- below + NativePtr.get row i * NativePtr.get row i

        let alpha = NativePtr.get row (j + 1)
        NativePtr.set x (j + 1) 1.0

        if below = 0.0 then
            struct (0.0, alpha)
        else
            let beta = -(Math.CopySign(sqrt (alpha * alpha + below), alpha))

            for i in j + 2 .. r.N - 1 do
                NativePtr.set x i (NativePtr.get row i / (alpha - beta))

            struct ((beta - alpha) / beta, beta)

    /// w = τ y − ½ τ² ⟨y, x⟩ x.
    let private weigh (r: Reduction) (j: int) (tau: float) (x: Doubles) : unit =
        let mutable inner = 0.0

        for i in j + 1 .. r.N - 1 do
            inner <- inner + NativePtr.get r.Y i * NativePtr.get x i

        let half = 0.5 * tau * tau * inner

        for i in j + 1 .. r.N - 1 do
            NativePtr.set r.W i (tau * NativePtr.get r.Y i - half * NativePtr.get x i)

    /// T = Qᵀ A Q of a symmetric n×n matrix, which is overwritten: rows filled up to a multiple of four, columns of eight. Reflection j
    /// becomes row j of `reflections`, which come as zeros. Their τ, the diagonal of T and what stands beside it.
    let reduce (n: int) (matrix: Tensor) (reflections: Tensor) : struct (float[] * float[] * float[]) =
        let pitch = int matrix.shape[1]
        use zeros = Scratch<float>.Zeros(3 * pitch)

        let r =
            {
                N = n
                Pitch = pitch
                Vectors = vectorsOf pitch
                A = Gemm.entries matrix
                Reflections = Gemm.entries reflections
                W = zeros.Start
                Y = NativePtr.add zeros.Start pitch
            }

        let taus, diagonal, beside =
            Array.zeroCreate (max 0 (n - 2)), Array.zeroCreate n, Array.zeroCreate (n - 1)

        // The reflection before, at first none.
        let mutable v = NativePtr.add zeros.Start (2 * pitch)

        for j in 0 .. n - 3 do
            let row, x = settle r v j, NativePtr.add r.Reflections (j * pitch)
            diagonal[j] <- NativePtr.get row j
            let struct (tau, number) = reflection r j row x
            taus[j] <- tau
            beside[j] <- number

            // Rows above the first of a group of four and columns left of the first of eight are met too, which nobody reads again.
            let left = (j + 1) / 8 * 8

            for i in (j + 1) / 4 * 4 .. 4 .. n - 1 do
                TridiagonalLoops.Update(r, i, left, v, x)

            weigh r j tau x
            v <- x

        for i in max 0 (n - 2) .. n - 1 do
            let row = settle r v i
            diagonal[i] <- NativePtr.get row i

            if i < n - 1 then
                beside[i] <- NativePtr.get row (i + 1)

        GC.KeepAlive matrix
        GC.KeepAlive reflections
        struct (taus, diagonal, beside)

    /// U with (T + λ) U = D − λ Y, in `into`, and ⟨U, D + λ (Y + U)⟩, from the pivots of T + λ and the factors of its elimination. Y is
    /// zero where it is null.
    let solve (struct (pivots: float[], factors: float[])) (lambda: float) (d: Tensor) (y: Tensor | null) (into: Tensor) : float =
        let n, length = pivots.Length, int d.shape[1]
        let vectors = vectorsOf length
        let d', u: Doubles * Doubles = Gemm.entries d, Gemm.entries into
        let at (p: Doubles) i = NativePtr.add p (i * length)

        let anchorAt: int -> Doubles =
            match y with
            | null -> fun _ -> Gemm.none
            | y ->
                let y' = Gemm.entries y
                at y'

        let add b factor other into = TridiagonalLoops.Add(length, vectors, b, factor, other, into)

        for i in 0 .. n - 1 do
            let anchor = anchorAt i

            let right =
                if NativePtr.isNullPtr anchor then
                    at d' i
                else
                    add (at d' i) -lambda anchor (at u i)
                    at u i

            if i > 0 then add right -factors[i - 1] (at u (i - 1)) (at u i) else add right 0.0 right (at u 0)

        let mutable total = 0.0

        for i in n - 1 .. -1 .. 0 do
            let factor, next = if i = n - 1 then 0.0, i else factors[i], i + 1

            let row =
                {
                    Length = length
                    Vectors = vectors
                    U = at u i
                    Next = at u next
                    D = at d' i
                    Anchor = anchorAt i
                }

            total <- total + TridiagonalLoops.Back(row, pivots[i], factor, lambda)

        GC.KeepAlive d
        GC.KeepAlive y
        GC.KeepAlive into
        total
