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

    /// The tensors that a layer has, each with its shape where the description says it.
    let private wanted (layer: LayerDescription) : (string * int64 list option) list =
        [
            for core in layer.Spec.Cores do
                core.Name, Some(Spec.coreShape core layer.Spec)
            if layer.Flags |> List.exists (fun (name, _) -> name = "bias") then
                "bias", Some [ layer.Geometry.OutChannels ]
            if layer.Modes.IsSome then
                covariance, None
        ]

    /// What the tensors of a file lack of those of a layer, or have otherwise; and what its description lacks.
    let mismatches (prefix: string) (layer: LayerDescription) (known: IReadOnlyDictionary<string, SafeTensorEntry>) : string list =
        let wanted = wanted layer
        let has = HashSet(List.map fst layer.Flags)
        let names = HashSet(List.map fst wanted)
        let first = prefix + layer.Spec.Cores.Head.Name

        [
            for name, shape in wanted do
                let key = prefix + name

                match known.TryGetValue key, shape with
                | (false, _), _ -> $"it has no tensor '{key}'"
                | (true, entry), Some shape when entry.Shape <> shape -> $"'{key}' has shape {shown entry.Shape}; expected {shown shape}"
                | (true, entry), _ when not (List.contains entry.DType floating) ->
                    $"'{key}' has dtype {entry.DType}; expected one of F64, F32, F16, BF16"
                | (true, entry), Some _ when known.ContainsKey first && entry.DType <> known[first].DType ->
                    $"'{key}' has dtype {entry.DType}; expected {known[first].DType}, as '{first}'"
                | _ -> ()

                if shape.IsSome && not (has.Contains name) then
                    $"its layer does not say whether '{key}' is trained"
            for name in has do
                if not (names.Contains name && name <> covariance) then
                    $"its layer says whether {SafeTensorHeader.shown name} is trained, which is none of its parameters"
        ]

    /// The names of the tensors of a layer.
    let names (prefix: string) (layer: LayerDescription) : string list = wanted layer |> List.map (fun (name, _) -> prefix + name)

    /// The layer of tensors that have been held against its description.
    let layer (prefix: string) (layer: LayerDescription) (tensors: IReadOnlyDictionary<string, Tensor>) =
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

    /// What a file holds of a layer: none of one that is disposed.
    let contents (prefix: string) (layer: FactorizedLayer) : (string * Tensor) list =
        [
            for struct (name, parameter) in layer.named_parameters () do
                prefix + name, (parameter :> Tensor)
            match layer.Norm with
            | Norm.Weighted(_, sigma) -> prefix + covariance, sigma
            | Norm.Frobenius -> ()
        ]
