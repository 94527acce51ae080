namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>A two-dimensional convolution whose kernel is a tensor network over (s, d, t): input channels, kernel positions, output channels.</summary>
/// <remarks>Equivalent to <c>Conv2d</c> with the kernel that the network contracts to, forward and gradient. The cores are parameters under their names
/// in the spec (A, B, C, …) and the bias is <c>bias</c>: those are the keys of its state dict. Input: batch × in × height × width, or without
/// the batch. Made by <c>Layers.conv2d</c>.</remarks>
[<Sealed>]
type FactorizedConv2d internal (plan': ConvPlan, cores: Tensor list, bias': Tensor option, trainable: bool) as this =
    inherit torch.nn.Module<Tensor, Tensor>("FactorizedConv2d")

    // A move of dtype or device looks for fields by the names of the parameters. Fields of this class end in a prime, which no core's name can.
    let spec' = plan'.Spec
    let geometry' = plan'.Geometry
    let sensitivity' = lazy Sensitivity.plan spec'
    let hasBias' = bias'.IsSome

    do
        // The module owns its parameters: no dispose scope around its making may take them along.
        let own name (tensor: Tensor) =
            let parameter = new Modules.Parameter(tensor, trainable)
            parameter.DetachFromDisposeScope() |> ignore
            this.register_parameter (name, parameter)

        for core, tensor in List.zip spec'.Cores cores do
            own core.Name tensor

        bias' |> Option.iter (own "bias")

    // Moves of dtype or device replace the registered parameters: they are always read from there.
    member private this.Parameter(name: string) : Modules.Parameter = nonNull (this.get_parameter name)

    member internal this.Lookup(name: string) : Tensor = this.Parameter(Spec.original name)

    /// The network without numbers.
    member _.Spec = spec'
    /// Stride, padding, dilation, kernel size and channels.
    member _.Geometry = geometry'
    /// How the network is applied.
    member _.Lowering = plan'.Lowering

    /// The cores' parameters, in the order of the spec.
    member this.Factors: IReadOnlyList<Modules.Parameter> =
        [| for core in spec'.Cores -> this.Parameter core.Name |]

    /// The bias, or null.
    member this.Bias: Modules.Parameter | null = if hasBias' then this.Parameter "bias" else null

    /// The number of trainable numbers, bias included.
    member this.ParameterCount = Spec.parameters spec' + (if hasBias' then geometry'.OutChannels else 0L)

    /// Multiplications and additions for one image of the given height and width, without bias.
    member _.Flops(height: int64, width: int64) = Convolution.flops plan' (struct (height, width))

    /// <summary>S of the network: a differentiable scalar, to be added to a loss.</summary>
    member this.Sensitivity() : Tensor =
        let first = this.Lookup spec'.Cores.Head.Name
        Sensitivity.totalOf sensitivity'.Value first.dtype first.device this.Lookup

    /// <summary>The dense kernel that the network contracts to, out × in × height × width. Differentiable.</summary>
    member this.Kernel() : Tensor =
        use scope = torch.NewDisposeScope()
        let first = this.Lookup spec'.Cores.Head.Name

        Contraction.runMany [ plan'.Reconstruct ] first.dtype first.device this.Lookup
        |> List.head
        |> Convolution.weightOfKernel geometry'.Kernel
        |> scope.MoveToOuter

    /// <summary>A copy of the network with its numbers. The caller disposes it.</summary>
    member this.Network() : Network =
        use scope = torch.NewDisposeScope()

        new Network(spec', [| for p in this.Factors -> p.detach().clone() |> scope.MoveToOuter |])

    /// <summary>Copies tensors into the cores in place: an optimizer that holds the parameters keeps them.</summary>
    /// <returns>Every core whose shape or dtype differs; then nothing is changed.</returns>
    member this.TrySetFactors(factors: IReadOnlyList<Tensor>) : Result<unit, TensorNetError list> =
        let wrongCount =
            [
                if factors.Count < spec'.Cores.Length then
                    for core in List.skip factors.Count spec'.Cores do
                        TensorNetError.MissingCore core.Name
                for i in spec'.Cores.Length .. factors.Count - 1 do
                    TensorNetError.UnknownCore(Spec.positionName i, spec'.Cores |> List.map _.Name)
            ]

        let errors =
            wrongCount
            @ [
                for core, factor in Seq.zip spec'.Cores factors do
                    let parameter = this.Parameter core.Name
                    let expected = Spec.coreShape core spec'

                    if Check.shapeOf factor <> expected then
                        TensorNetError.CoreShape(core.Name, Check.shapeOf factor, expected)

                    if factor.dtype <> parameter.dtype then
                        TensorNetError.CoreDType(core.Name, string factor.dtype, string parameter.dtype)

                    yield! Check.finite $"Core '{core.Name}'" factor |> List.filter (fun e -> not e.IsDType)
            ]

        if errors.IsEmpty then
            use _ = torch.no_grad ()

            for core, factor in Seq.zip spec'.Cores factors do
                (this.Parameter core.Name).copy_ factor |> ignore

            Ok()
        else
            Error errors

    /// <summary>As <c>TrySetFactors</c>; throws a <c>TensorNetException</c> that lists every error.</summary>
    member this.SetFactors(factors: IReadOnlyList<Tensor>) : unit = this.TrySetFactors factors |> TensorNetError.raiseErrors

    /// <summary>A dense layer with the kernel that the network contracts to, the same geometry and a copy of the bias.</summary>
    /// <remarks>A padding that differs before and after, as 'same' with an even kernel has, is written as 'same'.</remarks>
    member this.ToConv2d() : Modules.Conv2d =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let first = this.Lookup spec'.Cores.Head.Name
        let struct (top, bottom) = geometry'.PaddingHeight
        let struct (left, right) = geometry'.PaddingWidth
        let stride: Nullable<struct (int64 * int64)> = Nullable geometry'.Stride
        let dilation: Nullable<struct (int64 * int64)> = Nullable geometry'.Dilation
        let padding: Nullable<struct (int64 * int64)> = Nullable(struct (top, left))
        let dtype = Nullable first.dtype

        let conv =
            if top = bottom && left = right then
                torch.nn.Conv2d(
                    geometry'.InChannels,
                    geometry'.OutChannels,
                    geometry'.Kernel,
                    stride,
                    padding,
                    dilation,
                    bias = hasBias',
                    device = first.device,
                    dtype = dtype
                )
            else
                torch.nn.Conv2d(
                    geometry'.InChannels,
                    geometry'.OutChannels,
                    geometry'.Kernel,
                    Padding.Same,
                    stride,
                    dilation,
                    bias = hasBias',
                    device = first.device,
                    dtype = dtype
                )

        conv.weight.copy_ (this.Kernel()) |> ignore

        match this.Bias with
        | null -> ()
        | values -> (nonNull conv.bias).copy_ values |> ignore

        conv.train this.training
        conv

    override this.forward(x: Tensor) : Tensor =
        let first = this.Lookup spec'.Cores.Head.Name
        let channels = x.dim () - 3L

        let errors =
            [
                if x.dim () <> 3L && x.dim () <> 4L then
                    TensorNetError.Shape("The input", Check.shapeOf x, "batch × channels × height × width, or without the batch")
                elif x.shape[int channels] <> geometry'.InChannels then
                    TensorNetError.Shape("The input", Check.shapeOf x, $"{geometry'.InChannels} channels along axis {channels}")
                if x.dtype <> first.dtype then
                    TensorNetError.DType("The input", string x.dtype, string first.dtype)
            ]

        if errors.IsEmpty then
            Convolution.apply plan' this.Lookup this.Bias x
        else
            raise (TensorNetException(List.toArray errors))

    override _.GetName() = "FactorizedConv2d"

/// <summary>Layers whose weights are tensor networks.</summary>
[<RequireQualifiedAccess>]
module Layers =
    /// <summary>The layer with the geometry and a copy of the bias of a dense one, and the kernel of a given network over (s, d, t).</summary>
    /// <param name="lowering">How to apply it; None: staged where the network allows it.</param>
    /// <param name="conv">The dense layer; it is not changed and not disposed.</param>
    /// <param name="network">The kernel network, copied into the dtype and device of the dense layer.</param>
    let conv2dOf (lowering: Lowering option) (conv: Modules.Conv2d) (network: Network) : Result<FactorizedConv2d, TensorNetError list> =
        Convolution.geometryOf conv
        |> Result.bind (fun geometry ->
            let expected = ConvGeometry.kernelShape geometry |> List.map int64

            if network.Spec.Cores |> List.exists (fun core -> core.Name = "bias") then
                Error [ TensorNetError.Unsupported("core name", "bias", "any other: the layer's bias is called so") ]
            elif Spec.shape network.Spec <> expected then
                Error
                    [
                        TensorNetError.Shape("The kernel network", Spec.shape network.Spec, $"%A{expected} (in, kernel positions, out)")
                    ]
            else
                Convolution.plan lowering geometry network.Spec)
        |> Result.map (fun plan ->
            use _ = torch.no_grad ()
            use scope = torch.NewDisposeScope()
            let weight = conv.weight

            let own (tensor: Tensor) = tensor.detach().``to``(weight.dtype, weight.device, copy = true) |> scope.MoveToOuter

            let bias =
                match conv.bias with
                | null -> None
                | values -> Some(own values)

            let layer =
                new FactorizedConv2d(plan, [ for core in network.Cores -> own core ], bias, weight.requires_grad)

            layer.train conv.training
            layer)

    /// <summary>The layer that replaces a dense one: its kernel as the least sensitive network found (<c>Factorize.stable</c>), its bias copied.</summary>
    /// <param name="options">The factorisation.</param>
    /// <param name="bound">How far the kernel may be from the dense one; None: the error that alternating least squares reaches.</param>
    /// <param name="format">The format, over (s, d, t).</param>
    /// <param name="conv">The dense layer; it is not changed and not disposed.</param>
    let conv2d
        (options: FactorizeOptions)
        (bound: ErrorBound option)
        (format: Format)
        (conv: Modules.Conv2d)
        : Result<FactorizedConv2d, TensorNetError list> =
        use _ = torch.no_grad ()

        Convolution.geometryOf conv
        |> Result.bind (fun _ ->
            use _ = torch.NewDisposeScope()
            let kernel = Convolution.kernelOfWeight (conv.weight.detach ())

            Factorize.stable options bound format kernel
            |> Result.map (fun fit -> conv2dOf None conv fit.Network))
        |> Result.bind id
