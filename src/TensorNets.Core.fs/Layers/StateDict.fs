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

    /// As many near keys as a message can carry.
    let private nearestShown = 3

    let internal nearest (known: string seq) (key: string) = EditDistance.nearest nearestShown key known

    /// What of one tensor of a state does not fit the one that is to hold its numbers.
    let private misfits (key: string) (found: Tensor) (own: Tensor) : TensorNetError list =
        let what = $"'{key}' of the state"

        match Check.readable what found, Check.readable $"'{key}' of the module" own with
        | [], [] ->
            [
                if found.shape <> own.shape then
                    TensorNetError.KeyShape(key, Check.shapeOf found, Check.shapeOf own)
                if found.is_complex () && not (own.is_complex ()) then
                    TensorNetError.DType(what, string found.dtype, $"a real one, as the module's {own.dtype}")
            ]
        | found, own -> found @ own

    /// What of a state does not fit a module's own, by what of one tensor does not; unless it is to be strict, missing and extra keys fit.
    let internal errorsBy
        (misfits: string -> 'found -> 'own -> TensorNetError list)
        (strict: bool)
        (skip: IList<string> | null)
        (state: IReadOnlyDictionary<string, 'found>)
        (own: Dictionary<string, 'own>)
        =
        [
            for KeyValue(key, tensor) in own do
                if not (skipped skip key) then
                    match state.TryGetValue key with
                    | true, found -> yield! misfits key found tensor
                    | _ when strict -> TensorNetError.MissingKey key
                    | _ -> ()
            if strict then
                for key in state.Keys do
                    if not (own.ContainsKey key || skipped skip key) then
                        TensorNetError.UnknownKey(key, nearest own.Keys key)
        ]

    /// The numbers as the tensor that is to hold them has them, in memory of their own, so that it does not matter which of several is
    /// written first. The tensor is given the numbers that it has: what forbids to write shows before anything has changed.
    let private prepared (what: string, own: Tensor, found: Tensor) : Result<Tensor, TensorNetError> =
        try
            let kept = own.detach().clone()
            own.copy_ kept |> ignore
            kept.Dispose()
            Ok(found.detach().``to``(own.dtype, own.device, copy = true))
        with problem ->
            let first = problem.Message.Split('\n')[0]
            Error(TensorNetError.Unreadable(what, $"not to be written into the module's tensor ({first.TrimEnd '.'})"))

    /// Writes tensors into others, each under a name for messages, or says what forbids it and changes nothing.
    let internal overwrite (pairs: (string * Tensor * Tensor) list) : Result<unit, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let all = pairs |> List.map prepared

        match
            all
            |> List.choose (function
                | Error error -> Some error
                | Ok _ -> None)
        with
        | [] ->
            for (_, own, _), fresh in List.zip pairs all do
                own.copy_ (TensorNetError.raiseErrors (Result.mapError List.singleton fresh)) |> ignore

            Ok()
        | errors -> Error errors

    /// As `load`, with the options of TorchSharp's own.
    let internal loadWith
        (strict: bool)
        (skip: IList<string> | null)
        (state: IReadOnlyDictionary<string, Tensor>)
        (model: torch.nn.Module)
        =
        ArgumentNullException.ThrowIfNull(state, nameof state)
        ArgumentNullException.ThrowIfNull(model, nameof model)

        match Check.alive "The module" model with
        | [] ->
            let own = model.state_dict ()

            match errorsBy misfits strict skip state own with
            | [] ->
                overwrite
                    [
                        for KeyValue(key, tensor) in own do
                            match state.TryGetValue key with
                            | true, found when not (skipped skip key) -> $"'{key}' of the state", tensor, found
                            | _ -> ()
                    ]
            | errors -> Error errors
        | errors -> Error errors

    /// The keys of a module's own state that another lacks, and the reverse; without those skipped.
    let internal unmatched
        (skip: IList<string> | null)
        (state: Dictionary<string, Tensor>)
        (own: Dictionary<string, Tensor>)
        : struct (IList<string> * IList<string>) =
        let lacking (those: Dictionary<string, Tensor>) (these: Dictionary<string, Tensor>) : IList<string> =
            these.Keys |> Seq.filter (fun key -> not (those.ContainsKey key || skipped skip key)) |> ResizeArray :> _

        struct (lacking state own, lacking own state)

    /// Notes for each key of a state and each missing one whether it was loaded.
    let internal note
        (skip: IList<string> | null)
        (state: Dictionary<string, Tensor>)
        (missing: IList<string>)
        (extra: IList<string>)
        (loaded: Dictionary<string, bool>)
        =
        for key in Seq.append state.Keys missing do
            loaded[key] <- not (skipped skip key || missing.Contains key || extra.Contains key)

    /// <summary>Copies a state into the parameters and buffers of a module, in place, or says everything that does not fit and changes
    /// nothing. dtype and device remain the module's.</summary>
    /// <remarks>For a model with factorized layers among others: TorchSharp's <c>load_state_dict</c> of the model does not ask its layers.
    /// The state may hold the module's own tensors, in any order. Errors, all at once: <c>MissingKey</c>, <c>UnknownKey</c>,
    /// <c>KeyShape</c>; <c>DType</c> for complex numbers where the module has real ones; <c>Unreadable</c> for quantized, sparse and meta
    /// tensors; <c>Disposed</c>.</remarks>
    /// <example><code>StateDict.load (model.state_dict ()) model |> orStop</code></example>
    let load (state: IReadOnlyDictionary<string, Tensor>) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        loadWith true null state model

    let private ofList (tensors: (string * Tensor) list) = Dictionary<string, Tensor>(dict tensors)

    /// What TorchSharp's `save` has written. The caller's scope owns the tensors. Errors: BadFile, with the reason.
    let internal read (toEnd: bool) (name: string) (stream: Stream) : Result<Dictionary<string, Tensor>, TensorNetError list> =
        TorchState.read toEnd name stream |> Result.map ofList

    /// As `read`, of a file with nothing behind the state.
    let internal readFile (path: string) : Result<Dictionary<string, Tensor>, TensorNetError list> = AtomicFile.read path (read true path)

    /// <summary>As <c>load</c>, from a file that TorchSharp's <c>save</c> has written, or a safetensors file. All of the file is checked
    /// before any of it is used. Errors: <c>BadFile</c>, with the reason; those of <c>load</c>.</summary>
    /// <example><code>StateDict.saveFile path model |> Result.bind (fun () -> StateDict.loadFile path model) |> orStop</code></example>
    let loadFile (path: string) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(model, nameof model)
        use _ = torch.NewDisposeScope()

        AtomicFile.read path (fun stream ->
            if SafeTensors.isAt stream then
                SafeTensors.ofStream path stream
                |> Result.bind (fun file ->
                    use file = file
                    file.ReadAll() |> Result.map ofList)
            else
                read true path stream)
        |> Result.bind (fun state -> load state model)

    /// <summary>Writes the parameters and buffers of a module as TorchSharp's <c>save</c> does, but the file holds its old content or the
    /// new one whole, whatever happens meanwhile. Equivalent to: <c>loadFile</c> of the file changes nothing. Errors: <c>DType</c>,
    /// <c>Unsupported</c>, <c>UnwrittenFile</c>.</summary>
    /// <example><code>StateDict.saveFile path model |> orStop</code></example>
    let saveFile (path: string) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(model, nameof model)
        let state = [ for KeyValue(key, tensor) in model.state_dict () -> key, tensor ]

        match TorchState.errors state with
        | [] -> AtomicFile.write path (TorchState.write state)
        | errors -> Error errors
