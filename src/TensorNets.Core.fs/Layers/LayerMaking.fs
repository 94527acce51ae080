namespace TensorNets

open TorchSharp

/// The class of a geometry's layer, made of tensors that it owns.
[<RequireQualifiedAccess>]
module internal LayerMaking =
    let private construct (plan: ConvPlan) cores bias trained : FactorizedLayer =
        match plan.Geometry.Kernel.Length, plan.Geometry.Transposed with
        | _ when plan.Geometry.IsEmbedding -> new FactorizedEmbedding(plan, cores, bias, trained)
        | 0, _ -> new FactorizedLinear(plan, cores, bias, trained)
        | 1, false -> new FactorizedConv1d(plan, cores, bias, trained)
        | 1, true -> new FactorizedConvTranspose1d(plan, cores, bias, trained)
        | 2, false -> new FactorizedConv2d(plan, cores, bias, trained)
        | 2, true -> new FactorizedConvTranspose2d(plan, cores, bias, trained)
        | _ -> new FactorizedConv3d(plan, cores, bias, trained)

    /// Errors of a name that a parameter of a layer cannot have.
    let private names (spec: Spec) =
        [
            if spec.Cores |> List.exists (fun core -> core.Name = "bias") then
                TensorNetError.Unsupported("core name", "bias", "any other: the layer's bias is called so")
        ]

    /// How a network is applied, or why it cannot be a layer of the geometry.
    let planned lowering geometry (spec: Spec) =
        match GeometryChecks.errors geometry @ names spec with
        | [] -> Convolution.plan lowering geometry spec
        | errors -> Error errors

    /// Every parameter of a layer is trained.
    let trained (_: string) = true

    /// The layer, of copies; whether a parameter is trained by its name.
    let made
        (plan: ConvPlan)
        (dtype: torch.ScalarType)
        (device: torch.Device)
        (network: Network)
        (bias: Tensor option)
        (trained: string -> bool)
        =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()

        let own (tensor: Tensor) = tensor.detach().``to``(dtype, device, copy = true).contiguous() |> scope.MoveToOuter

        construct plan [ for core in network.Cores -> own core ] (Option.map own bias) trained

    /// A layer to which something was done; disposed where that failed.
    let orDisposed (layer: FactorizedLayer) (result: Result<unit, TensorNetError list>) : Result<FactorizedLayer, TensorNetError list> =
        match result with
        | Ok() -> Ok layer
        | Error errors ->
            layer.Dispose()
            Error errors
