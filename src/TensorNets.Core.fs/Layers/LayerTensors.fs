namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// The tensors of a factorized layer in a file, whose names begin with the layer's path or with nothing.
[<RequireQualifiedAccess>]
module internal LayerTensors =
    /// The name of Σ of a weighted norm. No parameter can be called so: names of cores have no dot.
    let covariance = "norm.covariance"

    let private shown (shape: int64 list) = "[" + String.Join(", ", shape) + "]"

    let private floating = [ torch.float64; torch.float32; torch.float16; torch.bfloat16 ]

    let private floats = "one of F64, F32, F16, BF16"

    /// The tensors that a layer has, each with its shape where the description says it, the dtypes that it may have, and their names.
    let private wanted (layer: LayerDescription) : (string * int64 list option * torch.ScalarType list * string) list =
        [
            match layer.Quantized with
            | Some quantized ->
                for name, shape, dtype in QuantizedDescription.tensors layer.Spec quantized do
                    name, Some shape, [ dtype ], (if dtype = torch.uint8 then "U8" else "F32")
            | None ->
                for core in layer.Spec.Cores do
                    core.Name, Some(Spec.coreShape core layer.Spec), floating, floats
            if layer.Flags |> List.exists (fun (name, _) -> name = "bias") then
                "bias", Some [ layer.Geometry.OutChannels ], floating, floats
            if layer.Modes.IsSome then
                covariance, None, floating, floats
        ]

    /// The parameters of a layer.
    let private parameters (layer: LayerDescription) : string list =
        [
            for core in layer.Spec.Cores do
                core.Name
            if layer.Flags |> List.exists (fun (name, _) -> name = "bias") then
                "bias"
        ]

    /// What the tensors of a file lack of those of a layer, or have otherwise; and what its description lacks.
    let mismatches (prefix: string) (layer: LayerDescription) (known: IReadOnlyDictionary<string, SafeTensorEntry>) : string list =
        let has = HashSet(List.map fst layer.Flags)
        let parameters = parameters layer
        let first = prefix + layer.Spec.Cores.Head.Name

        [
            for name, shape, dtypes, expected in wanted layer do
                let key = prefix + name

                match known.TryGetValue key, shape with
                | (false, _), _ -> $"it has no tensor '{key}'"
                | (true, entry), Some shape when entry.Shape <> shape -> $"'{key}' has shape {shown entry.Shape}; expected {shown shape}"
                | (true, entry), _ when not (List.contains entry.DType dtypes) -> $"'{key}' has dtype {entry.DType}; expected {expected}"
                | (true, entry), Some _ when layer.Quantized.IsNone && known.ContainsKey first && entry.DType <> known[first].DType ->
                    $"'{key}' has dtype {entry.DType}; expected {known[first].DType}, as '{first}'"
                | _ -> ()
            for name in parameters do
                if not (has.Contains name) then
                    $"its layer does not say whether '{prefix + name}' is trained"
            for name in has do
                if not (List.contains name parameters) then
                    $"its layer says whether {SafeTensorHeader.shown name} is trained, which is none of its parameters"
        ]

    /// The names of the tensors of a layer.
    let names (prefix: string) (layer: LayerDescription) : string list = wanted layer |> List.map (fun (name, _, _, _) -> prefix + name)

    /// Puts the cores that integers stand for in the place of those, under every path of the layer: the integers, where there are any.
    let private restore
        (prefixes: string list)
        (layer: LayerDescription)
        (tensors: Dictionary<string, Tensor>)
        : Result<QuantizedNetwork option, TensorNetError list> =
        let inPlace (quantized: QuantizedDescription) (integers: QuantizedNetwork) (cores: Network) =
            for name, _, _ in QuantizedDescription.tensors layer.Spec quantized do
                for prefix in prefixes do
                    tensors.Remove(prefix + name) |> ignore

            for core in layer.Spec.Cores do
                for prefix in prefixes do
                    tensors[prefix + core.Name] <- cores[core.Name]

            Some integers

        match layer.Quantized with
        | None -> Ok None
        | Some quantized ->
            QuantizedDescription.network layer.Spec quantized (fun name -> tensors[prefixes.Head + name])
            |> Result.bind (fun integers -> integers.TryRestored quantized.DType |> Result.map (inPlace quantized integers))

    /// The layer of numbers that have been held against its description.
    let private made (prefix: string) (layer: LayerDescription) (tensors: IReadOnlyDictionary<string, Tensor>) =
        let network = new Network(layer.Spec, [| for core in layer.Spec.Cores -> tensors[prefix + core.Name] |])

        let bias =
            match tensors.TryGetValue(prefix + "bias") with
            | true, bias -> Some bias
            | _ -> None

        Layers.ofNetwork (Some layer.Lowering) layer.Geometry bias network
        |> Result.bind (fun made ->
            for name, trained in layer.Flags do
                (nonNull (made.get_parameter name)).requires_grad <- trained

            match layer.Modes with
            | None -> Ok made
            | Some modes ->
                made.TrySetNorm(Norm.Weighted(modes, tensors[prefix + covariance]))
                |> Result.map (fun () -> made)
                |> Result.mapError (fun errors ->
                    made.Dispose()
                    errors))

    /// The layer of tensors that have been held against its description. The cores that integers stand for take the place of those among
    /// the tensors, under every path of the layer.
    let layer (prefixes: string list) (layer: LayerDescription) (tensors: Dictionary<string, Tensor>) =
        restore prefixes layer tensors
        |> Result.bind (fun integers -> made prefixes.Head layer tensors |> LayerQuantization.remembered integers)

    /// What a file holds of a layer: none of one that is disposed. What is new belongs to the scope of the caller.
    let contents (prefix: string) (layer: FactorizedLayer) : (string * Tensor) list =
        let integers = if (Check.alive "The layer" layer).IsEmpty then LayerQuantization.current layer else None

        [
            for struct (name, parameter) in layer.named_parameters () do
                if integers.IsNone || name = "bias" then
                    prefix + name, (parameter :> Tensor)
            match integers with
            | Some integers ->
                for name, tensor in QuantizedDescription.contents integers do
                    prefix + name, tensor
            | None -> ()
            match layer.Norm with
            | Norm.Weighted(_, sigma) -> prefix + covariance, sigma
            | Norm.Frobenius -> ()
        ]
