namespace TensorNets

open System
open System.IO
open System.Text.Encodings.Web
open System.Text.Json
open TorchSharp

/// <summary>A tensor in a safetensors file: name, dtype, shape, and where its bytes lie, counted from the end of the header.</summary>
type SafeTensorEntry =
    {
        /// The tensor's name in the file.
        Name: string
        /// The dtype of its numbers.
        DType: torch.ScalarType
        /// Its dimensions; none for a scalar.
        Shape: int64 list
        /// The first of its bytes, counted from the end of the header.
        Offset: int64
        /// The number of its bytes.
        Length: int64
    }

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
            Error(
                $"the shape of {name} is {shown (element.GetRawText())}; "
                + $"expected at most {TensorBytes.mostDimensions} whole numbers from 0 up"
            )

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
    let mostReasons = 20

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
