namespace TensorNets

open TorchSharp

/// Kernels, (s, d, t), in the norm of their inputs and on leading directions.
[<RequireQualifiedAccess>]
module internal KernelProjection =
    /// A mode against all others.
    let unfolded (mode: int) (kernel: Tensor) : Tensor = kernel.movedim([| int64 mode |], [| 0L |]).reshape(kernel.shape[mode], -1L)

    /// The kernel, (s, d, t), that a matrix or Tucker-2 network of a curve stands for: projected on the leading directions of the first
    /// mode, then on those of the last one.
    let truncation (format: Format) (kernel: Tensor) : Tensor =
        let onto mode rank (kernel: Tensor) =
            use generator = new torch.Generator(0UL)
            let matrix = unfolded mode kernel
            let basis = RangeFinder.leading None generator rank matrix
            let others = Array.removeAt mode kernel.shape

            let projected =
                (basis.matmul (basis.mT.matmul matrix)).reshape(Array.append [| kernel.shape[mode] |] others)

            projected.movedim ([| 0L |], [| int64 mode |])

        match format with
        | Format.Tucker2(a, b) -> kernel |> onto 0 a |> onto 2 b
        | Format.TensorTrain [ rank ] -> onto 0 rank kernel
        | other -> invalidArg (nameof format) $"{FormatText.print other} is no truncation."

    /// A kernel times a function of Σ along the input channels, `ofValues` of its eigenvalues; without Σ itself.
    let private times (ofValues: Tensor -> Tensor) (covariance: Tensor option) (kernel: Tensor) : Tensor =
        match covariance with
        | None -> kernel
        | Some sigma ->
            let struct (values, vectors) = Decompose.eigh (Check.double sigma)
            let matrix = vectors.mul(ofValues values).matmul vectors.mT
            matrix.matmul(unfolded 0 kernel).reshape kernel.shape

    /// The kernel of a layer without groups in a norm: Σ^½ along the input channels makes the weighted norm Frobenius. Of an embedding Σ
    /// may be the shares of its tokens.
    let whitened (covariance: Tensor option) (kernel: Tensor) : Tensor =
        match covariance with
        | Some shares when shares.dim () = 1L -> TokenShares.weighted shares kernel
        | _ -> times (fun values -> values.clamp_min(0.0.ToScalar()).sqrt()) covariance kernel

    /// What `whitened` has made of a kernel, back: directions that no input has are zero.
    let unwhitened (covariance: Tensor option) (kernel: Tensor) : Tensor =
        let inverse (values: Tensor) =
            let least =
                values.max().mul(Num.tensor (covariance |> Option.map Norm.nullShare |> Option.defaultValue 0.0))

            torch.where (values.gt least, values.maximum(least).rsqrt(), Num.tensor 0.0)

        match covariance with
        | Some shares when shares.dim () = 1L -> TokenShares.unweighted shares kernel
        | _ -> times inverse covariance kernel
