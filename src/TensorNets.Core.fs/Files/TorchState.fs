namespace TensorNets

open System
open System.IO
open System.Text
open TorchSharp

/// States as TorchSharp's `save` writes them: the number of tensors, then of each its name behind its length, dtype, number of dimensions,
/// dimensions, bytes. All numbers are in groups of seven bits, the lowest first. TorchSharp's loader trusts what it reads; nothing of a
/// file reaches it.
[<RequireQualifiedAccess>]
module internal TorchState =
    /// A tensor in the stream, its bytes at an absolute position.
    type private Entry = { Name: string; DType: torch.ScalarType; Shape: int64 list; Position: int64 }

    /// Why a walk ends.
    exception private Broken of reason: string

    let private broken reason = raise (Broken reason)

    let private strict = UTF8Encoding(false, true)

    let private number (stream: Stream) : int64 =
        let rec read (value: int64) (shift: int) =
            match stream.ReadByte() with
            | -1 -> broken "it ends too early"
            | part when shift = 63 && part <> 0 || shift > 63 -> broken "it has a number of more than 63 bits"
            | part when part >= 128 -> read (value ||| (int64 (part &&& 127) <<< shift)) (shift + 7)
            | part -> value ||| (int64 part <<< shift)

        read 0L 0

    let private left (stream: Stream) = stream.Length - stream.Position

    let private name (stream: Stream) : string =
        let length = number stream

        if length > left stream then
            broken $"a name is said to have {length} bytes; {left stream} are left"

        let bytes = Array.zeroCreate<byte>(int length)
        stream.ReadExactly bytes

        try
            strict.GetString bytes
        with :? DecoderFallbackException ->
            broken "a name is no UTF-8"

    let private dtype what (stream: Stream) : torch.ScalarType * int64 =
        let code = number stream

        let found =
            if code > 127L then
                None
            else
                let dtype: torch.ScalarType = LanguagePrimitives.EnumOfValue(sbyte code)
                TensorBytes.entrySize dtype |> Option.map (fun size -> dtype, size)

        match found with
        | Some found -> found
        | None -> broken $"the dtype of {what} is {code}; expected the number of one with plain entries"

    let private shape what (stream: Stream) : int64 list =
        let count = number stream

        if count > int64 TensorBytes.mostDimensions then
            broken $"{what} is said to have {count} dimensions; expected at most {TensorBytes.mostDimensions}"

        [ for _ in 1L .. count -> number stream ]

    let private entry (stream: Stream) : Entry =
        let name = name stream
        let what = SafeTensorHeader.shown name
        let dtype, size = dtype what stream
        let shape = shape what stream

        match TensorBytes.ofShape size shape with
        | Some bytes when bytes <= left stream ->
            let entry = { Name = name; DType = dtype; Shape = shape; Position = stream.Position }
            stream.Position <- stream.Position + bytes
            entry
        | Some _
        | None -> broken $"it ends too early for the entries of {what}"

    let private walk (toEnd: bool) (stream: Stream) : Entry list =
        let count = number stream
        let names = Collections.Generic.HashSet<string>()

        // Three bytes are the least that one tensor takes.
        if count > left stream / 3L then
            broken "it ends too early"

        let entries =
            [
                for _ in 1L .. count do
                    let entry = entry stream

                    if not (names.Add entry.Name) then
                        broken $"it has {SafeTensorHeader.shown entry.Name} more than once"

                    entry
            ]

        if toEnd && left stream > 0L then
            broken $"{left stream} bytes follow its last tensor"

        entries

    let private tensors (stream: Stream) (entries: Entry list) : (string * Tensor) list =
        use scope = torch.NewDisposeScope()

        let read =
            [
                for entry in entries do
                    stream.Position <- entry.Position

                    match TensorBytes.read stream entry.DType entry.Shape with
                    | Ok tensor -> entry.Name, tensor
                    | Error reason -> broken $"{SafeTensorHeader.shown entry.Name} {reason}"
            ]

        read |> List.map (fun (name, tensor) -> name, scope.MoveToOuter tensor)

    /// <summary>The tensors by name of the state that stands at the position of a stream; the position is then behind it. The caller's
    /// scope owns them. A stream that cannot seek is read to its end first. Errors: <c>BadFile</c>, with the reason.</summary>
    /// <param name="toEnd">Whether nothing may follow the state.</param>
    /// <param name="name">What errors call the state.</param>
    /// <param name="stream">Stays the caller's.</param>
    let rec read (toEnd: bool) (name: string) (stream: Stream) : Result<(string * Tensor) list, TensorNetError list> =
        if stream.CanSeek then
            try
                let entries = walk toEnd stream
                let behind = stream.Position
                let read = tensors stream entries
                stream.Position <- behind
                Ok read
            with
            | Broken reason -> Error [ TensorNetError.BadFile(name, reason) ]
            | :? EndOfStreamException -> Error [ TensorNetError.BadFile(name, "it ends too early") ]
        else
            use memory = new MemoryStream()
            stream.CopyTo memory
            memory.Position <- 0L
            read toEnd name memory

    let private writeNumber (stream: Stream) (value: int64) : unit =
        let mutable rest = value

        while rest >= 128L do
            stream.WriteByte(byte (rest &&& 127L) ||| 128uy)
            rest <- rest >>> 7

        stream.WriteByte(byte rest)

    /// What stands against writing tensors.
    let errors (tensors: (string * Tensor) list) : TensorNetError list =
        tensors
        |> List.collect (fun (name, tensor) -> TensorBytes.errors $"Tensor {SafeTensorHeader.shown name}" tensor)

    /// Writes tensors, which have no `errors`, as TorchSharp's `save` does.
    let write (tensors: (string * Tensor) list) (stream: Stream) : unit =
        writeNumber stream (int64 tensors.Length)

        for name, tensor in tensors do
            let bytes = Encoding.UTF8.GetBytes name
            writeNumber stream bytes.LongLength
            stream.Write(bytes, 0, bytes.Length)
            writeNumber stream (int64 tensor.dtype)
            writeNumber stream (tensor.dim ())

            for size in tensor.shape do
                writeNumber stream size

            TensorBytes.write stream tensor
