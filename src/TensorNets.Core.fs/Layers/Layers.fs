namespace TensorNets

open System
open TorchSharp

/// <summary>Layers whose weights are tensor networks.</summary>
[<RequireQualifiedAccess>]
module Layers =
    /// <summary>The layer of a geometry with a given network as kernel, over the axes of <c>ConvGeometry.kernelShape</c> or finer
    /// ones.</summary>
    /// <remarks>In order, the network's open axes multiply to (groups,) input channels, kernel positions, output channels; each of these
    /// may be split into several axes, the kernel into one for each spatial dimension. Errors: <c>Unsupported</c>, naming each option;
    /// <c>Shape</c>.</remarks>
    /// <param name="lowering">How to apply it; None: Cheapest.</param>
    /// <param name="geometry">Everything but the numbers.</param>
    /// <param name="bias">Copied, or none.</param>
    /// <param name="network">The kernel network, copied; its dtype and device are those of the layer.</param>
    /// <example><code>Layers.ofNetwork None geometry None (Network.copyAs torch.float32 network) |> orStop</code></example>
    let ofNetwork
        (lowering: Lowering option)
        (geometry: ConvGeometry)
        (bias: Tensor option)
        (network: Network)
        : Result<FactorizedLayer, TensorNetError list> =
        Argument.notNull (nameof geometry) geometry
        Argument.notNull (nameof network) network

        let wrong =
            [
                match bias with
                | Some _ when geometry.IsEmbedding -> TensorNetError.Unsupported("bias", "given", "none: an embedding has no bias")
                | Some bias when not (Check.readable "The bias" bias).IsEmpty -> yield! Check.readable "The bias" bias
                | Some bias when Check.shapeOf bias <> [ geometry.OutChannels ] ->
                    TensorNetError.Shape("The bias", Check.shapeOf bias, $"[{geometry.OutChannels}]")
                | _ -> ()
            ]

        match LayerMaking.planned lowering geometry network.Spec with
        | Ok plan when wrong.IsEmpty -> Ok(LayerMaking.made plan network.DType network.Device network bias LayerMaking.trained)
        | Ok _ -> Error wrong
        | Error errors -> Error(errors @ wrong)

    /// The layer of a network like a dense one, of which geometry, weight and bias have been read.
    let private inPlaceOf
        lowering
        (dense: torch.nn.Module)
        (network: Network)
        (geometry: ConvGeometry, weight: Tensor, bias: Tensor option)
        =
        LayerMaking.planned lowering geometry network.Spec
        |> Result.map (fun plan ->
            let trained name = if name = "bias" then bias |> Option.exists _.requires_grad else weight.requires_grad
            let layer = LayerMaking.made plan weight.dtype weight.device network bias trained
            layer.train dense.training
            layer)

    /// <summary>The layer with the geometry and a copy of the bias of a dense one, and the kernel of a given network.</summary>
    /// <remarks>The cores are trained if the dense weight is, the bias if the dense bias is. Errors: those of <c>ofNetwork</c>.</remarks>
    /// <param name="lowering">How to apply it; None: Cheapest.</param>
    /// <param name="dense">The dense layer; it is not changed and not disposed.</param>
    /// <param name="network">The kernel network, copied into the dtype and device of the dense layer.</param>
    /// <example><code>Layers.ofDense None conv network |> orStop</code></example>
    let ofDense (lowering: Lowering option) (dense: torch.nn.Module) (network: Network) : Result<FactorizedLayer, TensorNetError list> =
        Argument.notNull (nameof network) network
        ConvGeometry.ofDense dense |> Result.bind (inPlaceOf lowering dense network)

    /// The norm of one group's fit as one of the layer, whose network has the groups in front.
    let private normed (norm: Norm) (layer: FactorizedLayer) : Result<FactorizedLayer, TensorNetError list> =
        let ofLayer =
            match norm with
            | Norm.Weighted(modes, covariance) when layer.Geometry.Groups > 1L ->
                Norm.Weighted(modes |> List.map (fun mode -> mode + 1), covariance)
            | norm -> norm

        layer.TrySetNorm ofLayer |> LayerMaking.orDisposed layer

    /// The layer of the fit of each group's kernel, whose shape is that of the axes given for a geometry, or which is refused there.
    let private factorizedBy (target: ConvGeometry -> Result<int64 list, TensorNetError list>) bound fit (dense: torch.nn.Module) =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        ConvGeometry.ofDense dense
        |> Result.bind (fun (g, weight, bias) ->
            (match Check.readable "The weight" weight with
             | [] -> KernelFit.refuseDepthwise g
             | errors -> Error errors)
            |> Result.bind (fun () -> target g)
            |> Result.bind (fun axes ->
                let shape = if g.Groups > 1L then g.Groups :: axes else axes
                KernelFit.fitted g bound (fit weight.dtype) (ConvGeometry.kernelFor shape g (weight.detach ())))
            |> Result.bind (fun network -> inPlaceOf None dense network (g, weight, bias)))

    /// <summary>The layer that replaces a dense one: its kernel as the least sensitive network found (<c>Factorize.stable</c>), its bias
    /// copied.</summary>
    /// <remarks>The layer's sensitivity is measured in the norm of the options. A layer of 16 bits is factorized in float64 like the
    /// others, and the bound is that of the cores rounded to them: one that they cannot meet is <c>Unreachable</c>. With groups each group
    /// has a network of its own; a bound δ for all is shared equally. Errors: <c>ModuleType</c> for a module that is no Conv1d, Conv2d,
    /// Conv3d, ConvTranspose1d, ConvTranspose2d, Linear or Embedding; <c>Unsupported</c>, naming each option; those of
    /// <c>Factorize.stable</c>; <c>Cancelled</c> before the bound was met.</remarks>
    /// <param name="options">The factorization.</param>
    /// <param name="axes">How the format sees a kernel. A linear layer is a matrix (in, out), an embedding
    /// one (tokens, features); its TT-matrix may have up to twice as many rows, which no token asks for.</param>
    /// <param name="bound">How far the kernel may be from the dense one; None: the error that alternating least squares reaches.</param>
    /// <param name="format">The format.</param>
    /// <param name="dense">The dense layer; it is not changed and not disposed.</param>
    /// <example><code>Layers.factorize options KernelAxes.Fused (Some bound) (Format.CP 8) conv |> orStop</code></example>
    let factorize
        (options: FactorizeOptions)
        (axes: KernelAxes)
        (bound: ErrorBound option)
        (format: Format)
        (dense: torch.nn.Module)
        : Result<FactorizedLayer, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof axes) axes
        Argument.notNull (nameof format) format

        let fit dtype =
            KernelFit.withinRounded dtype options.Sweeps.Norm (fun bound kernel -> Factorize.stable options bound format kernel)

        let target g = KernelFit.refuseRows format g |> Result.map (fun () -> KernelFit.target axes format g)

        factorizedBy target bound fit dense |> Result.bind (normed options.Sweeps.Norm)

    /// <summary>As <c>factorize</c>, over a spec of one's own in place of a format; with groups, the spec of one group.</summary>
    /// <example><code>Layers.factorizeSpec options None spec conv |> orStop</code></example>
    let factorizeSpec (options: FactorizeOptions) (bound: ErrorBound option) (spec: Spec) (dense: torch.nn.Module) =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof spec) spec

        let shape = Spec.shape spec

        // An embedding's network may have rows that no token asks for.
        let target (g: ConvGeometry) =
            if g.IsEmbedding && (AxisRoles.tryOf g spec).IsSome then
                Ok shape
            else
                Ok(KernelFit.target KernelAxes.Fused (Format.CP 1) g)

        let fit dtype bound (kernel: Tensor) =
            if List.fold (*) 1L shape <> kernel.numel () then
                Error
                    [
                        TensorNetError.Shape("The spec", shape, $"the entries of {TensorNetError.shapeText (Check.shapeOf kernel)}")
                    ]
            else
                let stable bound kernel = Factorize.stableSpec options bound spec kernel
                KernelFit.withinRounded dtype options.Sweeps.Norm stable bound (kernel.reshape (List.toArray shape))

        factorizedBy target bound fit dense |> Result.bind (normed options.Sweeps.Norm)

    /// <summary>The least sensitive matrix layer of at most a rank within a bound, exactly (<c>LeastSensitiveMatrix.fit</c>): a linear
    /// layer, an embedding, or a convolution with one kernel position.</summary>
    /// <example><code>Layers.matrix 4 bound (torch.nn.Linear(6L, 4L)) |> orStop</code></example>
    let matrix (rank: int) (bound: ErrorBound) (dense: torch.nn.Module) : Result<FactorizedLayer, TensorNetError list> =
        let target (g: ConvGeometry) =
            if GeometryChecks.positions g = 1L then
                Ok(KernelFit.target KernelAxes.Fused (Format.CP rank) g)
            else
                Error
                    [
                        TensorNetError.Unsupported(
                            "kernel_size",
                            TensorNetError.shapeText g.Kernel,
                            "1 in each dimension: the kernel is then a matrix"
                        )
                    ]

        let matrix (bound: ErrorBound option) (kernel: Tensor) = LeastSensitiveMatrix.fit rank bound.Value kernel

        let fit dtype bound (kernel: Tensor) =
            KernelFit.withinRounded dtype Norm.Frobenius matrix bound (kernel.reshape (kernel.shape[0], -1L))

        factorizedBy target (Some bound) fit dense

    /// <summary>A fresh layer of a geometry, its kernel a random network that keeps variance: entries of T have mean 0 and variance
    /// 1/(inputs of an output), so that white noise comes out with the variance with which it went in (inside, away from
    /// padding).</summary>
    /// <remarks>The cores are white noise of equal variance; each kernel entry sums as many products as the bonds have combinations. The
    /// bias is uniform within ±1/√(inputs), as in TorchSharp. Errors: those of <c>ofNetwork</c>; <c>DType</c> for any but the
    /// floating-point ones.</remarks>
    /// <param name="options">Seed, gain, dtype, bias, lowering.</param>
    /// <param name="geometry">Everything but the numbers.</param>
    /// <param name="spec">The kernel network; with groups, over (g, s, d, t).</param>
    /// <example><code>Layers.random { FreshOptions.defaults with Gain = sqrt 2.0 } geometry spec |> orStop</code></example>
    let random (options: FreshOptions) (geometry: ConvGeometry) (spec: Spec) : Result<FactorizedLayer, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof geometry) geometry
        Argument.notNull (nameof spec) spec
        FreshLayer.make options geometry spec

    /// <summary>The spec of a format for a geometry; with groups, one network for each, as one spec over (g, s, d, t).</summary>
    /// <example><code>Layers.spec KernelAxes.Separate geometry (Format.CP 3) |> orStop</code></example>
    let spec (axes: KernelAxes) (geometry: ConvGeometry) (format: Format) : Result<Spec, TensorNetError list> =
        Argument.notNull (nameof axes) axes
        Argument.notNull (nameof geometry) geometry
        Argument.notNull (nameof format) format

        match GeometryChecks.errors geometry with
        | [] ->
            KernelFit.refuseDepthwise geometry
            |> Result.bind (fun () -> KernelFit.refuseRows format geometry)
            |> Result.bind (fun () ->
                Format.spec (KernelFit.target axes format geometry |> List.map int) format
                |> Result.mapError (List.map TensorNetError.Format)
                |> Result.map (fun one -> if geometry.Groups > 1L then GroupNetworks.spec (int geometry.Groups) one else one))
        | errors -> Error errors

    /// Trains what is trained of a dense layer, and puts a layer into its mode of training.
    let internal follow (dense: torch.nn.Module) (layer: FactorizedLayer) : unit =
        let isTrained (name: string) =
            match dense.get_parameter name with
            | null -> None
            | parameter -> Some parameter.requires_grad

        let set (parameter: Modules.Parameter) isTrained = isTrained |> Option.iter (fun value -> parameter.requires_grad <- value)

        for factor in layer.Factors do
            set factor (isTrained "weight")

        match layer.Bias with
        | null -> ()
        | bias -> set bias (isTrained "bias")

        layer.train dense.training

    /// <summary>A fresh layer like a dense one: its geometry, dtype and device, with or without bias as it, each trained or not as there,
    /// and a random network of a format as kernel (<c>random</c>).</summary>
    /// <example><code>Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 3) conv |> orStop</code></example>
    let fresh
        (lowering: Lowering option)
        (axes: KernelAxes)
        (seed: uint64)
        (gain: float)
        (format: Format)
        (like: torch.nn.Module)
        : Result<FactorizedLayer, TensorNetError list> =
        Argument.notNull (nameof axes) axes
        Argument.notNull (nameof format) format

        ConvGeometry.ofDense like
        |> Result.bind (fun (geometry, weight, bias) ->
            spec axes geometry format
            |> Result.bind (random { Lowering = lowering; Seed = seed; Gain = gain; DType = weight.dtype; Bias = bias.IsSome } geometry)
            |> Result.map (fun layer ->
                layer.``to`` weight.device |> ignore
                follow like layer
                layer))

    /// <summary>A layer of its own with the same network, numbers, integers of few bits, bias, lowering, norm and mode of training, each
    /// parameter trained or not as there. Hooks stay behind.</summary>
    /// <example><code>Layers.copy layer</code></example>
    let copy (layer: FactorizedLayer) : FactorizedLayer =
        Check.layer layer
        use network = layer.Network()

        let bias =
            match layer.Bias with
            | null -> None
            | values -> Some(values :> Tensor)

        let trained (name: string) = (nonNull (layer.get_parameter name)).requires_grad
        let fresh = LayerMaking.made layer.Plan network.DType network.Device network bias trained
        fresh.Origin <- layer.Origin
        fresh.Integers <- layer.Integers |> Option.map _.Copy()
        fresh.SetNorm layer.Norm
        fresh.train layer.training
        fresh

    let private typed<'T when 'T :> FactorizedLayer> (result: Result<FactorizedLayer, TensorNetError list>) =
        result |> Result.map (fun layer -> layer :> obj :?> 'T)

    /// <summary>As <c>ofDense</c>, for a Conv2d.</summary>
    /// <example><code>Layers.conv2dOf None conv network |> orStop</code></example>
    let conv2dOf (lowering: Lowering option) (conv: Modules.Conv2d) (network: Network) : Result<FactorizedConv2d, TensorNetError list> =
        Argument.notNull (nameof network) network
        ofDense lowering conv network |> typed

    /// <summary>As <c>factorize</c>, for a Conv2d, over (s, d, t).</summary>
    /// <example><code>Layers.conv2d options (Some bound) (Format.CP 8) conv |> orStop</code></example>
    let conv2d
        (options: FactorizeOptions)
        (bound: ErrorBound option)
        (format: Format)
        (conv: Modules.Conv2d)
        : Result<FactorizedConv2d, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof format) format
        factorize options KernelAxes.Fused bound format conv |> typed
