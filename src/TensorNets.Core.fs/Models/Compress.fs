namespace TensorNets

open System
open TorchSharp

/// <summary>Replacing the layers of a model by tensor networks, and their sensitivity as a penalty.</summary>
[<RequireQualifiedAccess>]
module Compress =
    /// <summary>The factorized layers of a model with their paths; the model itself, at the empty path, if it is one.</summary>
    /// <example><code>Compress.factorized layer // of the empty path and the layer itself</code></example>
    let factorized (model: torch.nn.Module) : (string * FactorizedLayer) list =
        ArgumentNullException.ThrowIfNull(model, nameof model)
        FactorizedLayers.all model

    /// <summary>The sum of the sensitivities of a model's factorized layers: a differentiable scalar, to be added to a loss.</summary>
    /// <remarks>Errors: <c>ModuleType</c> where the model has no factorized layer, since a penalty that is always zero is a mistake. The
    /// layers must agree in dtype and device.</remarks>
    /// <example><code>Compress.sensitivity layer |> orStop</code></example>
    let sensitivity (model: torch.nn.Module) : Result<Tensor, TensorNetError list> =
        match factorized model with
        | [] ->
            Error
                [
                    TensorNetError.ModuleType("", model.GetType().Name, "a model with at least one factorized layer")
                ]
        | layers ->
            use scope = torch.NewDisposeScope()

            layers
            |> List.map (fun (_, layer) -> layer.Sensitivity())
            |> List.reduce (fun a b -> a.plus (b))
            |> scope.MoveToOuter
            |> Ok

    /// What keeps the module at a path from being factorized, whatever the format.
    let internal misfits (path: string) (found: torch.nn.Module) : TensorNetError list =
        match ConvGeometry.ofDenseAt path found with
        | Error errors -> errors
        | Ok(_, weight, _) ->
            use _ = torch.NewDisposeScope()
            let what = $"The weight of '{path}'"

            match Check.readable what weight with
            | [] -> Check.target what (HalfPrecision.widened weight)
            | errors -> errors

    /// Notes in a layer its format and how far its kernel is from that of a dense weight, which can be read.
    let internal note (format: string) (weight: Tensor) (layer: FactorizedLayer) : FactorizedLayer =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let weight = Check.double weight
        let distance = weight.minus(Check.double (layer.Kernel())).norm().number()
        layer.Origin <- Some { Format = format; KernelError = distance / Check.norm weight }
        layer

    /// The module at a path, if it can be compressed there: what forbids it is said before it is factorized, which may take long.
    let internal dense path model (found: torch.nn.Module) : Result<torch.nn.Module, TensorNetError list> =
        match found with
        | :? FactorizedLayer ->
            let paths =
                Surgery.paths model |> List.filter (fun (_, m) -> SubmoduleFields.same m found) |> List.map fst

            Error [ TensorNetError.Compressed(path :: List.except [ path ] paths, ModulePath.typeOf found) ]
        | _ ->
            match misfits path found @ Surgery.refusal path model with
            | [] -> Ok found
            | errors -> Error errors

    /// Puts a layer in the place of a dense one, whose hooks it takes over.
    let internal put path model (dense: torch.nn.Module) (layer: FactorizedLayer) : Result<FactorizedLayer, TensorNetError list> =
        let hooked =
            match dense with
            | :? torch.nn.Module<Tensor, Tensor> as from -> ModuleTables.shareHooks from layer |> Result.mapError List.singleton
            | _ -> Ok()

        match hooked |> Result.bind (fun () -> Surgery.retire path layer model) with
        | Ok old ->
            layer.Replaces old
            // Disposing it could take the weight from under a pass on another thread. What no pass uses any more goes with the next
            // collection, which knows nothing of native memory and would come late.
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, false)
            Ok layer
        | Error errors ->
            layer.Dispose()
            Error errors

    /// <summary>Replaces the linear layer or convolution at a path by its factorized layer, in place, and returns the new layer, which
    /// belongs to the model.</summary>
    /// <remarks><para>On any error the model is as it was. Equivalent to <c>Surgery.find</c>, <c>Layers.factorize</c> and
    /// <c>Surgery.exchange</c>. Forward hooks of the dense layer run on the new one, and what removes them does so there.</para>
    /// <para>An optimizer made before does not know the new parameters: its next step throws a KeyNotFoundException or leaves them out,
    /// until <c>Optimizers.follow</c> has given them to it, or it is made anew.</para>
    /// <para>The dense layer is not disposed, since another thread may be in a forward pass through it: that pass ends with the dense
    /// layer, later ones take the new one. Its memory is given back by the garbage collector once nothing refers to it.</para>
    /// <para>Errors: <c>Compressed</c> for a layer that is factorized already, under this path or another; those of <c>Layers.factorize</c>
    /// and <c>Surgery.replace</c>.</para></remarks>
    /// <param name="options">The factorization.</param>
    /// <param name="axes">How the format sees the kernel of a convolution.</param>
    /// <param name="bound">How far the kernel may be from the dense one; None: the error that alternating least squares reaches.</param>
    /// <param name="format">The format, over (s, d, t), or (s, t) for a linear layer.</param>
    /// <param name="path">The path of the layer, such as `layer1.1.conv2`.</param>
    /// <param name="model">The model.</param>
    /// <example><code>Compress.layerWith options KernelAxes.Separate None (Format.CP 2) "conv" (makeModel ()) |> orStop</code></example>
    let layerWith
        (options: FactorizeOptions)
        (axes: KernelAxes)
        (bound: ErrorBound option)
        (format: Format)
        (path: string)
        (model: torch.nn.Module)
        : Result<FactorizedLayer, TensorNetError list> =
        Surgery.find path model
        |> Result.bind (dense path model)
        |> Result.bind (fun found ->
            Layers.factorize options axes bound format found
            |> Result.map (note (FormatText.print format) (nonNull (found.get_parameter "weight")))
            |> Result.bind (put path model found))

    /// <summary>As <c>layerWith</c>, the kernel of a convolution over (s, d, t).</summary>
    /// <example><code>Compress.layer options None (Format.CP 2) "conv" (makeModel ()) |> orStop</code></example>
    let layer options bound format path model = layerWith options KernelAxes.Fused bound format path model
