namespace TensorNets

open System
open TorchSharp

/// <summary>Whole models compressed by a plan.</summary>
[<RequireQualifiedAccess>]
module ModelCompression =
    /// <summary>At most 30 sweeps of least squares and 15 of correction a layer, within 1.02 of the error that least squares reach, on all
    /// processors: those of <c>LayerCompression</c>.</summary>
    /// <example><code>{ ModelCompression.defaults with Folder = Some "work" }</code></example>
    let defaults: CompressOptions = LayerCompression.defaults

    /// The layers of a model that a plan factorizes, each as a layer of a source and as the module that stands in the model.
    let private dense (plan: CompressionPlan) (model: torch.nn.Module) : Result<(SourceLayer * torch.nn.Module) list, TensorNetError list> =
        TensorNetError.collect
            [
                for planned in plan.Layers do
                    if planned.IsFactorized then
                        Surgery.find planned.Path model
                        |> Result.bind (Compress.dense planned.Path model)
                        |> Result.bind (fun found -> SourceLayer.ofModule planned.Path found |> Result.map (fun layer -> layer, found))
            ]

    /// <summary>Factorizes the layers of a model that a plan has chosen, in place: least squares, the balanced or corrected network near
    /// their error, and the layer put into the model, several layers side by side.</summary>
    /// <remarks><para>A layer that fails stays dense and is reported. Cancelled, the layers that are finished stay in the model, which can
    /// be used as it is; the others stay dense. With a work folder each finished layer is written there, whole, under a hash of all that it
    /// depends on; a run that was ended in any way goes on from there and ends with the same bits, whatever the number of workers.</para>
    /// <para>Batch norms are best re-estimated afterwards (<c>Calibration.batchNorm</c>); an optimizer made before needs
    /// <c>Optimizers.follow</c>. Errors, before anything is changed: <c>PathNotFound</c>, <c>Compressed</c>, <c>Shape</c> and those of
    /// <c>Surgery.replace</c> where the plan is not one for the model; <c>UnwrittenFile</c> for the folder.</para></remarks>
    /// <param name="options">How layers are made.</param>
    /// <param name="plan">The plan, made for this model.</param>
    /// <param name="model">The model.</param>
    /// <example><code>ModelCompression.run ModelCompression.defaults plan (makeModel ()) |> orStop</code></example>
    let run (options: CompressOptions) (plan: CompressionPlan) (model: torch.nn.Module) : Result<CompressReport, TensorNetError list> =
        Argument.notNull (nameof options) options
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)
        ArgumentNullException.ThrowIfNull(model, nameof model)

        let released =
            [
                if options.ReleaseLayers then
                    TensorNetError.Unsupported("Layers that are released", "those of a model, which stand in it", "those of a source")
            ]

        match released @ Check.alive "The model" model with
        | [] ->
            dense plan model
            |> Result.bind (fun layers ->
                let modules = dict [ for layer, m in layers -> layer.Path, m ]

                let put (path: string) (layer: FactorizedLayer) =
                    Layers.follow modules[path] layer
                    Compress.put path model modules[path] layer

                LayerSource.ofLayers (List.map fst layers) |> LayerCompression.into put options plan)
        | errors -> Error errors
