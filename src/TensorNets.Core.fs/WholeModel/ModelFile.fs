namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>Compressed models, each as one file that a freshly made dense model can be turned into.</summary>
/// <remarks>A safetensors file: every tensor of the model's state under its name, the Σ of a layer's weighted norm as
/// <c>PATH.norm.covariance</c>, in the place of the cores of a layer of few bits its integers, packed, and scales; in the metadata the
/// version, <c>tensornets</c> = 1, and as <c>model</c> in JSON for each factorized layer its paths, what a layer file says of it (spec,
/// geometry, lowering, norm, what is trained), its format and kernel error.</remarks>
[<RequireQualifiedAccess>]
module ModelFile =
    /// The name of the layers in the metadata.
    let internal modelKey = "model"

    /// What a file says of its layers.
    let internal metadata (layers: (string list * string * LayerOrigin option * bool) list) : (string * string) list =
        [ LayerFile.versionKey, LayerFile.version; modelKey, LayerRecord.write layers ]

    let private layersOf (model: torch.nn.Module) : (string list * FactorizedLayer) list =
        ModulePath.placed model
        |> List.choose (fun (paths, m) ->
            match m with
            | :? FactorizedLayer as layer -> Some(paths, layer)
            | _ -> None)

    /// <summary>Writes a model with its factorized layers to one file, which holds its old content or the new one whole, whatever happens
    /// meanwhile. Errors: <c>Unsupported</c> for a model that is a factorized layer itself, which <c>LayerFile.save</c> takes, and for
    /// tensors that cannot be written; <c>DType</c>; <c>Disposed</c>; <c>UnwrittenFile</c>.</summary>
    /// <example><code>ModelFile.save path (makeModel ()) |> orStop</code></example>
    let save (path: string) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(model, nameof model)

        match Check.alive "The model" model, model with
        | [], :? FactorizedLayer ->
            Error
                [
                    TensorNetError.Unsupported(
                        "The model",
                        "a factorized layer itself",
                        "a model around it; LayerFile.save writes one layer"
                    )
                ]
        | [], _ ->
            use _ = torch.NewDisposeScope()
            let state = model.state_dict ()

            let layers =
                [
                    for paths, layer in layersOf model -> paths, layer, LayerTensors.contents (paths.Head + ".") layer
                ]

            // Cores in whose place integers stand are no part of the file.
            let replaced =
                HashSet
                    [
                        for paths, layer, contents in layers do
                            let own = HashSet(List.map fst contents)

                            for core in layer.Spec.Cores do
                                if not (own.Contains $"{paths.Head}.{core.Name}") then
                                    for path in paths do
                                        $"{path}.{core.Name}"
                    ]

            SafeTensors.save
                path
                (metadata [ for paths, layer, _ in layers -> paths, LayerDescription.write layer, layer.Origin, false ])
                [
                    for KeyValue(key, tensor) in state do
                        if not (replaced.Contains key) then
                            key, tensor
                    for _, _, contents in layers do
                        for name, tensor in contents do
                            if not (state.ContainsKey name) then
                                name, tensor
                ]
        | errors, _ -> Error errors

    /// What a file says of its factorized layers, and has the tensors of.
    let internal records (name: string) (file: SafeTensorReader) : Result<LayerRecord list, TensorNetError list> =
        match file.Metadata.TryGetValue LayerFile.versionKey, file.Metadata.TryGetValue modelKey with
        | (true, found), _ when found <> LayerFile.version ->
            SafeTensors.badFile name [ $"it is written in version {SafeTensorHeader.shown found}; expected version {LayerFile.version}" ]
        | (true, _), (true, text) ->
            match LayerRecord.read text with
            | Ok records ->
                let known = Dictionary(dict [ for entry in file.Entries -> entry.Name, entry ])

                match
                    records
                    |> List.collect (fun record -> LayerTensors.mismatches (record.Paths.Head + ".") record.Layer known)
                with
                | [] -> Ok records
                | reasons -> SafeTensors.badFile name reasons
            | Error errors ->
                errors
                |> List.map (fun error -> "its layers: " + error.Message.TrimEnd '.')
                |> SafeTensors.badFile name
        | _ -> SafeTensors.badFile name [ $"its metadata has no '{LayerFile.versionKey}' and '{modelKey}'; expected a compressed model" ]

    /// A layer of a file and the module whose place it takes.
    type private Place = { Record: LayerRecord; Path: string; Old: torch.nn.Module<Tensor, Tensor> }

    let private geometryOf path (m: torch.nn.Module) =
        match m with
        | :? FactorizedLayer as layer -> Ok layer.Geometry
        | _ -> ConvGeometry.ofDenseAt path m |> Result.map (fun (geometry, _, _) -> geometry)

    /// A geometry with the channels and the kernel of its own, and all else of a layer of a model.
    let private withSteps (model: ConvGeometry) (g: ConvGeometry) : ConvGeometry =
        { model with
            InChannels = g.InChannels
            OutChannels = g.OutChannels
            Kernel = g.Kernel
            Groups = g.Groups
            Transposed = g.Transposed
            Embedding = g.Embedding
        }

    /// Whether a layer of a file has the geometry of a model's. The padding row of an embedding that is frozen cannot be seen, nor that
    /// of one in a file of tensors alone: rows are the same where both are known.
    let private agrees (record: LayerRecord) (model: ConvGeometry) : bool =
        let own = (if record.IsKernelOnly then withSteps model else id) record.Layer.Geometry

        let isSameRow =
            match own.PaddingIdx, model.PaddingIdx with
            | Some row, Some other -> row = other
            | _ -> true

        own.IsEmbedding = model.IsEmbedding && isSameRow && { own with Embedding = model.Embedding } = model

    /// The geometry of a model's layer, with the padding row that it or the file knows of.
    let private merged (file: ConvGeometry) (model: ConvGeometry) : ConvGeometry =
        if model.PaddingIdx.IsNone then { model with Embedding = file.Embedding } else model

    let private quoted (paths: string list) = String.Join(", ", paths |> List.sort |> List.map (fun path -> $"'{path}'"))

    /// Where a layer of a file stands in a model, or what forbids it to.
    let private place (name: string) (all: (string list * torch.nn.Module) list) model (record: LayerRecord) =
        let path = record.Paths.Head

        match Surgery.find path model |> Result.map (fun found -> found, Surgery.refusal path model) with
        | Error errors
        | Ok(_, (_ :: _ as errors)) -> Error errors
        | Ok(found, []) ->
            let paths = all |> List.find (fun (_, m) -> SubmoduleFields.same m found) |> fst

            match geometryOf path found, found with
            | Error errors, _ -> Error errors
            | Ok _, _ when Set.ofList paths <> Set.ofList record.Paths ->
                SafeTensors.badFile name [ $"it has one layer at {quoted record.Paths}; the model has one at {quoted paths}" ]
            | Ok geometry, _ when not (agrees record geometry) ->
                SafeTensors.badFile
                    name
                    [
                        $"its layer '{path}' is a {ConvGeometry.name record.Layer.Geometry} of another geometry than the model's there"
                    ]
            | Ok geometry, (:? torch.nn.Module<Tensor, Tensor> as old) ->
                Ok
                    {
                        Record = { record with Layer = { record.Layer with Geometry = merged record.Layer.Geometry geometry } }
                        Path = path
                        Old = old
                    }
            | Ok _, other -> Error [ TensorNetError.ModuleType(path, ModulePath.typeOf other, "Module<Tensor, Tensor>") ]

    /// What does not fit a model of the tensors in a file that are in none of its factorized layers.
    let private elsewhere (model: torch.nn.Module) (file: SafeTensorReader) (records: LayerRecord list) : TensorNetError list =
        let prefixes =
            [
                for record in records do
                    for path in record.Paths -> path + "."
            ]

        let isElsewhere (key: string) = not (prefixes |> List.exists (fun prefix -> key.StartsWith(prefix, StringComparison.Ordinal)))
        use _ = torch.NewDisposeScope()

        let shapes all =
            Dictionary(
                dict
                    [
                        for key, shape in all do
                            if isElsewhere key then
                                key, shape
                    ]
            )

        let own = shapes [ for KeyValue(key, tensor) in model.state_dict () -> key, Check.shapeOf tensor ]
        let found = shapes [ for entry in file.Entries -> entry.Name, entry.Shape ]

        let misfits key found own =
            [
                if found <> own then
                    TensorNetError.KeyShape(key, found, own)
            ]

        StateDict.errorsBy misfits true null found own

    /// The factorized layer of a place, in the dtype and on the device of the model.
    let private made (tensors: Dictionary<string, Tensor>) (place: Place) : Result<Place * FactorizedLayer, TensorNetError list> =
        LayerTensors.layer [ for path in place.Record.Paths -> path + "." ] place.Record.Layer tensors
        |> Result.bind (fun layer ->
            match Seq.tryHead (place.Old.parameters true) with
            | Some like -> layer.``to`` (like.device, like.dtype) |> ignore
            | None -> ()

            layer.Origin <- place.Record.Origin

            ModuleTables.shareHooks place.Old layer
            |> Result.map (fun () -> place, layer)
            |> Result.mapError List.singleton)

    /// Puts the layers in their places and a state into all, or leaves the model as it was.
    let private applied (state: Dictionary<string, Tensor>) (model: torch.nn.Module) (layers: (Place * FactorizedLayer) list) =
        let put = Stack<Place>()

        let exchanged =
            (Ok(), layers)
            ||> List.fold (fun result (place, layer) ->
                result
                |> Result.bind (fun () -> Surgery.exchange place.Path layer model)
                |> Result.map (fun _ -> put.Push place))

        match exchanged |> Result.bind (fun () -> StateDict.load state model) with
        | Ok() ->
            for place, layer in layers do
                layer.Replaces place.Old

            Ok()
        | Error errors ->
            for place in put do
                Surgery.exchange place.Path place.Old model |> ignore

            for _, layer in layers do
                layer.Dispose()

            Error errors

    let private ofFile (name: string) (model: torch.nn.Module) (file: SafeTensorReader) : Result<unit, TensorNetError list> =
        records name file
        |> Result.bind (fun records ->
            let all = ModulePath.placed model

            records
            |> List.map (place name all model)
            |> TensorNetError.collect
            |> Result.mapError (fun errors -> errors @ elsewhere model file records)
            |> Result.bind (fun places ->
                use _ = torch.NewDisposeScope()

                file.ReadAll()
                |> Result.bind (fun tensors ->
                    let tensors = Dictionary(dict tensors)
                    let results = places |> List.map (made tensors)

                    match TensorNetError.collect results with
                    | Ok layers ->
                        for record in records do
                            tensors.Remove(record.Paths.Head + "." + LayerTensors.covariance) |> ignore

                        applied tensors model layers
                    | Error errors ->
                        for result in results do
                            result |> Result.iter (fun (_, layer) -> layer.Dispose())

                        Error errors)))

    /// <summary>Turns a dense model into the compressed one of a file: puts its factorized layers into their places and copies all of its
    /// state, or says everything that does not fit and leaves the model as it was.</summary>
    /// <remarks>The model is one as <c>save</c> had it before it was compressed, freshly made; dtype and device remain the model's.
    /// Equivalent to: a model saved and loaded has the same state to the bit. An optimizer made before needs <c>Optimizers.follow</c>.
    /// Errors: <c>BadFile</c>, with the reasons; <c>PathNotFound</c> and those of <c>Surgery.exchange</c> for a layer that cannot take its
    /// place; those of <c>StateDict.load</c>.</remarks>
    /// <example><code>ModelFile.save path model |> Result.bind (fun () -> ModelFile.load path (makeModel ())) |> orStop</code></example>
    let load (path: string) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(model, nameof model)

        match Check.alive "The model" model with
        | [] ->
            use _ = Mode.left ()
            SafeTensors.read path (ofFile path model)
        | errors -> Error errors
