namespace TensorNets

open System.Runtime.InteropServices
open TorchSharp

/// Decompositions that never throw: where a matrix is not finite, or LAPACK gives up, every entry of what they return is NaN. What reads
/// them is written so that NaN counts as a failure.
[<RequireQualifiedAccess>]
module internal Decompose =
    let private isFinite (matrix: Tensor) = matrix.isfinite().all().truth()

    let private nan (like: Tensor) (shape: int64[]) : Tensor =
        torch.zeros(shape, dtype = like.dtype, device = like.device).mul(Num.like like System.Double.NaN)

    let private batch (matrix: Tensor) = matrix.shape[.. int (matrix.dim ()) - 3]

    let private sides (matrix: Tensor) =
        let n = int (matrix.dim ())
        matrix.shape[n - 2], matrix.shape[n - 1]

    /// What divide and conquer does not get through for a matrix it may for one that is a few roundings of the largest entry away.
    let private retried (matrix: Tensor) : Tensor =
        let rows, columns = sides matrix
        let largest = matrix.abs().max()
        let rounding = if matrix.dtype = torch.float64 then 2.2e-16 else 1.2e-7

        let steps =
            torch.linspace (0.0, 4.0 * rounding, max rows columns, dtype = matrix.dtype, device = matrix.device)

        matrix.plus (largest.mul (steps.diag().narrow(0L, 0L, rows).narrow(1L, 0L, columns)))

    /// The decomposition, once more of a matrix changed by roundings, or what stands for none.
    let private guarded (decompose: Tensor -> 'T) (none: unit -> 'T) (matrix: Tensor) : 'T =
        if not (isFinite matrix) then
            none ()
        else
            try
                decompose matrix
            with :? ExternalException ->
                try
                    decompose (retried matrix)
                with :? ExternalException ->
                    none ()

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
