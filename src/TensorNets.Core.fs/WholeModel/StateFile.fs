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

/// <summary>Files of compressed models without the class of the model: written from a state and factorized layers, their layers
/// read.</summary>
/// <remarks>The files are those of <c>ModelFile</c>, which reads them into a model.</remarks>
[<RequireQualifiedAccess>]
module StateFile =
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

                        List.ofSeq layer.Paths, layer.Layer, layer.IsKernelOnly
                ]

            let own = ModelFile.metadata described
            let kept = metadata |> List.filter (fun (key, _) -> not (List.exists (fun (name, _) -> name = key) own))
            SafeTensors.save path (own @ kept) tensors
        | _ -> Error [ TensorNetError.Unsupported("The paths of a layer", "none", "at least one") ]

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
