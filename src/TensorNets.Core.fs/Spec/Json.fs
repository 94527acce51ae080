namespace TensorNets

open System
open System.IO
open System.Text
open System.Text.Encodings.Web
open System.Text.Json

/// Parts of JSON read one by one. A reader takes the path of an element and the element, and gives what it says with what is wrong with it,
/// so that every error is found.
[<RequireQualifiedAccess>]
module internal Json =
    let private strict = UTF8Encoding(false, true)

    /// Half of a character cannot be said in UTF-8, and is refused wherever it stands.
    let private halves = [ SpecError.JsonType("$", "text with half of a character", "Unicode text") ]

    /// <summary>What a reader makes of the root of a text in UTF-8. Errors: <c>MalformedJson</c>, with the place; <c>JsonType</c>; those of
    /// the reader.</summary>
    let ofBytes (options: JsonDocumentOptions) (read: JsonElement -> Result<'T, SpecError list>) (json: ReadOnlyMemory<byte>) =
        try
            strict.GetCharCount json.Span |> ignore
            use document = JsonDocument.Parse(json, options)
            read document.RootElement
        with
        | :? JsonException as error ->
            // JSON counts from 0, a reader from 1.
            let place (value: Nullable<int64>) = value.GetValueOrDefault() + 1L
            Error [ SpecError.MalformedJson(place error.LineNumber, place error.BytePositionInLine, error.Message) ]
        | :? DecoderFallbackException
        // What strings say is decoded when they are read, and this is how their reader refuses an escape such as \ud800 by itself.
        | :? InvalidOperationException -> Error halves

    /// As `ofBytes`, of a text.
    let ofText (options: JsonDocumentOptions) (read: JsonElement -> Result<'T, SpecError list>) (json: string) =
        ArgumentNullException.ThrowIfNull(json, nameof json)

        match
            (try
                Some(strict.GetBytes json)
             with :? EncoderFallbackException ->
                 None)
        with
        | Some bytes -> ofBytes options read (ReadOnlyMemory bytes)
        | None -> Error halves

    /// The text that is written; all characters stand for themselves.
    let written (indented: bool) (write: Utf8JsonWriter -> unit) : string =
        use stream = new MemoryStream()

        use json =
            new Utf8JsonWriter(stream, JsonWriterOptions(Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, Indented = indented))

        write json
        json.Flush()
        Encoding.UTF8.GetString(stream.ToArray())

    let private kind (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Object -> "an object"
        | JsonValueKind.Array -> "an array"
        | JsonValueKind.String -> "a string"
        | _ when element.GetRawText().Length > 40 -> "a long number"
        | _ -> element.GetRawText()

    let wrong path element expected fallback = fallback, [ SpecError.JsonType(path, kind element, expected) ]

    let has (name: string) (element: JsonElement) = element.ValueKind = JsonValueKind.Object && fst (element.TryGetProperty name)

    let text path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.String -> nonNull (element.GetString()), []
        | _ -> wrong path element "a string" ""

    let number path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Number ->
            match element.TryGetInt32() with
            | true, value -> value, []
            | _ -> wrong path element $"a whole number up to {Int32.MaxValue}" 0
        | _ -> wrong path element "a whole number" 0

    let whole path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Number ->
            match element.TryGetInt64() with
            | true, value -> value, []
            | _ -> wrong path element $"a whole number up to {Int64.MaxValue}" 0L
        | _ -> wrong path element "a whole number" 0L

    let real path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Number ->
            match element.TryGetDouble() with
            | true, value when Double.IsFinite value -> value, []
            | _ -> wrong path element "a finite number" nan
        | _ -> wrong path element "a number" nan

    let flag path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.True -> true, []
        | JsonValueKind.False -> false, []
        | _ -> wrong path element "true or false" false

    let private all (items: ('a * SpecError list) seq) =
        Seq.toList items |> List.unzip |> fun (values, errors) -> values, List.concat errors

    let array read path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Array -> element.EnumerateArray() |> Seq.mapi (fun i item -> read $"{path}[{i}]" item) |> all
        | _ -> wrong path element "an array" []

    /// The properties of an object and their values, in order.
    let members read path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Object ->
            element.EnumerateObject()
            |> Seq.map (fun item ->
                let value, errors = read $"{path}.{item.Name}" item.Value
                (item.Name, value), errors)
            |> all
        | _ -> wrong path element "an object" []

    /// The property of an object, which need not be an object.
    let property (name: string) read expected fallback path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Object ->
            match element.EnumerateObject() |> Seq.filter _.NameEquals(name) |> Seq.truncate 2 |> Seq.toList with
            | [ item ] -> read $"{path}.{name}" item.Value
            | [] -> fallback, [ SpecError.JsonType($"{path}.{name}", "nothing", expected) ]
            | _ -> fallback, [ SpecError.JsonType($"{path}.{name}", "given more than once", expected) ]
        | _ -> wrong path element "an object" fallback
