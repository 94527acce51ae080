namespace TensorNets

open System
open System.Collections.Generic
open System.IO
open TorchSharp

/// <summary>Factorized layers in files that need no knowledge of the original.</summary>
/// <remarks>A safetensors file: the parameters under their keys in a state dict (A, B, C, …, <c>bias</c>), the Σ of a weighted norm as
/// <c>norm.covariance</c>; in the metadata the version, <c>tensornets</c> = 1, and as <c>layer</c> the rest in JSON: spec, geometry,
/// lowering, modes of the norm, and for each parameter whether it is trained.</remarks>
[<RequireQualifiedAccess>]
module LayerFile =
    let private version = "1"
    let private versionKey, private layerKey = "tensornets", "layer"

    /// No parameter can be called so: names of cores have no dot.
    let private covarianceKey = "norm.covariance"

    /// The most reasons that are listed for one file.
    let private mostReasons = 20

    let private bad name reasons =
        Error(
            reasons
            |> List.truncate mostReasons
            |> List.map (fun reason -> TensorNetError.BadFile(name, reason))
        )

    let private description (name: string) (file: SafeTensorReader) : Result<LayerDescription, TensorNetError list> =
        match file.Metadata.TryGetValue versionKey, file.Metadata.TryGetValue layerKey with
        | (true, found), _ when found <> version ->
            bad name [ $"it is written in version {SafeTensorHeader.shown found}; expected version {version}" ]
        | (true, _), (true, text) ->
            match LayerDescription.read text with
            | Ok layer -> Ok layer
            | Error errors ->
                errors
                |> List.truncate mostReasons
                |> List.map (fun error -> "its layer: " + error.Message.TrimEnd '.')
                |> bad name
        | _ -> bad name [ $"its metadata has no '{versionKey}' and '{layerKey}'; expected a layer" ]

    /// What the tensors that a file lists have that the layer has not, and the reverse.
    let private mismatches (layer: LayerDescription) (entries: IReadOnlyList<SafeTensorEntry>) : string list =
        let known = Dictionary(dict [ for entry in entries -> entry.Name, entry ])
        let floating = [ torch.float64; torch.float32; torch.float16; torch.bfloat16 ]
        let has = HashSet(List.map fst layer.Flags)

        let wanted =
            [
                for core in layer.Spec.Cores do
                    core.Name, Some(Spec.coreShape core layer.Spec)
                if has.Contains "bias" then
                    "bias", Some [ layer.Geometry.OutChannels ]
                if layer.Modes.IsSome then
                    covarianceKey, None
            ]

        let names = HashSet(List.map fst wanted)
        let shown (shape: int64 list) = "[" + String.Join(", ", shape) + "]"
        let first = layer.Spec.Cores.Head.Name

        [
            for name, shape in wanted do
                match known.TryGetValue name, shape with
                | (false, _), _ -> $"it has no tensor '{name}'"
                | (true, entry), Some shape when entry.Shape <> shape -> $"'{name}' has shape {shown entry.Shape}; expected {shown shape}"
                | (true, entry), _ when not (List.contains entry.DType floating) ->
                    $"'{name}' has dtype {entry.DType}; expected one of F64, F32, F16, BF16"
                | (true, entry), Some _ when known.ContainsKey first && entry.DType <> known[first].DType ->
                    $"'{name}' has dtype {entry.DType}; expected {known[first].DType}, as '{first}'"
                | _ -> ()

                if shape.IsSome && not (has.Contains name) then
                    $"its layer does not say whether '{name}' is trained"
            for entry in entries do
                if not (names.Contains entry.Name) then
                    $"it has the tensor {SafeTensorHeader.shown entry.Name}, which is none of the layer's"
            for name in has do
                if not (names.Contains name && name <> covarianceKey) then
                    $"its layer says whether {SafeTensorHeader.shown name} is trained, which is none of its parameters"
        ]

    /// The layer of tensors that have been held against its description.
    let private layerOf (layer: LayerDescription) (tensors: (string * Tensor) list) : Result<FactorizedLayer, TensorNetError list> =
        let tensors = dict tensors
        let network = new Network(layer.Spec, [| for core in layer.Spec.Cores -> tensors[core.Name] |])

        let bias =
            match tensors.TryGetValue "bias" with
            | true, bias -> Some bias
            | _ -> None

        Layers.ofNetwork (Some layer.Lowering) layer.Geometry bias network
        |> Result.bind (fun made ->
            for name, trained in layer.Flags do
                (nonNull (made.get_parameter name)).requires_grad <- trained

            match layer.Modes with
            | None -> Ok made
            | Some modes ->
                made.TrySetNorm(Norm.Weighted(modes, tensors[covarianceKey]))
                |> Result.map (fun () -> made)
                |> Result.mapError (fun errors ->
                    made.Dispose()
                    errors))

    let private ofFile (name: string) (file: SafeTensorReader) : Result<FactorizedLayer, TensorNetError list> =
        description name file
        |> Result.bind (fun layer ->
            match mismatches layer file.Entries with
            | [] ->
                use _ = torch.NewDisposeScope()
                file.ReadAll() |> Result.bind (layerOf layer)
            | reasons -> bad name reasons)

    /// The tensors of a layer; none of one that is disposed.
    let private contents (layer: FactorizedLayer) =
        [
            for struct (name, parameter) in layer.named_parameters () do
                name, (parameter :> Tensor)
            match layer.Norm with
            | Norm.Weighted(_, covariance) -> covarianceKey, covariance
            | Norm.Frobenius -> ()
        ]

    let private written
        (layer: FactorizedLayer)
        (write: (string * string) list -> (string * Tensor) list -> Result<unit, TensorNetError list>)
        =
        ArgumentNullException.ThrowIfNull(layer, nameof layer)
        let tensors = contents layer

        match tensors |> List.collect (fun (name, tensor) -> TensorBytes.errors $"'{name}'" tensor) with
        | [] when tensors.IsEmpty -> Error [ TensorNetError.Unsupported("The layer", "disposed", "a layer that is alive") ]
        | [] -> write [ versionKey, version; layerKey, LayerDescription.write layer ] tensors
        | errors -> Error errors

    /// <summary>Writes a layer to a stream. Errors: <c>Unsupported</c>, <c>DType</c>, for parameters that cannot be written.</summary>
    let write (stream: Stream) (layer: FactorizedLayer) : Result<unit, TensorNetError list> =
        written layer (fun metadata tensors -> SafeTensors.write metadata tensors stream)

    /// <summary>The layer that <c>write</c> has written, from the position of a stream to its end. Nothing is allocated that the stream
    /// does not hold. Errors: <c>BadFile</c>, with the reasons; those of <c>Layers.ofNetwork</c>.</summary>
    let read (name: string) (stream: Stream) : Result<FactorizedLayer, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(stream, nameof stream)

        if stream.CanSeek then
            SafeTensors.ofStream name stream |> Result.bind (ofFile name)
        else
            use memory = new MemoryStream()
            stream.CopyTo memory
            memory.Position <- 0L
            SafeTensors.ofStream name memory |> Result.bind (ofFile name)

    /// <summary>Writes a layer to a file, which holds its old content or the new one whole, whatever happens meanwhile. Equivalent to:
    /// <c>load</c> of the file gives the same layer to the bit. Errors: those of <c>write</c>; <c>UnwrittenFile</c>, with the
    /// reason.</summary>
    let save (path: string) (layer: FactorizedLayer) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        written layer (SafeTensors.save path)

    /// <summary>The layer in a file. Errors: <c>BadFile</c>, with the reasons; those of <c>Layers.ofNetwork</c>.</summary>
    let load (path: string) : Result<FactorizedLayer, TensorNetError list> = SafeTensors.read path (ofFile path)
