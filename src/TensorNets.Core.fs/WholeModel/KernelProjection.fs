namespace TensorNets

open TorchSharp

/// How the inputs of a layer weigh its kernel.
[<RequireQualifiedAccess; NoComparison; NoEquality>]
type internal InputNorm =
    /// All input channels alike, or nothing is known of them: the Frobenius norm.
    | Alike
    /// The rows of an embedding by the shares of its tokens.
    | OfTokens of shares: Tensor
    /// Σ over the input channels, Σ^½, and the inverse of that where Σ does not vanish, zero where it does.
    | OfInputs of sigma: Tensor * root: Tensor * inverse: Tensor

[<RequireQualifiedAccess>]
module internal InputNorm =
    /// The same, what it has of matrices of its own moved to the scope around one.
    let toOuter (scope: DisposeScope) (norm: InputNorm) : InputNorm =
        match norm with
        | InputNorm.OfInputs(_, root, inverse) ->
            scope.MoveToOuter root |> ignore
            scope.MoveToOuter inverse |> ignore
        | InputNorm.Alike
        | InputNorm.OfTokens _ -> ()

        norm

    /// Disposes the matrices of a norm that no scope owns, not the Σ, which is the caller's.
    let dispose (norm: InputNorm) : unit =
        match norm with
        | InputNorm.OfInputs(_, root, inverse) ->
            root.Dispose()
            inverse.Dispose()
        | InputNorm.Alike
        | InputNorm.OfTokens _ -> ()

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

    /// What a Σ of so many input channels cannot be, and what it makes of kernels.
    let private ofInputs (channels: int64) (sigma: Tensor) : Result<InputNorm, TensorNetError list> =
        let what = "The covariance"

        match Check.readable what sigma with
        | [] when Check.shapeOf sigma <> [ channels; channels ] ->
            let expected = $"{channels} × {channels}, for {channels} input channels"
            Error [ TensorNetError.Shape(what, Check.shapeOf sigma, expected) ]
        | _ ->
            use scope = torch.NewDisposeScope()

            Norm.eigen sigma
            |> Result.map (fun (values, vectors, half) ->
                let least = values.max().mul(Num.tensor (Norm.nullShare sigma))
                let root = values.clamp_min(0.0.ToScalar()).sqrt()
                let inverse = torch.where (values.gt least, values.maximum(least).rsqrt(), Num.tensor 0.0)
                // Eigenvalues are in units of 4^half.
                let matrix power (values: Tensor) = Num.shifted power (vectors.mul(values).matmul vectors.mT) |> scope.MoveToOuter

                InputNorm.OfInputs(sigma, matrix half root, matrix (-half) inverse))

    /// How the inputs of a layer weigh its kernel, by the Σ that is known of them: the shares of tokens of an embedding, or a matrix over
    /// input channels. Layers in groups have none. Its matrices belong to the scope of the caller. Errors: those of `TokenShares.errors`;
    /// a Σ that is not finite, not of the input channels, or not symmetric positive semidefinite.
    let inputNorm (g: ConvGeometry) (covariance: Tensor option) : Result<InputNorm, TensorNetError list> =
        match covariance with
        | None -> Ok InputNorm.Alike
        | Some _ when g.Groups > 1L -> Ok InputNorm.Alike
        | Some shares when TokenShares.are g shares ->
            match TokenShares.errors g.InChannels shares with
            | [] -> Ok(InputNorm.OfTokens shares)
            | errors -> Error errors
        | Some sigma -> ofInputs g.InChannels sigma

    /// A matrix along the input channels of a kernel.
    let private along (matrix: Tensor) (kernel: Tensor) : Tensor = matrix.matmul(unfolded 0 kernel).reshape kernel.shape

    /// The kernel of a layer in a norm: what it is made into has there the Frobenius norm.
    let whitened (norm: InputNorm) (kernel: Tensor) : Tensor =
        match norm with
        | InputNorm.Alike -> kernel
        | InputNorm.OfTokens shares -> TokenShares.weighted shares kernel
        | InputNorm.OfInputs(_, root, _) -> along root kernel

    /// What `whitened` has made of a kernel, back: directions that no input has are zero.
    let unwhitened (norm: InputNorm) (kernel: Tensor) : Tensor =
        match norm with
        | InputNorm.Alike -> kernel
        | InputNorm.OfTokens shares -> TokenShares.unweighted shares kernel
        | InputNorm.OfInputs(_, _, inverse) -> along inverse kernel
