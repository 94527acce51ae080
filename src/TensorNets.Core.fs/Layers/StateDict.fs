namespace TensorNets

open System
open System.Collections.Generic
open System.IO
open TorchSharp

/// <summary>States, tensors by key, loaded into a module whole or not at all.</summary>
[<RequireQualifiedAccess>]
module StateDict =
    let private skipped (skip: IList<string> | null) (key: string) =
        match skip with
        | null -> false
        | keys -> keys.Contains key

    /// What of a state does not fit a module's own; unless it is to be strict, missing and extra keys do.
    let internal errors
        (strict: bool)
        (skip: IList<string> | null)
        (state: IReadOnlyDictionary<string, Tensor>)
        (own: Dictionary<string, Tensor>)
        =
        let known = List.ofSeq own.Keys

        [
            for KeyValue(key, tensor) in own do
                if not (skipped skip key) then
                    match state.TryGetValue key with
                    | true, found when found.shape <> tensor.shape ->
                        TensorNetError.KeyShape(key, Check.shapeOf found, Check.shapeOf tensor)
                    | true, _ -> ()
                    | _ when strict -> TensorNetError.MissingKey key
                    | _ -> ()
            if strict then
                for key in state.Keys do
                    if not (own.ContainsKey key || skipped skip key) then
                        TensorNetError.UnknownKey(key, known)
        ]

    /// As `load`, with the options of TorchSharp's own.
    let internal loadBy (strict: bool) (skip: IList<string> | null) (state: IReadOnlyDictionary<string, Tensor>) (model: torch.nn.Module) =
        let own = model.state_dict ()

        match errors strict skip state own with
        | [] ->
            use _ = torch.no_grad ()

            for KeyValue(key, tensor) in own do
                match state.TryGetValue key with
                | true, found when not (skipped skip key) -> tensor.copy_ found |> ignore
                | _ -> ()

            Ok()
        | errors -> Error errors

    /// <summary>Copies a state into the parameters and buffers of a module, in place, or says everything that does not fit and changes nothing. dtype and
    /// device remain the module's.</summary>
    /// <remarks>For a model with factorised layers among others: TorchSharp's <c>load_state_dict</c> of the model does not ask its layers. Errors:
    /// <c>MissingKey</c>, <c>UnknownKey</c>, <c>KeyShape</c>, all at once.</remarks>
    let load (state: IReadOnlyDictionary<string, Tensor>) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        loadBy true null state model

    let private ofList (tensors: (string * Tensor) list) = Dictionary<string, Tensor>(dict tensors)

    /// What TorchSharp's `save` has written. The caller's scope owns the tensors. Errors: BadFile, with the reason.
    let internal read (toEnd: bool) (name: string) (stream: Stream) : Result<Dictionary<string, Tensor>, TensorNetError list> =
        TorchState.read toEnd name stream |> Result.map ofList

    /// As `read`, of a file with nothing behind the state.
    let internal readFile (path: string) : Result<Dictionary<string, Tensor>, TensorNetError list> = AtomicFile.read path (read true path)

    /// <summary>As <c>load</c>, from a file that TorchSharp's <c>save</c> has written. All of the file is checked before any of it is used. Errors:
    /// <c>BadFile</c>, with the reason; those of <c>load</c>.</summary>
    let loadFile (path: string) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(model, nameof model)
        use _ = torch.NewDisposeScope()
        readFile path |> Result.bind (fun state -> load state model)

    /// <summary>Writes the parameters and buffers of a module as TorchSharp's <c>save</c> does, but the file holds its old content or the new one whole, whatever
    /// happens meanwhile. Equivalent to: <c>loadFile</c> of the file changes nothing. Errors: <c>DType</c>, <c>Unsupported</c>, <c>UnwrittenFile</c>.</summary>
    let saveFile (path: string) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(model, nameof model)
        let state = [ for KeyValue(key, tensor) in model.state_dict () -> key, tensor ]

        match TorchState.errors state with
        | [] -> AtomicFile.write path (TorchState.write state)
        | errors -> Error errors
