namespace TensorNets

open TorchSharp

/// <summary>Replacing the layers of a model by tensor networks, and their sensitivity as a penalty.</summary>
[<RequireQualifiedAccess>]
module Compress =
    /// The factorised layers of a model with their paths; the model itself, at the empty path, if it is one.
    let factorised (model: torch.nn.Module) : (string * FactorizedLayer) list =
        ("", model) :: Surgery.paths model
        |> List.choose (fun (path, m) ->
            match m with
            | :? FactorizedLayer as layer -> Some(path, layer)
            | _ -> None)
        |> List.distinctBy (fun (_, layer) -> LanguagePrimitives.PhysicalHash layer)

    /// <summary>The sum of the sensitivities of a model's factorised layers: a differentiable scalar, to be added to a loss.</summary>
    /// <remarks>Errors: <c>ModuleType</c> where the model has no factorised layer, since a penalty that is always zero is a mistake. The layers must
    /// agree in dtype and device.</remarks>
    let sensitivity (model: torch.nn.Module) : Result<Tensor, TensorNetError list> =
        match factorised model with
        | [] ->
            Error
                [
                    TensorNetError.ModuleType("", model.GetType().Name, "a model with at least one factorised layer")
                ]
        | layers ->
            use scope = torch.NewDisposeScope()

            layers
            |> List.map (fun (_, layer) -> layer.Sensitivity())
            |> List.reduce (fun a b -> a.plus (b))
            |> scope.MoveToOuter
            |> Ok

    /// An error of a layer as one of the layer at a path: what is the target there is its weight.
    let private atPath (path: string) (error: TensorNetError) =
        let target = "The target"
        let weight = $"The weight of '{path}'"

        match error with
        | TensorNetError.ModuleType("", found, expected) -> TensorNetError.ModuleType(path, found, expected)
        | TensorNetError.DType(what, found, expected) when what = target -> TensorNetError.DType(weight, found, expected)
        | TensorNetError.NotFinite(what, count) when what = target -> TensorNetError.NotFinite(weight, count)
        | TensorNetError.ZeroTensor what when what = target -> TensorNetError.ZeroTensor weight
        | error -> error

    /// <summary>Replaces the linear layer or convolution at a path by its factorised layer, in place, and returns the new layer, which belongs to the model; the dense
    /// layer is disposed.</summary>
    /// <remarks>On any error the model is as it was. Equivalent to <c>Surgery.find</c>, <c>Layers.factorize</c> and <c>Surgery.replace</c>.</remarks>
    /// <param name="options">The factorisation.</param>
    /// <param name="axes">How the format sees the kernel of a convolution.</param>
    /// <param name="bound">How far the kernel may be from the dense one; None: the error that alternating least squares reaches.</param>
    /// <param name="format">The format, over (s, d, t), or (s, t) for a linear layer.</param>
    /// <param name="path">The path of the layer, such as `layer1.1.conv2`.</param>
    /// <param name="model">The model.</param>
    let layerBy
        (options: FactorizeOptions)
        (axes: KernelAxes)
        (bound: ErrorBound option)
        (format: Format)
        (path: string)
        (model: torch.nn.Module)
        : Result<FactorizedLayer, TensorNetError list> =
        Surgery.find path model
        |> Result.bind (fun found -> Layers.factorize options axes bound format found |> Result.mapError (List.map (atPath path)))
        |> Result.bind (fun layer ->
            match Surgery.replace path layer model with
            | Ok() -> Ok layer
            | Error errors ->
                layer.Dispose()
                Error errors)

    /// <summary>As <c>layerBy</c>, the kernel of a convolution over (s, d, t).</summary>
    let layer options bound format path model = layerBy options KernelAxes.Fused bound format path model
