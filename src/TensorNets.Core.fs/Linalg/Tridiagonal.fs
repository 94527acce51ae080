namespace TensorNets

open TorchSharp

/// A symmetric matrix as Q T Qᵀ, T tridiagonal and Q a product of reflections H = 1 − τ v vᵀ, in blocks 1 − V R Vᵀ: of several right-hand
/// sides the systems (T + λ) Y = D are solved in time proportional to their size, for as many λ as wanted. A third of what eigenvectors
/// cost. Source: Golub and Van Loan, Matrix Computations, sections 8.3.1 and 5.1.7.
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

    /// Of a symmetric matrix of float64 on the CPU. The caller's scope owns what comes out.
    let reduce (matrix: Tensor) : Tridiagonal =
        use scope = torch.NewDisposeScope()
        let n = int matrix.shape[0]
        let pitch = (n + 7) / 8 * 8
        use work = Fresh.zeros torch.float64 [| int64 ((n + 3) / 4 * 4); int64 pitch |]
        work.narrow(0L, 0L, int64 n).narrow(1L, 0L, int64 n).copy_(matrix) |> ignore
        use all = Fresh.zeros torch.float64 [| int64 (max 1 (n - 2)); int64 pitch |]
        let struct (taus, diagonal, beside) = Kernels.reduceToTridiagonal n work all

        let blocks =
            [
                for from in 0..together .. n - 3 do
                    let count = min together (n - 2 - from)

                    let v =
                        all.narrow(0L, int64 from, int64 count).narrow(1L, int64 (from + 1), int64 (n - from - 1)).contiguous()

                    use gram = Kernels.matmul (v, v.t ())
                    let entries = ConstrainedQuadratics.toArray gram

                    let r =
                        ConstrainedQuadratics.ofArray gram [| int64 count; int64 count |] (triangle taus[from .. from + count - 1] entries)

                    int64 (from + 1), scope.MoveToOuter v, scope.MoveToOuter r
            ]

        { Diagonal = diagonal; Beside = beside; Blocks = blocks }

    let private reflected (isBack: bool) (t: Tridiagonal) (x: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let result = x.contiguous().clone()

        for first, v, r in (if isBack then List.rev t.Blocks else t.Blocks) do
            let part = result.narrow (0L, first, v.shape[1])
            let inner = Kernels.matmul (v, part)
            part.sub_ (Kernels.matmul (v.t (), (if isBack then r else r.t ()).matmul inner)) |> ignore

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

    /// U with (T + λ) U = D − λ Y, in `into`, and ⟨U, D + λ (Y + U)⟩; Y is zero where it is null. All are matrices of as many rows as T, in
    /// rows that lie side by side.
    let solve (t: Tridiagonal) (lambda: float) (d: Tensor) (y: Tensor | null) (into: Tensor) : float =
        Kernels.solveTridiagonal (pivots t lambda) lambda d y into
