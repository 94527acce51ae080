namespace TensorNets

open System
open TorchSharp

/// Tensors that several modules hold. TorchSharp makes a handle of its own for each holder, so that memory is what tells.
[<RequireQualifiedAccess>]
module internal SharedTensors =
    let private tensors (recurse: bool) (m: torch.nn.Module) : Tensor list =
        [
            for parameter in m.parameters recurse do
                yield parameter :> Tensor
            yield! m.buffers recurse
        ]

    let private isPlain (tensor: Tensor) =
        (Check.readable "" tensor).IsEmpty && tensor.device_type = DeviceType.CPU && tensor.is_contiguous ()

    let private same (a: Tensor) (b: Tensor) : bool =
        a.Handle = b.Handle
        || isPlain a && isPlain b && MemoryExtensions.Overlaps(a.bytes, Span.op_Implicit b.bytes)

    /// Whether a module itself holds a tensor of another one or of what is below that.
    let holds (m: torch.nn.Module) (user: torch.nn.Module) : bool =
        let own = tensors true m
        tensors false user |> List.exists (fun tensor -> List.exists (same tensor) own)

    /// What forbids to exchange a module whose tensor one of some others holds too: that one would keep it alone.
    let errors (path: string) (m: torch.nn.Module) (others: torch.nn.Module list) (root: torch.nn.Module) : TensorNetError list =
        match others |> List.tryFind (holds m) with
        | Some holder ->
            let where =
                match ModulePath.all root |> List.tryFind (fun (_, other) -> SubmoduleFields.same other holder) with
                | Some(place, _) -> $"'{place}'"
                | None -> $"the {ModulePath.typeOf holder} around it"

            let reason = $"its weight is that of {where} too, which an exchange would part from it"
            [ TensorNetError.UnreachableField(path, ModulePath.typeOf m, reason) ]
        | None -> []
