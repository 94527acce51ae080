namespace TensorNets

open System
open System.IO
open System.Runtime.InteropServices
open TorchSharp

/// The entries of a tensor as bytes in a stream, the lowest byte first, in pieces that a span can hold.
[<RequireQualifiedAccess>]
module internal TensorBytes =
    /// Bytes read or written at once.
    let private piece = 1L <<< 26

    /// libtorch's iterators take no more.
    let mostDimensions = 64

    /// The bytes of one entry; None: no plain numbers.
    let entrySize (dtype: torch.ScalarType) : int64 option =
        match dtype with
        | torch.ScalarType.ComplexFloat64 -> Some 16L
        | torch.ScalarType.Float64
        | torch.ScalarType.Int64
        | torch.ScalarType.ComplexFloat32 -> Some 8L
        | torch.ScalarType.Float32
        | torch.ScalarType.Int32 -> Some 4L
        | torch.ScalarType.Float16
        | torch.ScalarType.BFloat16
        | torch.ScalarType.Int16 -> Some 2L
        | torch.ScalarType.Int8
        | torch.ScalarType.Byte
        | torch.ScalarType.Bool -> Some 1L
        | _ -> None

    /// The bytes of a shape; None: more than can be counted, even where one of the dimensions is 0.
    let ofShape (size: int64) (shape: int64 list) : int64 option =
        let rec times (product: int64) dims =
            match dims with
            | [] -> Some(if List.contains 0L shape then 0L else product)
            | 0L :: rest -> times product rest
            | dim :: rest -> if dim > Int64.MaxValue / product then None else times (product * dim) rest

        times size shape

    /// Why a tensor has no bytes that can be written.
    let errors (what: string) (tensor: Tensor) : TensorNetError list =
        if isNull (box tensor) then
            Check.readable what tensor
        elif tensor.IsInvalid then
            [ TensorNetError.Unsupported(what, "a disposed tensor", "a tensor that is alive") ]
        elif tensor.device_type = DeviceType.META then
            [
                TensorNetError.Unsupported(what, "a tensor of the device meta, which has no entries", "a tensor with entries")
            ]
        elif tensor.is_sparse then
            [ TensorNetError.Unsupported(what, "a sparse tensor", "a dense one") ]
        elif (entrySize tensor.dtype).IsNone then
            [ TensorNetError.DType(what, string tensor.dtype, "a dtype of plain numbers") ]
        else
            []

    let private pieces (tensor: Tensor) (size: int64) (act: Tensor -> unit) =
        let flat = tensor.reshape -1L
        let entries = flat.shape[0]
        let most = piece / size

        for i in 0L .. (entries + most - 1L) / most - 1L do
            use part = flat.narrow (0L, i * most, min most (entries - i * most))
            act part

    /// Writes the entries of a tensor.
    let write (stream: Stream) (tensor: Tensor) : unit =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let plain = tensor.detach().cpu().contiguous()
        pieces plain (entrySize plain.dtype).Value (fun part -> stream.Write(Span.op_Implicit part.bytes: ReadOnlySpan<byte>))

    /// A tensor of a shape whose numbers are yet to be written, or the number of its bytes where there is no room for as many.
    let private room (dtype: torch.ScalarType) (shape: int64 list) : Result<Tensor, string> =
        try
            Ok(Fresh.empty dtype (List.toArray shape))
        with :? ExternalException ->
            Error $"takes {List.fold (*) (entrySize dtype).Value shape} bytes, for which there is no memory"

    /// A tensor whose bytes follow in a stream; the caller has checked that it holds as many. An error says what is wrong with them.
    let read (stream: Stream) (dtype: torch.ScalarType) (shape: int64 list) : Result<Tensor, string> =
        use scope = torch.NewDisposeScope()

        room dtype shape
        |> Result.bind (fun tensor ->
            let mutable isTruth = true

            pieces tensor (entrySize dtype).Value (fun part ->
                let bytes = part.bytes
                stream.ReadExactly bytes

                if dtype = torch.ScalarType.Bool && MemoryExtensions.ContainsAnyExceptInRange(bytes, 0uy, 1uy) then
                    isTruth <- false)

            if isTruth then Ok(scope.MoveToOuter tensor) else Error "holds truth values other than 0 and 1")
