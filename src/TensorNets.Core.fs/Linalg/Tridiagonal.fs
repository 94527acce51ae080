namespace TensorNets

#nowarn "9"

open System
open Microsoft.FSharp.NativeInterop
open TorchSharp

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

    /// The matrix in rows of `pitch` numbers is overwritten. Reflection j is row j of `all`; their τ, the diagonal of T and what stands beside it come back.
    let private reflect (n: int) (pitch: int) (a: Doubles) (all: Doubles) : struct (float[] * float[] * float[]) =
        let taus, diagonal, beside =
            Array.zeroCreate (max 0 (n - 2)), Array.zeroCreate n, Array.zeroCreate (n - 1)

        use zeros = Scratch<float>.Zeros(3 * pitch)
        let w, y = zeros.Start, NativePtr.add zeros.Start pitch
        // Of the step before: what still has to be subtracted from the rows below.
        let mutable v = NativePtr.add zeros.Start (2 * pitch)

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
        use work = Fresh.zeros torch.float64 [| int64 ((n + 3) / 4 * 4); int64 pitch |]
        work.narrow(0L, 0L, int64 n).narrow(1L, 0L, int64 n).copy_(matrix) |> ignore
        use all = Fresh.zeros torch.float64 [| int64 (max 1 (n - 2)); int64 pitch |]
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
