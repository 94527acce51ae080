namespace TensorNets

open System
open System.Buffers.Binary
open System.Collections.Generic
open System.IO
open System.Text.Encodings.Web
open System.Text.Json
open TorchSharp

/// <summary>A tensor in a safetensors file: name, dtype, shape, and where its bytes lie, counted from the end of the header.</summary>
type SafeTensorEntry = { Name: string; DType: torch.ScalarType; Shape: int64 list; Offset: int64; Length: int64 }

/// The header of a safetensors file: JSON that must agree with the size of the file in everything before a byte of a tensor is read.
[<RequireQualifiedAccess>]
module internal SafeTensorHeader =
    /// The most bytes of a header, as other readers have it.
    let limit = 100_000_000L

    /// The name in a header that stands for the metadata.
    let metadataName = "__metadata__"

    /// The dtypes by their names in a header.
    let dtypes =
        [
            "F64", torch.ScalarType.Float64
            "F32", torch.ScalarType.Float32
            "F16", torch.ScalarType.Float16
            "BF16", torch.ScalarType.BFloat16
            "I64", torch.ScalarType.Int64
            "I32", torch.ScalarType.Int32
            "I16", torch.ScalarType.Int16
            "I8", torch.ScalarType.Int8
            "U8", torch.ScalarType.Byte
            "BOOL", torch.ScalarType.Bool
        ]

    let dtypeNames = String.Join(", ", dtypes |> List.map fst)

    /// A text of another's making, in a message.
    let shown (text: string) =
        if isNull (box text) then "null"
        elif text.Length <= 60 then $"'{text}'"
        else $"'{text.Substring(0, 60)}…'"

    let private whole (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Number ->
            match element.TryGetInt64() with
            | true, value when value >= 0L -> Some value
            | _ -> None
        | _ -> None

    let private wholes (element: JsonElement) =
        if element.ValueKind <> JsonValueKind.Array then
            None
        else
            let values = [ for item in element.EnumerateArray() -> whole item ]
            if List.forall Option.isSome values then Some(List.map Option.get values) else None

    let private dtypeOf name (element: JsonElement) =
        match
            dtypes
            |> List.tryFind (fun (known, _) -> element.ValueKind = JsonValueKind.String && element.ValueEquals known)
        with
        | Some(_, dtype) -> Ok dtype
        | None -> Error $"the dtype of {name} is {shown (element.GetRawText())}; expected one of {dtypeNames}"

    let private shapeOf name (element: JsonElement) =
        match wholes element with
        | Some shape when shape.Length <= TensorBytes.mostDimensions -> Ok shape
        | _ ->
            Error
                $"the shape of {name} is {shown (element.GetRawText())}; expected at most {TensorBytes.mostDimensions} whole numbers from 0 up"

    let private rangeOf name (element: JsonElement) =
        match wholes element with
        | Some [ first; last ] when first <= last -> Ok(first, last)
        | _ -> Error $"the offsets of {name} are {shown (element.GetRawText())}; expected two whole numbers from 0 up, in order"

    let private entry (key: string) (element: JsonElement) : Result<SafeTensorEntry, string> =
        let name = shown key

        let part (property: string) read =
            match element.TryGetProperty property with
            | true, value -> read name value
            | _ -> Error $"{name} has no {property}"

        if element.ValueKind <> JsonValueKind.Object then
            Error $"{name} is {shown (element.GetRawText())}; expected an object"
        elif element.GetPropertyCount() > 3 then
            Error $"{name} has {element.GetPropertyCount()} properties; expected dtype, shape and data_offsets alone"
        else
            match part "dtype" dtypeOf, part "shape" shapeOf, part "data_offsets" rangeOf with
            | Ok dtype, Ok shape, Ok(first, last) ->
                match TensorBytes.ofShape (TensorBytes.entrySize dtype).Value shape with
                | Some bytes when bytes = last - first -> Ok { Name = key; DType = dtype; Shape = shape; Offset = first; Length = bytes }
                | bytes ->
                    let expected = bytes |> Option.map string |> Option.defaultValue "more than can be counted"
                    Error $"{name} takes {last - first} bytes; expected {expected}, by its shape and dtype"
            | Error reason, _, _
            | _, Error reason, _
            | _, _, Error reason -> Error reason

    let private metadata (element: JsonElement) : Result<(string * string) list, string> =
        if element.ValueKind <> JsonValueKind.Object then
            Error "the metadata is no object"
        elif element.EnumerateObject() |> Seq.exists (fun item -> item.Value.ValueKind <> JsonValueKind.String) then
            Error "the metadata holds a value that is no text"
        else
            Ok [ for item in element.EnumerateObject() -> item.Name, nonNull (item.Value.GetString()) ]

    /// Entries must lie side by side from the first byte to the last.
    let private gaps (size: int64) (entries: SafeTensorEntry list) : string list =
        let ordered = entries |> List.sortBy (fun entry -> struct (entry.Offset, entry.Length))
        let finish = (0L, ordered) ||> List.scan (fun _ entry -> entry.Offset + entry.Length)

        match
            List.zip (List.take ordered.Length finish) ordered
            |> List.tryFind (fun (at, entry) -> entry.Offset <> at)
        with
        | Some(at, entry) ->
            [
                $"the bytes of {shown entry.Name} begin at {entry.Offset}; expected {at}, where those before it end"
            ]
        | None when List.last finish <> size ->
            [ $"its tensors take {List.last finish} bytes; expected {size}, which is what follows the header" ]
        | None -> []

    /// The most reasons that are listed for one file.
    let private mostReasons = 20

    let private contents
        (size: int64)
        (root: JsonElement)
        : Result<Result<SafeTensorEntry list * (string * string) list, string list>, SpecError list> =
        if root.ValueKind <> JsonValueKind.Object then
            Ok(Error [ "its header is no object" ])
        else
            let about, tensors =
                root.EnumerateObject() |> Seq.toList |> List.partition (fun item -> item.Name = metadataName)

            let read = tensors |> List.map (fun item -> entry item.Name item.Value)
            let told = about |> List.map (fun item -> metadata item.Value)

            let wrong result =
                match result with
                | Error reason -> Some reason
                | Ok _ -> None

            let right result =
                match result with
                | Error _ -> None
                | Ok value -> Some value

            let entries = List.choose right read

            match List.choose wrong told @ List.choose wrong read with
            | [] ->
                match gaps size entries with
                | [] -> Ok(Ok(entries, List.concat (List.choose right told)))
                | reasons -> Ok(Error reasons)
            | reasons -> Ok(Error(List.truncate mostReasons reasons))

    let private options = JsonDocumentOptions(MaxDepth = 4, AllowDuplicateProperties = false)

    /// What a header says, for as many bytes of tensors behind it; or what is wrong with it.
    let parse (size: int64) (header: byte[]) : Result<SafeTensorEntry list * (string * string) list, string list> =
        if header.Length = 0 || header[0] <> byte '{' then
            Error [ "its header does not begin with '{'" ]
        else
            match Json.ofBytes options (contents size) (ReadOnlyMemory header) with
            | Ok result -> result
            | Error errors -> Error(errors |> List.map (fun error -> "its header: " + error.Message.TrimEnd '.'))

    /// The header of tensors in their order, filled up with spaces so that what follows begins at a multiple of 8.
    let write (metadata: (string * string) list) (entries: SafeTensorEntry list) : byte[] =
        use stream = new MemoryStream()

        use json =
            new Utf8JsonWriter(stream, JsonWriterOptions(Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping))

        let numbers (name: string) (values: int64 list) =
            json.WriteStartArray name

            for value in values do
                json.WriteNumberValue value

            json.WriteEndArray()

        json.WriteStartObject()

        if not metadata.IsEmpty then
            json.WriteStartObject metadataName

            for key, value in metadata do
                json.WriteString(key, value)

            json.WriteEndObject()

        for entry in entries do
            json.WriteStartObject entry.Name
            json.WriteString("dtype", dtypes |> List.find (fun (_, dtype) -> dtype = entry.DType) |> fst)
            numbers "shape" entry.Shape
            numbers "data_offsets" [ entry.Offset; entry.Offset + entry.Length ]
            json.WriteEndObject()

        json.WriteEndObject()
        json.Flush()

        while stream.Length % 8L <> 0L do
            stream.WriteByte(byte ' ')

        stream.ToArray()

/// <summary>A safetensors file that is open: what it lists, and its tensors one by one. Not for several threads at once.</summary>
[<Sealed>]
type SafeTensorReader
    internal (name: string, stream: Stream, start: int64, entries: SafeTensorEntry list, metadata: IReadOnlyDictionary<string, string>) =
    let byName = entries |> List.map (fun entry -> entry.Name, entry) |> dict

    /// The tensors, in the order of the header.
    member _.Entries: IReadOnlyList<SafeTensorEntry> = entries

    /// What the file says beside its tensors.
    member _.Metadata = metadata

    /// <summary>One tensor, on the CPU. The caller owns it. Errors: <c>MissingKey</c>; <c>BadFile</c>, where the file has been cut off
    /// since.</summary>
    member _.Read(key: string) : Result<torch.Tensor, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(key, nameof key)

        match byName.TryGetValue key with
        | true, entry ->
            try
                stream.Position <- start + entry.Offset

                TensorBytes.read stream entry.DType entry.Shape
                |> Result.mapError (fun reason -> [ TensorNetError.BadFile(name, $"{SafeTensorHeader.shown key} {reason}") ])
            with :? EndOfStreamException ->
                Error [ TensorNetError.BadFile(name, "it ends too early") ]
        | _ -> Error [ TensorNetError.MissingKey key ]

    /// All tensors by name, or the first error.
    member internal this.ReadAll() : Result<(string * Tensor) list, TensorNetError list> =
        use scope = torch.NewDisposeScope()

        let rec read found rest =
            match rest with
            | [] -> Ok(List.rev found)
            | entry :: rest ->
                match this.Read entry.Name with
                | Ok tensor -> read ((entry.Name, tensor) :: found) rest
                | Error errors -> Error errors

        read [] entries |> Result.map (List.map (fun (name, tensor) -> name, scope.MoveToOuter tensor))

/// <summary>Named tensors in the safetensors format: 8 bytes with the length of a header, the header in JSON, the bytes of the tensors side
/// by side.</summary>
/// <remarks>F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL. A reader trusts nothing: the header must agree with itself and with the size
/// of the file before anything is allocated for a tensor.</remarks>
[<RequireQualifiedAccess>]
module SafeTensors =
    let private bad name reasons = Error(reasons |> List.map (fun reason -> TensorNetError.BadFile(name, reason)))

    /// <summary>The file from the position of a stream to its end; the stream can seek (a file, memory, a view of a mapped file) and stays
    /// the caller's. Errors: <c>BadFile</c>, with the reasons.</summary>
    let ofStream (name: string) (stream: Stream) : Result<SafeTensorReader, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(stream, nameof stream)

        if not (stream.CanRead && stream.CanSeek) then
            invalidArg (nameof stream) "The stream cannot be read at any place."

        let origin = stream.Position
        let size = stream.Length - origin

        try
            if size < 8L then
                bad name [ "it ends too early" ]
            else
                let prefix = Array.zeroCreate<byte> 8
                stream.ReadExactly prefix
                let length = BinaryPrimitives.ReadUInt64LittleEndian(ReadOnlySpan prefix)
                let most = min SafeTensorHeader.limit (size - 8L)

                if length > uint64 most then
                    bad name [ $"its header is said to have {length} bytes; expected at most {most}" ]
                else
                    let header = Array.zeroCreate<byte>(int length)
                    stream.ReadExactly header

                    match SafeTensorHeader.parse (size - 8L - int64 length) header with
                    | Ok(entries, metadata) ->
                        Ok(SafeTensorReader(name, stream, origin + 8L + int64 length, entries, Dictionary(dict metadata)))
                    | Error reasons -> bad name reasons
        with :? EndOfStreamException ->
            bad name [ "it ends too early" ]

    /// <summary>What is read from the safetensors file at a path, which is open meanwhile. Errors: <c>BadFile</c>, with the reasons; those
    /// of the reader.</summary>
    let read (path: string) (reader: SafeTensorReader -> Result<'T, TensorNetError list>) : Result<'T, TensorNetError list> =
        AtomicFile.read path (fun stream -> ofStream path stream |> Result.bind reader)

    /// <summary>All tensors of the safetensors file at a path, by name; the caller owns them. Errors: <c>BadFile</c>, with the
    /// reasons.</summary>
    let load (path: string) : Result<(string * torch.Tensor) list, TensorNetError list> = read path _.ReadAll()

    let private isUnicode (text: string) = not (isNull (box text)) && Text.Encoding.UTF8.GetString(Text.Encoding.UTF8.GetBytes text) = text

    let private errors (metadata: (string * string) list) (tensors: (string * Tensor) list) : TensorNetError list =
        let bad what found expected = TensorNetError.Unsupported(what, found, expected)

        let names what (names: string list) =
            [
                for name, count in List.countBy id names do
                    if count > 1 then
                        bad what $"{SafeTensorHeader.shown name}, given {count} times" "each once"
                for name in names do
                    if not (isUnicode name) then
                        bad what "text with half of a character" "Unicode text"
            ]

        [
            yield! names "The name of a tensor" (List.map fst tensors)
            yield! names "The name of metadata" (List.map fst metadata)
            for key, value in metadata do
                if not (isUnicode value) then
                    bad $"Metadata {SafeTensorHeader.shown key}" "text with half of a character" "Unicode text"
            for name, tensor in tensors do
                let what = $"Tensor {SafeTensorHeader.shown name}"

                if name = SafeTensorHeader.metadataName then
                    bad "The name of a tensor" name "any other: the metadata is called so"

                match TensorBytes.errors what tensor with
                | [] when SafeTensorHeader.dtypes |> List.forall (fun (_, dtype) -> dtype <> tensor.dtype) ->
                    TensorNetError.DType(what, string tensor.dtype, SafeTensorHeader.dtypeNames)
                | found -> yield! found
        ]

    let private writer (metadata: (string * string) list) (tensors: (string * Tensor) list) : Result<Stream -> unit, TensorNetError list> =
        match errors metadata tensors with
        | [] ->
            // The largest entries first: every tensor then begins at a multiple of the size of its entries, as a view of a mapped file
            // wants it.
            let size (tensor: Tensor) = (TensorBytes.entrySize tensor.dtype).Value
            let ordered = tensors |> List.sortBy (fun (_, tensor) -> -(size tensor))

            let entries, _ =
                (0L, ordered)
                ||> List.mapFold (fun at (name, tensor) ->
                    let length = tensor.numel () * size tensor
                    { Name = name; DType = tensor.dtype; Shape = Check.shapeOf tensor; Offset = at; Length = length }, at + length)

            let header = SafeTensorHeader.write metadata entries

            if header.LongLength > SafeTensorHeader.limit then
                Error
                    [
                        TensorNetError.Unsupported("The header", $"{header.LongLength} bytes", $"at most {SafeTensorHeader.limit}")
                    ]
            else
                Ok(fun stream ->
                    let prefix = Array.zeroCreate<byte> 8
                    BinaryPrimitives.WriteUInt64LittleEndian(Span prefix, uint64 header.LongLength)
                    stream.Write(prefix, 0, prefix.Length)
                    stream.Write(header, 0, header.Length)

                    for _, tensor in ordered do
                        TensorBytes.write stream tensor)
        | errors -> Error errors

    /// <summary>Writes tensors and metadata to a stream. Errors, all before the first byte is written: <c>DType</c>,
    /// <c>Unsupported</c>.</summary>
    let write
        (metadata: (string * string) list)
        (tensors: (string * torch.Tensor) list)
        (stream: Stream)
        : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(stream, nameof stream)
        writer metadata tensors |> Result.map (fun write -> write stream)

    /// <summary>Writes tensors and metadata to a file, which holds its old content or the new one whole, whatever happens meanwhile.
    /// Equivalent to: <c>load</c> gives the same tensors to the bit. Errors: <c>DType</c>, <c>Unsupported</c>,
    /// <c>UnwrittenFile</c>.</summary>
    let save (path: string) (metadata: (string * string) list) (tensors: (string * torch.Tensor) list) : Result<unit, TensorNetError list> =
        writer metadata tensors |> Result.bind (AtomicFile.write path)
