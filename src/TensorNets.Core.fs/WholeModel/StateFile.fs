namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>A factorized layer in the file of a compressed model.</summary>
type StoredLayer =
    {
        /// Every path at which the layer stands in its model, at least one.
        Paths: IReadOnlyList<string>
        /// The layer, which whoever asked for it disposes.
        Layer: FactorizedLayer
        /// <summary>Its format with its ranks, such as <c>CP(48)</c>; empty where it is not known.</summary>
        Format: string
        /// ‖K − T‖ / ‖K‖ when it was made of a dense layer; NaN where that is not known.
        KernelError: float
        /// Whether channels and kernel of its geometry are known alone: strides, padding and the like are those of the model's layer that
        /// it takes the place of.
        IsKernelOnly: bool
    }

    /// What the layer is, such as Conv2d.
    member this.Kind = this.Layer.Geometry.Kind
    /// The shape of the dense weight that the layer contracts to.
    member this.Shape: IReadOnlyList<int64> = ConvGeometry.weightShape this.Layer.Geometry

/// <summary>A factorized layer in a layer file, as the work folder of a run has it, and what the file of a model says of it.</summary>
type LayerInFile =
    {
        /// Every path at which the layer stands in its model, at least one.
        Paths: IReadOnlyList<string>
        /// <summary>The file, as <c>LayerFile.save</c> writes it.</summary>
        File: string
        /// <summary>Its format with its ranks, such as <c>CP(48)</c>; empty where it is not known.</summary>
        Format: string
        /// ‖K − T‖ / ‖K‖ when it was made of a dense layer; NaN where that is not known.
        KernelError: float
        /// Whether channels and kernel of its geometry are known alone.
        IsKernelOnly: bool
    }

/// <summary>Files of compressed models without the class of the model: written from a state and factorized layers, their layers
/// read.</summary>
/// <remarks>The files are those of <c>ModelFile</c>, which reads them into a model.</remarks>
[<RequireQualifiedAccess>]
module StateFile =
    let private withoutPaths = TensorNetError.Unsupported("The paths of a layer", "none", "at least one")

    /// What a file says: of its layers, and what else is given and not of the same name.
    let private metadataOf layers (others: (string * string) seq) : (string * string) list =
        let own = ModelFile.metadata layers

        own
        @ [
            for key, value in others do
                if own |> List.forall (fun (name, _) -> name <> key) then
                    key, value
        ]

    /// <summary>Writes a state in which factorized layers have taken the place of dense ones; <c>ModelFile.load</c> turns the dense model
    /// into the compressed one. Errors: <c>Unsupported</c> for a layer without a path or two things of one name; <c>DType</c>;
    /// <c>UnwrittenFile</c>.</summary>
    /// <param name="path">The file, which holds its old content or the new one whole, whatever happens meanwhile.</param>
    /// <param name="metadata">What else the file says, by name.</param>
    /// <param name="layers">The factorized layers; not disposed.</param>
    /// <param name="others">All other tensors of the model's state by their names there.</param>
    /// <example><code>StateFile.save path [] [] [ "fc.bias", torch.ones 3L ] |> orStop</code></example>
    let save
        (path: string)
        (metadata: (string * string) list)
        (layers: StoredLayer list)
        (others: (string * torch.Tensor) list)
        : Result<unit, TensorNetError list> =
        Argument.notNull (nameof metadata) metadata
        Argument.notNull (nameof layers) layers
        Argument.notNull (nameof others) others

        for layer in layers do
            Argument.notNull (nameof layers) layer
            Argument.notNull "layers' paths" layer.Paths
            Argument.notNull "layers' layer" layer.Layer

        match layers |> List.filter (fun layer -> layer.Paths.Count = 0) with
        | [] ->
            let tensors =
                [
                    for layer in layers do
                        yield! LayerTensors.contents (layer.Paths[0] + ".") layer.Layer
                    yield! others
                ]

            let described =
                [
                    for layer in layers do
                        if layer.Format <> "" then
                            layer.Layer.Origin <- Some { Format = layer.Format; KernelError = layer.KernelError }

                        List.ofSeq layer.Paths, LayerDescription.write layer.Layer, layer.Layer.Origin, layer.IsKernelOnly
                ]

            SafeTensors.save path (metadataOf described metadata) tensors
        | _ -> Error [ withoutPaths ]

    /// What the file of a model says of a layer in a file of its own, and the layer's tensors, each read when its turn comes.
    let private inFile (layer: LayerInFile) =
        SafeTensors.read layer.File (fun file ->
            LayerFile.described layer.File file
            |> Result.map (fun description ->
                let origin =
                    if layer.Format = "" then None else Some { Format = layer.Format; KernelError = layer.KernelError }

                let read name = SafeTensors.read layer.File (fun file -> file.Read name)

                (List.ofSeq layer.Paths, description, origin, layer.IsKernelOnly),
                [ for entry in file.Entries -> DeferredTensor.ofEntry $"{layer.Paths[0]}.{entry.Name}" read entry ]))

    /// Why layers cannot take the places of dense ones in a file.
    let private mergeErrors (dense: string) (file: SafeTensorReader) (layers: LayerInFile list) : TensorNetError list =
        let names = HashSet [ for entry in file.Entries -> entry.Name ]

        [
            if file.Metadata.ContainsKey LayerFile.versionKey then
                let found = $"its metadata has '{LayerFile.versionKey}': it is compressed already"
                TensorNetError.BadFile(dense, found + "; expected the state of a dense model")
            for layer in layers do
                for path in layer.Paths do
                    if not (names.Contains $"{path}.weight") then
                        TensorNetError.BadFile(dense, $"it has no '{path}.weight', whose place the layer of '{layer.File}' would take")
        ]

    /// <summary>Writes the state of a dense file in which layers that are in files of their own have taken the place of dense ones:
    /// equivalent to <c>save</c> of these layers, the other tensors and the metadata of the dense file, to the bit.</summary>
    /// <remarks>One tensor is in memory at a time, so that the model may be larger than it. Of a layer at <c>PATH</c> the dense file has
    /// <c>PATH.weight</c> and perhaps <c>PATH.bias</c>. Errors: <c>BadFile</c> for a dense file that is compressed already or has no such
    /// layers, and for that of a layer; those of <c>save</c>.</remarks>
    /// <param name="path">The file, which holds its old content or the new one whole, whatever happens meanwhile.</param>
    /// <param name="dense">A safetensors file with the state of the dense model; not changed.</param>
    /// <param name="layers">The factorized layers.</param>
    /// <example><code>StateFile.merge path "no such file" [] // Error, with the reason</code></example>
    let merge (path: string) (dense: string) (layers: LayerInFile list) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(dense, nameof dense)
        Argument.notNull (nameof layers) layers

        for layer in layers do
            Argument.notNull (nameof layers) layer
            Argument.notNull "layers' paths" layer.Paths
            Argument.notNull "layers' file" layer.File
            Argument.notNull "layers' format" layer.Format

        if layers |> List.exists (fun layer -> layer.Paths.Count = 0) then
            Error [ withoutPaths ]
        else
            SafeTensors.read dense (fun file ->
                let found =
                    match mergeErrors dense file layers with
                    | [] -> layers |> List.map inFile |> TensorNetError.collect
                    | errors -> Error errors

                found
                |> Result.bind (fun found ->
                    let described, own = List.unzip found

                    let replaced =
                        HashSet
                            [
                                for layer in layers do
                                    for path in layer.Paths do
                                        $"{path}.weight"
                                        $"{path}.bias"
                            ]

                    let others =
                        [
                            for entry in file.Entries do
                                if not (replaced.Contains entry.Name) then
                                    DeferredTensor.ofEntry entry.Name file.Read entry
                        ]

                    let metadata = metadataOf described [ for KeyValue(key, value) in file.Metadata -> key, value ]
                    SafeTensors.saveDeferred path metadata (List.concat own @ others)))

    /// <summary>The factorized layers in the file of a compressed model, by its records and tensors alone. The caller disposes the layers.
    /// Errors: <c>BadFile</c>, with the reasons, also for a file that says nothing of factorized layers; those of
    /// <c>Layers.ofNetwork</c>.</summary>
    /// <example><code>ModelFile.save path model |> Result.bind (fun () -> StateFile.layers path) |> orStop // none</code></example>
    let layers (path: string) : Result<IReadOnlyList<StoredLayer>, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        use _ = Mode.left ()

        let layer (file: SafeTensorReader) (record: LayerRecord) =
            let prefix = record.Paths.Head + "."
            use _ = torch.NewDisposeScope()

            LayerTensors.names prefix record.Layer
            |> List.map (fun name -> file.Read name |> Result.map (fun tensor -> name, tensor))
            |> TensorNetError.collect
            |> Result.bind (fun tensors -> LayerTensors.layer [ prefix ] record.Layer (Dictionary(dict tensors)))
            |> Result.map (fun layer ->
                layer.Origin <- record.Origin

                {
                    Paths = record.Paths
                    Layer = layer
                    Format = record.Origin |> Option.map _.Format |> Option.defaultValue ""
                    KernelError = record.Origin |> Option.map _.KernelError |> Option.defaultValue nan
                    IsKernelOnly = record.IsKernelOnly
                })

        SafeTensors.read path (fun file ->
            ModelFile.records path file
            |> Result.bind (fun records ->
                let made = records |> List.map (layer file)

                match TensorNetError.collect made with
                | Ok layers -> Ok(layers :> IReadOnlyList<_>)
                | Error errors ->
                    for one in made do
                        one |> Result.iter (fun stored -> stored.Layer.Dispose())

                    Error errors))
