namespace TensorNets

open System
open System.IO
open System.Text
open System.Text.Json

/// <summary>Networks without numbers as JSON with a version, for saved models.</summary>
/// <remarks>Version 1: <c>{"version":1,"dims":{"r":4,"s":3},"cores":[{"name":"A","axes":["s","r"]}],"output":["s"]}</c>.</remarks>
[<RequireQualifiedAccess>]
module SpecJson =
    /// The version that `write` writes and `read` reads.
    let version = 1

    /// <summary>A network as JSON. Equivalent to: <c>SpecJson.read (SpecJson.write spec)</c> is <c>Ok spec</c>.</summary>
    let write (spec: Spec) : string =
        use stream = new MemoryStream()
        use json = new Utf8JsonWriter(stream)

        let axes (name: string) (list: Axis list) =
            json.WriteStartArray name

            for axis in list do
                json.WriteStringValue axis.Name

            json.WriteEndArray()

        json.WriteStartObject()
        json.WriteNumber("version", version)
        json.WriteStartObject "dims"

        for KeyValue(axis, dim) in spec.Dims do
            json.WriteNumber(axis.Name, dim)

        json.WriteEndObject()
        json.WriteStartArray "cores"

        for core in spec.Cores do
            json.WriteStartObject()
            json.WriteString("name", core.Name)
            axes "axes" core.Axes
            json.WriteEndObject()

        json.WriteEndArray()
        axes "output" spec.Output
        json.WriteEndObject()
        json.Flush()
        Encoding.UTF8.GetString(stream.ToArray())

    let private kind (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Object -> "an object"
        | JsonValueKind.Array -> "an array"
        | JsonValueKind.String -> "a string"
        | JsonValueKind.Number -> element.GetRawText()
        | JsonValueKind.Null -> "null"
        | _ -> element.GetRawText()

    // A reader takes the path of an element and the element, and gives what it says with what is wrong with it, so that every error is found.

    let private wrong path element expected fallback = fallback, [ SpecError.JsonType(path, kind element, expected) ]

    let private text path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.String -> nonNull (element.GetString()), []
        | _ -> wrong path element "a string" ""

    let private number path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Number ->
            match element.TryGetInt32() with
            | true, value -> value, []
            | _ -> wrong path element $"a whole number up to {Int32.MaxValue}" 0
        | _ -> wrong path element "a whole number" 0

    let private all (items: ('a * SpecError list) seq) =
        Seq.toList items |> List.unzip |> fun (values, errors) -> values, List.concat errors

    let private array read path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Array -> element.EnumerateArray() |> Seq.mapi (fun i item -> read $"{path}[{i}]" item) |> all
        | _ -> wrong path element "an array" []

    /// The property of an object, which need not be an object.
    let private property (name: string) read expected fallback path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Object ->
            match element.TryGetProperty name with
            | true, value -> read $"{path}.{name}" value
            | _ -> fallback, [ SpecError.JsonType($"{path}.{name}", "nothing", expected) ]
        | _ -> wrong path element "an object" fallback

    let private axes path element =
        let names, errors = array text path element
        List.map Axis names, errors

    let private dims path (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Object ->
            element.EnumerateObject()
            |> Seq.map (fun item ->
                let dim, errors = number $"{path}.{item.Name}" item.Value
                (Axis item.Name, dim), errors)
            |> all
        | _ -> wrong path element "an object" []

    let private core path (element: JsonElement) =
        if element.ValueKind = JsonValueKind.Object then
            let name, nameErrors = property "name" text "a string" "" path element
            let axes, axesErrors = property "axes" axes "an array" [] path element
            { Name = name; Axes = axes }, nameErrors @ axesErrors
        else
            wrong path element "an object" { Name = ""; Axes = [] }

    let private network root =
        match property "version" number "a whole number" 0 "$" root with
        | _, (_ :: _ as errors) -> Error errors
        // What another version means by its properties is not known, so nothing more is said about them.
        | found, [] when found <> version -> Error [ SpecError.JsonVersion(string found, string version) ]
        | _ ->
            let dims, dimErrors = property "dims" dims "an object" [] "$" root
            let cores, coreErrors = property "cores" (array core) "an array" [] "$" root
            let output, outputErrors = property "output" axes "an array" [] "$" root

            match dimErrors @ coreErrors @ outputErrors with
            | [] -> Spec.create dims cores output
            | errors -> Error errors

    /// <summary>The network that JSON describes, or every error: malformed JSON, an unknown version, a value of the wrong type, or what
    /// <c>Spec.create</c> refuses. Properties that it does not know are passed over.</summary>
    let read (json: string) : Result<Spec, SpecError list> =
        try
            use document = JsonDocument.Parse json
            network document.RootElement
        with
        | :? JsonException as error ->
            // JSON counts from 0, a reader from 1.
            let place (value: Nullable<int64>) = value.GetValueOrDefault() + 1L
            Error [ SpecError.MalformedJson(place error.LineNumber, place error.BytePositionInLine, error.Message) ]
        // What strings say is decoded when they are read, and this is how their reader refuses an escape such as \ud800 by itself.
        | :? InvalidOperationException -> Error [ SpecError.JsonType("$", "text with half of a character", "Unicode text") ]
