namespace TensorNets

open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open TorchSharp

/// Where the entries of a tensor lie in memory.
[<NoEquality; NoComparison>]
type private MemoryPlace =
    {
        /// The address of the first entry.
        From: unativeint
        /// The bytes up to the end of the last one.
        Bytes: unativeint
        /// Whether every address between them belongs to an entry.
        IsDense: bool
    }

/// Tensors that several modules hold. TorchSharp makes a handle of its own for each holder, so that memory is what tells.
[<RequireQualifiedAccess>]
module internal SharedTensors =
    /// The tensors of a module; TorchSharp leaves out those that have been disposed.
    let private tensors (recurse: bool) (m: torch.nn.Module) : Tensor list =
        [
            for parameter in m.parameters recurse do
                parameter :> Tensor
            yield! m.buffers recurse
        ]
        |> List.filter (fun tensor -> not (isNull (box tensor) || tensor.IsInvalid))

    /// The bytes from the first entry to the end of the last, and whether none of them is another tensor's: from the fastest axis on, each
    /// stride is the product of the sizes before.
    let private extent (tensor: Tensor) : int64 * bool =
        let axes =
            Array.zip (tensor.stride ()) tensor.shape |> Array.filter (fun (_, size) -> size > 1L) |> Array.sort

        let last = axes |> Array.sumBy (fun (stride, size) -> stride * (size - 1L))

        let isDense, _ =
            axes
            |> Array.fold (fun (dense, product) (stride, size) -> dense && stride = product, product * size) (true, 1L)

        (last + 1L) * int64 (tensor.element_size ()), isDense

    /// Where a tensor's entries lie; None for one without entries, and for one whose memory is not the CPU's.
    let private place (tensor: Tensor) : MemoryPlace option =
        let isPlain =
            (Check.readable "" tensor).IsEmpty && tensor.device_type = DeviceType.CPU && tensor.numel () > 0L

        if not isPlain then
            None
        else
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()
            let bytes, isDense = extent tensor
            // One entry: a span holds no more than 2 GiB.
            let first =
                [ 0L .. tensor.dim () - 1L ]
                |> List.fold (fun (t: Tensor) axis -> t.narrow (axis, 0L, 1L)) (tensor.detach ())

            let address = Unsafe.ByteOffset(&Unsafe.NullRef<byte>(), &MemoryMarshal.GetReference first.bytes)
            Some { From = unativeint address; Bytes = unativeint bytes; IsDense = isDense }

    /// Whether the first entry of a tensor is known to be one of another: of one that has gaps, only where both begin together.
    let private startsIn (whole: MemoryPlace) (part: MemoryPlace) =
        part.From = whole.From
        || whole.IsDense && part.From > whole.From && part.From - whole.From < whole.Bytes

    let private share (a: MemoryPlace) (b: MemoryPlace) = startsIn a b || startsIn b a

    /// Whether a module itself holds one of some tensors, each with its place.
    let private uses (own: (Tensor * MemoryPlace option) list) (user: torch.nn.Module) : bool =
        tensors false user
        |> List.exists (fun tensor ->
            let taken = place tensor

            own
            |> List.exists (fun (mine, at) -> mine.Handle = tensor.Handle || Option.map2 share at taken = Some true))

    let private placed (m: torch.nn.Module) = tensors true m |> List.map (fun tensor -> tensor, place tensor)

    /// Whether a module itself holds a tensor of another one or of what is below that, whose places are found once.
    let holds (m: torch.nn.Module) : torch.nn.Module -> bool = uses (placed m)

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
