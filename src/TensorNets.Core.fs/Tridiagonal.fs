namespace TensorNets

#nowarn "9"

open System
open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

type private Doubles = nativeptr<float>

/// Loops over float64 memory, eight numbers at a time; lengths are multiples of eight.
[<AbstractClass; Sealed>]
type private Lanes private () =
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

/// A symmetric matrix as Q T Qᵀ, T tridiagonal and Q a product of reflections H = 1 − τ v vᵀ, in blocks 1 − V R Vᵀ: of several right-hand sides the
/// systems (T + λ) Y = D are solved in time proportional to their size, for as many λ as wanted. A third of what eigenvectors cost.
/// Source: Golub and Van Loan, Matrix Computations, sections 8.3.1 and 5.1.7.
[<NoEquality; NoComparison>]
type internal Tridiagonal =
    {
        Diagonal: float[]
        Beside: float[]
        /// For each block the first index that it acts on, Vᵀ, and R.
        Blocks: (int64 * Tensor * Tensor) list
    }

[<RequireQualifiedAccess>]
module internal Tridiagonal =
    /// Reflections in a block.
    let private together = 32

    let private zeroed (numbers: int) : Doubles =
        NativePtr.ofVoidPtr (NativeMemory.AlignedAlloc(unativeint (8 * numbers), 64un))
        |> fun p ->
            NativeMemory.Clear(NativePtr.toVoidPtr p, unativeint (8 * numbers))
            p

    let private free (p: Doubles) = NativeMemory.AlignedFree(NativePtr.toVoidPtr p)

    /// The matrix in rows of `pitch` numbers is overwritten. Reflection j is row j of `all`; their τ, the diagonal of T and what stands beside it come back.
    let private reflect (n: int) (pitch: int) (a: Doubles) (all: Doubles) : struct (float[] * float[] * float[]) =
        let taus, diagonal, beside =
            Array.zeroCreate (max 0 (n - 2)), Array.zeroCreate n, Array.zeroCreate (n - 1)

        let w, y = zeroed pitch, zeroed pitch
        // Of the step before: what still has to be subtracted from the rows below.
        let mutable v = zeroed pitch
        let none = v

        /// Row i as it is after all steps so far.
        let settle i =
            let row = NativePtr.add a (i * pitch)
            let vi, wi = NativePtr.get v i, NativePtr.get w i

            for j in i .. n - 1 do
                NativePtr.set row j (NativePtr.get row j - vi * NativePtr.get w j - wi * NativePtr.get v j)

            row

        for j in 0 .. n - 3 do
            let row = settle j
            diagonal[j] <- NativePtr.get row j
            // The reflection that leaves of the row beyond the diagonal one number.
            let mutable below = 0.0

            for i in j + 2 .. n - 1 do
                below <- below + NativePtr.get row i * NativePtr.get row i

            let alpha = NativePtr.get row (j + 1)
            let x = NativePtr.add all (j * pitch)

            if below = 0.0 then
                beside[j] <- alpha
                NativePtr.set x (j + 1) 1.0
            else
                let beta = -(Math.CopySign(sqrt (alpha * alpha + below), alpha))
                beside[j] <- beta
                taus[j] <- (beta - alpha) / beta
                NativePtr.set x (j + 1) 1.0

                for i in j + 2 .. n - 1 do
                    NativePtr.set x i (NativePtr.get row i / (alpha - beta))

            // Rows above the first of a group of four and columns left of the first of eight are met too, which nobody reads again.
            let left = (j + 1) / 8 * 8
            let mutable i = (j + 1) / 4 * 4

            while i < n do
                Lanes.Update(pitch - left, NativePtr.add a (i * pitch + left), pitch, i, v, w, left, x, y)
                i <- i + 4

            // w = τ y − ½ τ² ⟨y, v⟩ v.
            let tau = taus[j]
            let mutable inner = 0.0

            for i in j + 1 .. n - 1 do
                inner <- inner + NativePtr.get y i * NativePtr.get x i

            let half = 0.5 * tau * tau * inner

            for i in j + 1 .. n - 1 do
                NativePtr.set w i (tau * NativePtr.get y i - half * NativePtr.get x i)

            v <- x

        for i in max 0 (n - 2) .. n - 1 do
            let row = settle i
            diagonal[i] <- NativePtr.get row i

            if i < n - 1 then
                beside[i] <- NativePtr.get row (i + 1)

        free w
        free y
        free none
        struct (taus, diagonal, beside)

    /// R of the product of reflections 1 − V R Vᵀ, from their τ and VᵀV.
    let private triangle (taus: float[]) (gram: float[]) : float[] =
        let k = taus.Length
        let r = Array.zeroCreate (k * k)

        for j in 0 .. k - 1 do
            r[j * k + j] <- taus[j]

            for i in 0 .. j - 1 do
                let mutable sum = 0.0

                for l in i .. j - 1 do
                    sum <- sum + r[i * k + l] * gram[l * k + j]

                r[i * k + j] <- -taus[j] * sum

        r

    /// Of a symmetric matrix of float64, for processors with what `Product` needs. The caller's scope owns what comes out.
    let reduce (matrix: Tensor) : Tridiagonal =
        use scope = torch.NewDisposeScope()
        let n = int matrix.shape[0]
        let pitch = (n + 7) / 8 * 8
        use work = torch.zeros (int64 ((n + 3) / 4 * 4), int64 pitch, dtype = torch.float64)
        work.narrow(0L, 0L, int64 n).narrow(1L, 0L, int64 n).copy_(matrix) |> ignore
        use all = torch.zeros (int64 (max 1 (n - 2)), int64 pitch, dtype = torch.float64)
        let struct (taus, diagonal, beside) = reflect n pitch (Product.entries work) (Product.entries all)
        GC.KeepAlive work

        let blocks =
            [
                for from in 0..together .. n - 3 do
                    let count = min together (n - 2 - from)

                    let v =
                        all.narrow(0L, int64 from, int64 count).narrow(1L, int64 (from + 1), int64 (n - from - 1)).contiguous()

                    use gram = MatrixProduct.Of(v, v.t ())
                    let entries = Linalg.toArray gram

                    let r =
                        Linalg.ofArray gram [| int64 count; int64 count |] (triangle taus[from .. from + count - 1] entries)

                    int64 (from + 1), scope.MoveToOuter v, scope.MoveToOuter r
            ]

        { Diagonal = diagonal; Beside = beside; Blocks = blocks }

    let private reflected (isBack: bool) (t: Tridiagonal) (x: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let result = x.contiguous().clone()

        for first, v, r in (if isBack then List.rev t.Blocks else t.Blocks) do
            let part = result.narrow (0L, first, v.shape[1])
            let inner = MatrixProduct.Of(v, part)
            part.sub_ (MatrixProduct.Of(v.t (), (if isBack then r else r.t ()).matmul inner)) |> ignore

        scope.MoveToOuter result

    /// Qᵀ X.
    let into (t: Tridiagonal) (x: Tensor) : Tensor = reflected false t x

    /// Q X.
    let back (t: Tridiagonal) (x: Tensor) : Tensor = reflected true t x

    /// The pivots of T + λ and the factors of the elimination.
    let private pivots (t: Tridiagonal) (lambda: float) : struct (float[] * float[]) =
        let n = t.Diagonal.Length
        let pivots, factors = Array.zeroCreate n, Array.zeroCreate (n - 1)
        pivots[0] <- t.Diagonal[0] + lambda

        for i in 1 .. n - 1 do
            factors[i - 1] <- t.Beside[i - 1] / pivots[i - 1]
            pivots[i] <- t.Diagonal[i] + lambda - t.Beside[i - 1] * factors[i - 1]

        struct (pivots, factors)

    /// The ratio of the smallest pivot of T to the largest, 0 where one is not positive.
    let share (t: Tridiagonal) : float =
        let struct (pivots, _) = pivots t 0.0
        if pivots |> Array.forall (fun p -> p > 0.0) then Array.min pivots / Array.max pivots else 0.0

    /// U with (T + λ) U = D − λ Y, in `into`, and ⟨U, D + λ (Y + U)⟩; Y is zero where it is null. All are matrices of as many rows as T, in rows that lie side by side.
    let solve (t: Tridiagonal) (lambda: float) (d: Tensor) (y: Tensor | null) (into: Tensor) : float =
        let n, length = t.Diagonal.Length, int d.shape[1]
        let struct (pivots, factors) = pivots t lambda
        let d', u = Product.entries<float> d, Product.entries<float> into

        let y': Doubles =
            match y with
            | null -> NativePtr.ofNativeInt 0n
            | y -> Product.entries y

        let at (p: Doubles) i = NativePtr.add p (i * length)
        let isAnchored = not (NativePtr.isNullPtr y')

        for i in 0 .. n - 1 do
            if isAnchored then
                Lanes.Add(length, at d' i, -lambda, at y' i, at u i)

                if i > 0 then
                    Lanes.Add(length, at u i, -factors[i - 1], at u (i - 1), at u i)
            elif i > 0 then
                Lanes.Add(length, at d' i, -factors[i - 1], at u (i - 1), at u i)
            else
                Lanes.Add(length, at d' 0, 0.0, at d' 0, at u 0)

        let mutable total = 0.0
        let nothing: Doubles = NativePtr.ofNativeInt 0n

        for i in n - 1 .. -1 .. 0 do
            let factor, at' = if i = n - 1 then 0.0, i else factors[i], i + 1
            let y = if isAnchored then at y' i else nothing
            total <- total + Lanes.Back(length, at u i, pivots[i], factor, at u at', at d' i, lambda, y)

        GC.KeepAlive d
        GC.KeepAlive y
        GC.KeepAlive into
        total
