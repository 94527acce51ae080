namespace TensorNets

open TorchSharp

/// <summary>The norm in which the distance of a tensor from a network is measured, and with it the sensitivity.</summary>
[<RequireQualifiedAccess>]
type Norm =
    /// ‖K − T‖_F.
    | Frobenius
    /// <summary>‖(K − T) × Σ^½‖_F, data-aware: Σ is the covariance of what the tensor is applied to.</summary>
    /// <remarks>Σ is n × n, symmetric and positive semidefinite, over the modes listed (of the target, counted from 0; [0] for the input
    /// channels of a kernel), n the product of their dimensions, the last mode fastest. Where Σ is the mean of x xᵀ over inputs x of a
    /// linear layer, this is the root mean square of the change of its output. Directions in which Σ vanishes cost nothing: there T is of
    /// least norm. Add a share of the identity (<c>Norm.shrunk</c>) where inputs beyond those that Σ has seen are to count. Source: arXiv
    /// 2511.04494.</remarks>
    | Weighted of modes: int list * covariance: torch.Tensor

/// Norms and their covariances.
[<RequireQualifiedAccess>]
module Norm =
    /// Eigenvalues of Σ below this share of the largest are zero up to rounding: of the double in which they are computed, or of a Σ in
    /// float32.
    let internal nullShare (covariance: Tensor) = if covariance.dtype = torch.float64 then 1e-12 else 1e-6

    let private whole what (covariance: Tensor) =
        match Check.readable what covariance with
        | [] when covariance.dim () <> 2L || covariance.shape[0] <> covariance.shape[1] ->
            [ TensorNetError.Shape(what, Check.shapeOf covariance, "a square matrix") ]
        | [] -> Check.target what covariance
        | errors -> errors

    /// The eigenvalues of Σ in float64 in rising order, in units of a power of four that makes them about one, its eigenvectors, and the
    /// power of two whose square that is; or what is wrong with it.
    let internal eigen (covariance: Tensor) : Result<Tensor * Tensor * int, TensorNetError list> =
        let what = "The covariance"

        match whole what covariance with
        | [] ->
            use scope = torch.NewDisposeScope()
            let given = Check.double covariance
            let half = System.Math.ILogB(given.abs().max().number()) >>> 1
            let sigma = Num.shifted (-2 * half) given
            let scale = sigma.abs().max().number()
            let outside (x: float) = System.Math.ScaleB(x, 2 * half)
            let share = nullShare covariance
            let skew = sigma.minus(sigma.mT).abs().max().number()

            if skew > share * scale then
                Error
                    [
                        TensorNetError.NotCovariance($"entries that differ from their mirror images by up to {outside skew:G3}")
                    ]
            else
                let struct (values, vectors) = Decompose.eigh (sigma.plus(sigma.mT).mul(Num.tensor 0.5))
                let least = values.min().number()

                if not (System.Double.IsFinite least) then
                    Error [ TensorNetError.NotCovariance "eigenvalues that cannot be computed" ]
                elif least < -share * scale * float sigma.shape[0] then
                    Error [ TensorNetError.NotCovariance($"the negative eigenvalue {outside least:G3}") ]
                else
                    Ok(scope.MoveToOuter values, scope.MoveToOuter vectors, half)
        | errors -> Error errors

    /// <summary>Σ pulled towards a multiple of the identity: (1 − ρ) Σ + ρ (tr Σ / n) I.</summary>
    /// <remarks>The trace stays. With ρ = 1 the weighted norm is the Frobenius norm up to a factor. Returned in the dtype of Σ. Errors:
    /// those of a covariance; ρ outside 0 … 1. Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    /// matrices", J. Multivariate Anal. 88, 2004.</remarks>
    /// <param name="share">ρ, 0 ≤ ρ ≤ 1.</param>
    /// <param name="covariance">Σ, n × n.</param>
    /// <example><code>Norm.shrunk 0.1 (matrix.matmul matrix.mT) |> orStop</code></example>
    let shrunk (share: float) (covariance: Tensor) : Result<Tensor, TensorNetError list> =
        use _ = Mode.left ()
        use scope = torch.NewDisposeScope()

        if not (share >= 0.0 && share <= 1.0) then
            Error [ TensorNetError.Unsupported("The share of the identity", string share, "0 to 1") ]
        else
            eigen covariance
            |> Result.map (fun _ ->
                let sigma = Check.double covariance
                let n = sigma.shape[0]
                let mean = sigma.diagonal().sum().mul(Num.tensor (share / float n))
                let eye = torch.eye (n, dtype = sigma.dtype, device = sigma.device)

                sigma.mul(Num.tensor (1.0 - share)).plus(eye.mul mean).``to``(covariance.dtype) |> scope.MoveToOuter)
