namespace TensorNets

open System
open TorchSharp

/// <summary>How a format sees the kernel of a convolution.</summary>
[<RequireQualifiedAccess>]
type KernelAxes =
    /// One axis for all kernel positions: (s, d, t).
    | Fused
    /// An axis for each spatial dimension: (s, kh, kw, t) in two dimensions. Staged, each becomes a convolution along its dimension.
    | Separate

/// Kernels factorized for layers, group by group.
[<RequireQualifiedAccess>]
module internal KernelFit =
    let private product (factors: int list) : bigint = factors |> List.fold (fun n factor -> n * bigint factor) 1I

    let private covers (rows: int list) (tokens: int64) = product rows >= bigint tokens && product rows < 2I * bigint tokens

    /// The shape that a format factorizes, one group's. The rows of an embedding's TT-matrix may be more than its tokens.
    let target (axes: KernelAxes) (format: Format) (g: ConvGeometry) : int64 list =
        [
            match format with
            | Format.TensorTrainMatrix(rows, _, _) when g.IsEmbedding && covers rows g.InChannels -> int64 (product rows)
            | _ -> g.InChannels / g.Groups
            match axes, g.Kernel.Length with
            | _, 0 -> ()
            | KernelAxes.Fused, _ -> GeometryChecks.positions g
            | KernelAxes.Separate, _ -> yield! g.Kernel
            g.OutChannels / g.Groups
        ]

    /// A TT-matrix of an embedding has a row for each token, and fewer than twice as many; the error proposes factors.
    let refuseRows (format: Format) (g: ConvGeometry) : Result<unit, TensorNetError list> =
        match format with
        | Format.TensorTrainMatrix(rows, _, _) when g.IsEmbedding && not rows.IsEmpty && not (covers rows g.InChannels) ->
            let shown (factors: int list) = String.Join(" × ", factors)
            let near = BalancedFactors.covering rows.Length (int g.InChannels)

            Error
                [
                    TensorNetError.Unsupported(
                        "The rows of the TT-matrix",
                        $"{shown rows} = {product rows}",
                        $"a product of {g.InChannels} to {2L * g.InChannels - 1L}, such as {shown near}"
                    )
                ]
        | _ -> Ok()

    /// Depthwise groups have kernels that no format makes smaller.
    let refuseDepthwise (g: ConvGeometry) =
        if g.Groups > 1L && g.Groups = g.InChannels && g.Groups = g.OutChannels then
            Error
                [
                    TensorNetError.Unsupported(
                        "groups",
                        $"{g.Groups} (depthwise)",
                        "groups of more than one channel: the kernel of one channel is a vector, which has no smaller network; "
                        + "a network over (groups, 1, positions, 1) can be given"
                    )
                ]
        else
            Ok()

    /// The bound for each of several groups that together keep one for all.
    let private shared (groups: int64) (bound: ErrorBound option) =
        match bound with
        | Some(ErrorBound.Absolute delta) -> Some(ErrorBound.Absolute(delta / sqrt (float groups)))
        | other -> other

    /// ‖K − T‖ in a norm, in float64.
    let private distance (norm: Norm) (kernel: Tensor) (tensor: Tensor) : float =
        use _ = torch.NewDisposeScope()
        let difference = (Check.double kernel).minus(Check.double tensor)

        match norm with
        | Norm.Frobenius -> difference.norm().number()
        | Norm.Weighted(modes, covariance) ->
            let others = [ 0 .. int (difference.dim ()) - 1 ] |> List.except modes
            let moved = difference.permute [| for mode in others @ modes -> int64 mode |]
            let rows = moved.reshape (-1L, covariance.shape[0])
            sqrt (max 0.0 ((rows.matmul (Check.double covariance)).mul(rows).sum().number()))

    /// The error of a fit once its cores are rounded to a dtype, and how far rounding moves T.
    let private rounded (dtype: torch.ScalarType) (norm: Norm) (kernel: Tensor) (network: Network) : struct (float * float) =
        use _ = torch.NewDisposeScope()

        let tensor (network: Network) = (Contraction.reconstruct (Network.copyAs torch.float64 network)).reshape kernel.shape

        let after = tensor (Network.copyAs dtype network)
        struct (distance norm kernel after, distance norm (tensor network) after)

    /// A bound is met up to this share of it, as everywhere; and room for rounding, which another fit meets differently.
    let private counted, private room = 1e-9, 1.5

    /// A fit whose cores are rounded to 16 bits afterwards and meet the bound then: again, to a bound that leaves room for the rounding,
    /// where the first one does not. Of any other dtype, the fit. Errors: <c>Unreachable</c> where the dtype does not meet the bound.
    let withinRounded
        (dtype: torch.ScalarType)
        (norm: Norm)
        (fit: ErrorBound option -> Tensor -> Result<Fit, TensorNetError list>)
        (bound: ErrorBound option)
        (kernel: Tensor)
        : Result<Fit, TensorNetError list> =
        /// Errors of rounding are seldom along that of the fit: their squares are left room for first, then, if that was too little, they
        /// themselves.
        let rec settled tries (delta: float) (found: Fit) =
            let struct (error, moved) =
                if found.MeetsBound then rounded dtype norm kernel found.Network else struct (0.0, 0.0)

            if error <= delta * (1.0 + counted) then
                Ok found
            else
                let lost = room * (error * error - found.Error * found.Error)
                let aim = if tries = 0 then sqrt (delta * delta - lost) else delta - room * moved
                Fit.dispose found

                if tries < 2 && aim > 0.0 then
                    fit (Some(ErrorBound.Absolute aim)) kernel |> Result.bind (settled (tries + 1) delta)
                else
                    Error [ TensorNetError.Unreachable(delta, error) ]

        match bound with
        | Some bound when HalfPrecision.is dtype ->
            // What is wrong with kernel, norm or bound is said by the fit.
            fit (Some bound) kernel
            |> Result.bind (fun found ->
                use nothing = torch.zeros_like kernel

                ErrorBound.resolve bound (distance norm kernel nothing)
                |> Result.bind (fun delta -> settled 0 delta found))
        | _ -> fit bound kernel

    /// A fit of every group of a kernel tensor, side by side as one network. The scope around owns it.
    let fitted
        (g: ConvGeometry)
        (bound: ErrorBound option)
        (fit: ErrorBound option -> Tensor -> Result<Fit, TensorNetError list>)
        (kernel: Tensor)
        =
        if g.Groups = 1L then
            fit bound kernel |> Result.bind Fit.bounded |> Result.map _.Network
        else
            [
                for i in 0L .. g.Groups - 1L -> fit (shared g.Groups bound) (kernel.select (0L, i)) |> Result.bind Fit.bounded
            ]
            |> TensorNetError.collect
            |> Result.map (List.map _.Network >> GroupNetworks.stack)
