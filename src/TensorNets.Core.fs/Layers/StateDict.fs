namespace TensorNets

open System.Collections.Generic
open System.IO
open System.Text
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

    /// A number in groups of seven bits, the lowest first, as TorchSharp writes counts.
    let private count (reader: BinaryReader) =
        let mutable value, shift, go = 0L, 0, true

        while go do
            let part = reader.ReadByte()
            value <- value ||| ((int64 part &&& 0x7FL) <<< shift)
            shift <- shift + 7
            go <- part >= 128uy && shift < 63

        value

    /// What TorchSharp's `save` has written. The caller's scope owns the tensors. Errors: BadFile, with the reason.
    let internal read (name: string) (reader: BinaryReader) : Result<Dictionary<string, Tensor>, TensorNetError list> =
        use scope = torch.NewDisposeScope()

        try
            let state = Dictionary<string, Tensor>()

            for _ in 1L .. count reader do
                let key = reader.ReadString()
                state[key] <- TensorExtensionMethods.Load(reader, false)

            for tensor in state.Values do
                scope.MoveToOuter tensor |> ignore

            Ok state
        with
        | :? EndOfStreamException -> Error [ TensorNetError.BadFile(name, "it ends too early") ]
        | problem -> Error [ TensorNetError.BadFile(name, problem.Message.TrimEnd '.') ]

    /// <summary>As <c>load</c>, from a file that TorchSharp's <c>save</c> has written. Errors: <c>BadFile</c>, with the reason; those of <c>load</c>.</summary>
    let loadFile (path: string) (model: torch.nn.Module) : Result<unit, TensorNetError list> =
        if File.Exists path then
            use _ = torch.NewDisposeScope()
            use file = File.OpenRead path
            use reader = new BinaryReader(file, Encoding.UTF8)
            read path reader |> Result.bind (fun state -> load state model)
        else
            Error [ TensorNetError.BadFile(path, "there is no such file") ]
