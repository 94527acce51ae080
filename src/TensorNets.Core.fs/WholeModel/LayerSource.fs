namespace TensorNets

open System
open TorchSharp

/// <summary>Sources of kernels: models, files of states, lists of layers of any other origin.</summary>
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module LayerSource =
    /// <summary>Layers of any origin as a source without other parameters or an input: to be changed with <c>with</c>.</summary>
    /// <example><code>LayerSource.ofLayers [ SourceLayer.make "conv" geometry conv.weight None ]</code></example>
    let ofLayers (layers: SourceLayer seq) : LayerSource =
        ArgumentNullException.ThrowIfNull(layers, nameof layers)
        { Layers = List.ofSeq layers; OtherParameters = 0L; Input = [] }

    /// What a source cannot be: every error.
    let internal errors (source: LayerSource) : TensorNetError list =
        let layers = List.ofSeq source.Layers

        [
            for path, count in layers |> List.countBy _.Path do
                if count > 1 then
                    TensorNetError.Unsupported("The layers of a source", $"{count} at '{path}'", "one for each path")
            yield! layers |> List.collect SourceLayer.errors
        ]

    let private keptModule (layer: SourceLayer) (dense: torch.nn.Module) (model: torch.nn.Module) : string =
        match ModelReport.obstacles layer.Path dense model with
        | [] -> ""
        | _ when layer.Geometry.Groups > 1L && layer.Geometry.Groups = layer.Geometry.InChannels -> "depthwise"
        | errors -> String.Join(" ", errors |> List.map _.Message)

    /// <summary>The linear layers and convolutions of a model, those that are factorized already left out, with the shapes of their inputs
    /// in a forward pass of white noise, in the order in which that calls them first.</summary>
    /// <remarks>Layers have the weights of the model, which must live as long as the source is used. Errors: those of
    /// <c>ModelReport.make</c>.</remarks>
    /// <param name="shape">The shape of an input, images first.</param>
    /// <param name="model">The model; it is not changed.</param>
    /// <example><code>LayerSource.ofModel [ 1L; 4L; 8L; 8L ] model |> orStop</code></example>
    let ofModel (shape: int64 seq) (model: torch.nn.Module<Tensor, Tensor>) : Result<LayerSource, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(shape, nameof shape)
        ArgumentNullException.ThrowIfNull(model, nameof model)
        let shape = List.ofSeq shape

        match Check.alive "The model" model with
        | [] ->
            let all =
                ModelReport.holders model
                |> List.choose (fun (paths, m) ->
                    match m with
                    | :? FactorizedLayer -> None
                    | _ -> SourceLayer.ofModule paths.Head m |> Result.toOption |> Option.map (fun layer -> layer, m))

            ModelReport.calls shape (all |> List.map snd) model
            |> Result.map (fun calls ->
                // A module's fields may stand in any order. What is not called is neither first nor last.
                let turn at = calls |> List.tryFindIndex (fst >> (=) at) |> Option.map float |> Option.defaultValue 0.5

                let layers =
                    List.zip all (ModelReport.inputs all calls)
                    |> List.indexed
                    |> List.sortBy (fst >> turn)
                    |> List.map (fun (_, ((layer, m), inputs)) ->
                        { layer with Inputs = [ for input in inputs -> input ]; Kept = keptModule layer m model })

                {
                    Layers = layers
                    OtherParameters =
                        (model.parameters true |> Seq.sumBy _.numel())
                        - List.sumBy (fun (layer: SourceLayer) -> layer.Parameters) layers
                    Input = shape
                })
        | errors -> Error errors

    let private isStatistic (name: string) =
        name.EndsWith("running_mean", StringComparison.Ordinal)
        || name.EndsWith("running_var", StringComparison.Ordinal)

    /// Whether the name of a matrix says that it is an embedding's: its own name, not one above it, holds `embed`, but is not that of an
    /// output, or is one of GPT's.
    let private isEmbedding (layer: string) (shape: int64 list) : bool =
        let own = (layer.Split '.' |> Array.last).ToLowerInvariant()

        shape.Length = 2
        && (own = "wte"
            || own = "wpe"
            || own.Contains "embed" && not (own.Contains "out" || own.Contains "proj"))

    /// The geometry of a weight by its name and shape alone: nothing is known of steps, groups and padding rows.
    let private geometryOf (layer: string) (shape: int64 list) : ConvGeometry =
        if isEmbedding layer shape then
            ConvGeometry.embedding shape[0] shape[1] None
        else
            { ConvGeometry.plain (shape.Length - 2) shape[1] shape[0] with
                Kernel = shape[2..]
                // One position of an input of one position, so that FLOPs are in proportion to entries.
                Padding = [ for size in shape[2..] -> struct ((size - 1L) / 2L, size / 2L) ]
            }

    let private ofEntry (path: string) (bias: SafeTensorEntry option) (layer: string) (weight: SafeTensorEntry) : SourceLayer =
        // A matrix with a bias is a linear layer's, whatever it is called.
        let g = geometryOf (if bias.IsSome then "" else layer) weight.Shape
        let read (entry: SafeTensorEntry) () = SafeTensors.read path (fun file -> file.Read entry.Name)

        {
            Path = layer
            Kind = g.Kind
            Geometry = g
            Inputs = [ SourceLayer.smallestInput g ]
            Kept =
                (if g.InChannels = 1L && GeometryChecks.positions g > 1L then
                     "one input channel for each output channel: depthwise, or of a single channel"
                 else
                     "")
            Weight = read weight
            Bias = bias |> Option.map read
        }

    /// <summary>The layers of a safetensors file by names and shapes alone: floating-point tensors of two to five axes called
    /// <c>weight</c>, matrices (out, in) as linear layers, the others (out, in, kernel) as convolutions.</summary>
    /// <remarks><para>A file does not say how a layer is applied. Groups and steps are not known; every layer counts as applied at one
    /// position, so that a budget of FLOPs weighs each weight alike. A matrix without bias whose own name holds <c>embed</c> (not
    /// with <c>out</c> or <c>proj</c>) or is <c>wte</c> or <c>wpe</c> passes for an embedding, (tokens, features); one of another
    /// name for a linear layer.</para>
    /// <para>Tensors are read one by one when they are needed: the file may be larger than memory. It must stay as it is meanwhile. Errors:
    /// <c>BadFile</c>.</para></remarks>
    /// <example><code>LayerSource.ofFile path // Error, if there is no such file</code></example>
    let ofFile (path: string) : Result<LayerSource, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)

        SafeTensors.read path (fun file ->
            let floating =
                [
                    for entry in file.Entries do
                        if (Check.floating entry.Name entry.DType).IsEmpty && not (isStatistic entry.Name) then
                            entry
                ]

            let named = floating |> List.map (fun entry -> entry.Name, entry) |> dict

            let isLayer (entry: SafeTensorEntry) =
                (entry.Name = "weight" || entry.Name.EndsWith(".weight", StringComparison.Ordinal))
                && entry.Shape.Length >= 2
                && entry.Shape.Length <= 5
                && (GeometryChecks.errors (geometryOf "" entry.Shape)).IsEmpty

            let layers =
                [
                    for entry in floating do
                        if isLayer entry then
                            let stem = entry.Name[.. entry.Name.Length - 1 - "weight".Length]

                            let bias =
                                match named.TryGetValue(stem + "bias") with
                                | true, bias when bias.Shape = [ entry.Shape[0] ] -> Some bias
                                | _ -> None

                            ofEntry path bias (stem.TrimEnd '.') entry
                ]

            let entries = floating |> List.sumBy (fun entry -> List.fold (*) 1L entry.Shape)

            Ok
                {
                    Layers = layers
                    OtherParameters = entries - List.sumBy (fun (layer: SourceLayer) -> layer.Parameters) layers
                    Input = []
                })
