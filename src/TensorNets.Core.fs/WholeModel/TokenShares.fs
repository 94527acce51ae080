namespace TensorNets

open TorchSharp

/// Shares of the tokens that an embedding is given, its Σ: for x of one 1 and zeros E[x xᵀ] is diagonal.
[<RequireQualifiedAccess>]
module internal TokenShares =
    /// What all tokens share alike, so that one that no batch had keeps its row.
    let private unseen = 0.1

    /// Whether a Σ is the shares of the tokens of a geometry.
    let are (g: ConvGeometry) (sigma: Tensor) : bool = g.IsEmbedding && (Check.readable "" sigma).IsEmpty && sigma.dim () = 1L

    /// What shares of so many tokens cannot be.
    let errors (tokens: int64) (shares: Tensor) : TensorNetError list =
        let what = "The shares of tokens"

        match Check.finite what shares with
        | [] when Check.shapeOf shares <> [ tokens ] -> [ TensorNetError.Shape(what, Check.shapeOf shares, $"[{tokens}]") ]
        | [] ->
            use _ = torch.NewDisposeScope()
            let least = shares.min().number()

            if least < 0.0 then
                [ TensorNetError.NotCovariance $"the negative share {least:G3}" ]
            else
                Check.target what shares
        | errors -> errors

    /// The root of each token's weight, in float64, the mean of the weights 1: tokens × 1.
    let private roots (shares: Tensor) : Tensor =
        let weights = Check.double shares
        let mean = weights.mean ()
        weights.div(mean).mul(Num.tensor (1.0 - unseen)).plus(Num.tensor unseen).sqrt().unsqueeze -1L

    /// A table, tokens × features, in whose Frobenius norm rows count by their shares.
    let weighted (shares: Tensor) (table: Tensor) : Tensor = table.mul (roots shares)

    /// What `weighted` has made of a table, back.
    let unweighted (shares: Tensor) (table: Tensor) : Tensor = table.div (roots shares)

    /// The network of a table by a fit in which rows count by their shares: the core that carries the tokens is divided by the roots
    /// again, and the network balanced. The scope around owns it.
    let fit
        (shares: Tensor)
        (fit: Tensor -> Result<Network * float, TensorNetError list>)
        (table: Tensor)
        : Result<Network * float, TensorNetError list> =
        match errors table.shape[0] shares with
        | [] ->
            let roots = roots shares

            fit (weighted shares table)
            |> Result.bind (fun (found, sensitivity) ->
                use found = found

                let tokens = found.Spec.Output.Head
                let carrier = (Spec.carriers tokens found.Spec).Head

                let along (core: Core) = [| for axis in core.Axes -> if axis = tokens then -1L else 1L |]

                let cores =
                    [|
                        for core, tensor in Seq.zip found.Spec.Cores found.Cores ->
                            if core = carrier then tensor.div (roots.reshape (along core)) else tensor.alias ()
                    |]

                use network = new Network(found.Spec, cores)

                match Gauge.balance network with
                | Ok balanced -> Ok(balanced, sensitivity)
                // A bond of lower rank than its dimension has no gauge.
                | Error _ -> Ok(Network.copyAs network.DType network, sensitivity))
        | errors -> Error errors
