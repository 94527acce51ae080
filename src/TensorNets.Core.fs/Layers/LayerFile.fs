namespace TensorNets

open System
open System.Collections.Generic
open System.IO
open TorchSharp

/// <summary>Factorized layers in files that need no knowledge of the original.</summary>
/// <remarks>A safetensors file: the parameters under their keys in a state dict (A, B, C, …, <c>bias</c>), the Σ of a weighted norm as
/// <c>norm.covariance</c>; in the metadata the version, <c>tensornets</c> = 1, and as <c>layer</c> the rest in JSON: spec, geometry,
/// lowering, modes of the norm, and for each parameter whether it is trained. A layer of few bits has its integers, packed, and scales in
/// the place of its cores.</remarks>
[<RequireQualifiedAccess>]
module LayerFile =
    /// The version of layer files and of files of whole models, and its name in the metadata.
    let internal version, internal versionKey = "1", "tensornets"
    let private layerKey = "layer"

    let private description (name: string) (file: SafeTensorReader) : Result<LayerDescription, TensorNetError list> =
        match file.Metadata.TryGetValue versionKey, file.Metadata.TryGetValue layerKey with
        | (true, found), _ when found <> version ->
            SafeTensors.badFile name [ $"it is written in version {SafeTensorHeader.shown found}; expected version {version}" ]
        | (true, _), (true, text) ->
            match LayerDescription.read text with
            | Ok layer -> Ok layer
            | Error errors ->
                errors
                |> List.map (fun error -> "its layer: " + error.Message.TrimEnd '.')
                |> SafeTensors.badFile name
        | _ -> SafeTensors.badFile name [ $"its metadata has no '{versionKey}' and '{layerKey}'; expected a layer" ]

    /// What the tensors that a file lists have that the layer has not, and the reverse.
    let private mismatches (layer: LayerDescription) (entries: IReadOnlyList<SafeTensorEntry>) : string list =
        let known = Dictionary(dict [ for entry in entries -> entry.Name, entry ])
        let names = HashSet(LayerTensors.names "" layer)

        [
            yield! LayerTensors.mismatches "" layer known
            for entry in entries do
                if not (names.Contains entry.Name) then
                    $"it has the tensor {SafeTensorHeader.shown entry.Name}, which is none of the layer's"
        ]

    /// What an open layer file says of its layer, as it stands there, if its tensors are those of the layer.
    let internal described (name: string) (file: SafeTensorReader) : Result<string, TensorNetError list> =
        description name file
        |> Result.bind (fun layer ->
            match mismatches layer file.Entries with
            | [] -> Ok file.Metadata[layerKey]
            | reasons -> SafeTensors.badFile name reasons)

    let private ofFile (name: string) (file: SafeTensorReader) : Result<FactorizedLayer, TensorNetError list> =
        description name file
        |> Result.bind (fun layer ->
            match mismatches layer file.Entries with
            | [] ->
                use _ = torch.NewDisposeScope()

                file.ReadAll()
                |> Result.bind (fun tensors -> LayerTensors.layer [ "" ] layer (Dictionary(dict tensors)))
            | reasons -> SafeTensors.badFile name reasons)

    let private written
        (layer: FactorizedLayer)
        (write: (string * string) list -> (string * Tensor) list -> Result<unit, TensorNetError list>)
        =
        ArgumentNullException.ThrowIfNull(layer, nameof layer)
        use _ = torch.NewDisposeScope()
        let tensors = LayerTensors.contents "" layer

        match
            Check.alive "The layer" layer
            @ (tensors |> List.collect (fun (name, tensor) -> TensorBytes.errors $"'{name}'" tensor))
        with
        | [] -> write [ versionKey, version; layerKey, LayerDescription.write layer ] tensors
        | errors -> Error errors

    /// <summary>Writes a layer to a stream. Errors: <c>Unsupported</c>, <c>DType</c>, for parameters that cannot be written;
    /// <c>Disposed</c>; <c>UnwrittenFile</c>, where the stream takes no more.</summary>
    /// <example><code>LayerFile.write (new MemoryStream()) layer |> orStop</code></example>
    let write (stream: Stream) (layer: FactorizedLayer) : Result<unit, TensorNetError list> =
        written layer (fun metadata tensors -> SafeTensors.write metadata tensors stream)

    /// <summary>The layer that <c>write</c> has written, from the position of a stream to its end. Nothing is allocated that the stream
    /// does not hold. Errors: <c>BadFile</c>, with the reasons; those of <c>Layers.ofNetwork</c>.</summary>
    /// <example><code>LayerFile.read "memory" (new MemoryStream()) // Error: no header</code></example>
    let read (name: string) (stream: Stream) : Result<FactorizedLayer, TensorNetError list> =
        Argument.stream (nameof stream) _.CanRead "read" stream

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
    /// <example><code>LayerFile.save path layer |> orStop</code></example>
    let save (path: string) (layer: FactorizedLayer) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        written layer (SafeTensors.save path)

    /// <summary>The layer in a file. Errors: <c>BadFile</c>, with the reasons; those of <c>Layers.ofNetwork</c>.</summary>
    /// <example><code>LayerFile.save path layer |> Result.bind (fun () -> LayerFile.load path) |> orStop</code></example>
    let load (path: string) : Result<FactorizedLayer, TensorNetError list> = SafeTensors.read path (ofFile path)
