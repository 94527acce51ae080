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

/// Kernels factorised for layers, group by group.
[<RequireQualifiedAccess>]
module internal KernelFit =
    /// The shape that a format factorises, one group's.
    let target (axes: KernelAxes) (g: ConvGeometry) : int64 list =
        [
            g.InChannels / g.Groups
            match axes, g.Kernel.Length with
            | _, 0 -> ()
            | KernelAxes.Fused, _ -> ConvGeometry.positions g
            | KernelAxes.Separate, _ -> yield! g.Kernel
            g.OutChannels / g.Groups
        ]

    /// Depthwise groups have kernels that no format makes smaller.
    let refuseDepthwise (g: ConvGeometry) =
        if g.Groups > 1L && g.Groups = g.InChannels && g.Groups = g.OutChannels then
            Error
                [
                    TensorNetError.Unsupported(
                        "groups",
                        $"{g.Groups} (depthwise)",
                        "groups of more than one channel: the kernel of one channel is a vector, which has no smaller network; a network over (groups, 1, positions, 1) can be given"
                    )
                ]
        else
            Ok()

    /// The bound for each of several groups that together keep one for all.
    let private shared (groups: int64) (bound: ErrorBound option) =
        match bound with
        | Some(ErrorBound.Absolute delta) -> Some(ErrorBound.Absolute(delta / sqrt (float groups)))
        | other -> other

    let private collect (results: Result<'a, 'e list> list) : Result<'a list, 'e list> =
        match
            results
            |> List.collect (function
                | Error errors -> errors
                | Ok _ -> [])
        with
        | [] -> Ok(results |> List.choose Result.toOption)
        | errors -> Error errors

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
            |> collect
            |> Result.map (List.map _.Network >> GroupNetworks.stack)
