namespace TensorNets

open System.Runtime.InteropServices
open TorchSharp

/// Decompositions that never throw: where a matrix is not finite, or LAPACK gives up, every entry of what they return is NaN. What reads
/// them is written so that NaN counts as a failure.
[<RequireQualifiedAccess>]
module internal Decompose =
    /// The result, or None where LAPACK gives up: singular matrices, or numbers that are not finite.
    let attempt (run: unit -> 'T) : 'T option =
        try
            Some(run ())
        with :? ExternalException ->
            None

    let private isFinite (matrix: Tensor) = matrix.isfinite().all().truth()

    let private nan (like: Tensor) (shape: int64[]) : Tensor =
        torch.zeros(shape, dtype = like.dtype, device = like.device).mul(Num.like like System.Double.NaN)

    let private rounding (matrix: Tensor) = if matrix.dtype = torch.float64 then 2.2e-16 else 1.2e-7

    let private batch (matrix: Tensor) = matrix.shape[.. int (matrix.dim ()) - 3]

    let private sides (matrix: Tensor) =
        let n = int (matrix.dim ())
        matrix.shape[n - 2], matrix.shape[n - 1]

    /// What divide and conquer does not get through for a matrix it may for one that is a few roundings of the largest entry away.
    let private retried (matrix: Tensor) : Tensor =
        let rows, columns = sides matrix
        let largest = matrix.abs().max()

        let steps =
            torch.linspace (0.0, 4.0 * rounding matrix, max rows columns, dtype = matrix.dtype, device = matrix.device)

        matrix.plus (largest.mul (steps.diag().narrow(0L, 0L, rows).narrow(1L, 0L, columns)))

    /// The decomposition, once more of a matrix changed by roundings, or what stands for none.
    let private guarded (decompose: Tensor -> 'T) (none: unit -> 'T) (matrix: Tensor) : 'T =
        if not (isFinite matrix) then
            none ()
        else
            attempt (fun () -> decompose matrix)
            |> Option.orElseWith (fun () -> attempt (fun () -> decompose (retried matrix)))
            |> Option.defaultWith none

    /// Eigenvalues in rising order and eigenvectors of symmetric matrices.
    let eigh (matrix: Tensor) : struct (Tensor * Tensor) =
        let none () = struct (nan matrix (Array.append (batch matrix) [| snd (sides matrix) |]), nan matrix matrix.shape)

        guarded (fun m -> torch.linalg.eigh m) none matrix

    /// Eigenvalues in rising order.
    let eigvalsh (matrix: Tensor) : Tensor =
        let struct (values, _) =
            guarded
                (fun m -> struct (torch.linalg.eigvalsh m, m))
                (fun () -> struct (nan matrix (Array.append (batch matrix) [| snd (sides matrix) |]), matrix))
                matrix

        values

    /// U, σ in falling order and Vᵀ; `full`: with square U and Vᵀ.
    let svd (full: bool) (matrix: Tensor) : struct (Tensor * Tensor * Tensor) =
        let none () =
            let m, n = sides matrix
            let k = min m n
            let shaped rows columns = nan matrix (Array.append (batch matrix) [| rows; columns |])
            let s = nan matrix (Array.append (batch matrix) [| k |])
            if full then struct (shaped m m, s, shaped n n) else struct (shaped m k, s, shaped k n)

        guarded (fun m -> torch.linalg.svd (m, fullMatrices = full)) none matrix

    /// Singular values in falling order.
    let svdvals (matrix: Tensor) : Tensor =
        let none () =
            let m, n = sides matrix
            nan matrix (Array.append (batch matrix) [| min m n |])

        guarded (fun m -> torch.linalg.svdvals m) none matrix

    /// The pseudo-inverse of symmetric matrices.
    let pinv (matrix: Tensor) : Tensor =
        guarded (fun m -> torch.linalg.pinv (m, hermitian = true)) (fun () -> nan matrix matrix.shape) matrix

    /// The same, without the eigenvalues below a share of the largest.
    let pinvAbove (share: float) (matrix: Tensor) : Tensor =
        guarded (fun m -> torch.linalg.pinv (m, rtol = share, hermitian = true)) (fun () -> nan matrix matrix.shape) matrix

    let private attempted (make: unit -> 'T) (none: unit -> 'T) : 'T = attempt make |> Option.defaultWith none

    /// Q and R, as many columns of Q as the shorter side.
    let qr (matrix: Tensor) : struct (Tensor * Tensor) =
        let none () =
            let m, n = sides matrix
            let shaped rows columns = nan matrix (Array.append (batch matrix) [| rows; columns |])
            struct (shaped m (min m n), shaped (min m n) n)

        attempted (fun () -> torch.linalg.qr matrix) none

    /// Lower triangular L with L Lᵀ the matrix, for each of a batch, and whether each one is positive definite; where one is not, L is of
    /// no use.
    let cholesky (matrix: Tensor) : struct (Tensor * bool) =
        let make () =
            let struct (factor, info) = torch.linalg.cholesky_ex matrix
            use info = info
            use failed = info.count_nonzero ()
            struct (factor, failed.integer () = 0L)

        attempted make (fun () -> struct (nan matrix matrix.shape, false))

    /// The X with A X = B for triangular A.
    let solveTriangular (upper: bool) (a: Tensor) (b: Tensor) : Tensor =
        attempted (fun () -> torch.linalg.solve_triangular (a, b, upper = upper)) (fun () -> nan b b.shape)

    /// The X with L Lᵀ X = B.
    let choleskySolve (factor: Tensor) (b: Tensor) : Tensor = attempted (fun () -> b.cholesky_solve factor) (fun () -> nan b b.shape)

    /// The X with A X = B; NaN where A is singular.
    let solve (a: Tensor) (b: Tensor) : Tensor = attempted (fun () -> torch.linalg.solve (a, b)) (fun () -> nan b b.shape)

    /// How many singular values are above the rounding of the largest; 0 of a matrix that is not finite.
    let rank (matrix: Tensor) : int =
        let rows, columns = sides matrix
        use values = svdvals matrix
        use largest = values.max ()
        use limit = largest.mul (Num.like matrix (rounding matrix * float (max rows columns)))
        use above = values.gt limit
        use count = above.sum ()
        int (count.integer ())
