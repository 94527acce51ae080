namespace TensorNets

open System.IO
open System.Text
open System.Text.Json

/// <summary>Networks without numbers as JSON with a version, for saved models.</summary>
/// <remarks>Version 1: <c>{"version":1,"dims":{"r":4,"s":3},"cores":[{"name":"A","axes":["s","r"]}],"output":["s"]}</c>.</remarks>
[<RequireQualifiedAccess>]
module SpecJson =
    /// The version that `write` writes and `read` reads: 1.
    let version = 1

    /// <summary>A network as JSON. Equivalent to: <c>SpecJson.read (SpecJson.write spec)</c> is <c>Ok spec</c>.</summary>
    /// <example><code>SpecJson.write spec</code></example>
    let write (spec: Spec) : string =
        Argument.notNull (nameof spec) spec
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

    let private axes path element =
        let names, errors = Json.array Json.text path element
        List.map Axis names, errors

    let private dims path element =
        let dims, errors = Json.members Json.number path element
        dims |> List.map (fun (name, dim) -> Axis name, dim), errors

    let private core path (element: JsonElement) =
        if element.ValueKind = JsonValueKind.Object then
            let name, nameErrors = Json.property "name" Json.text "a string" "" path element
            let axes, axesErrors = Json.property "axes" axes "an array" [] path element
            { Name = name; Axes = axes }, nameErrors @ axesErrors
        else
            Json.wrong path element "an object" { Name = ""; Axes = [] }

    let private network root =
        match Json.property "version" Json.number "a whole number" 0 "$" root with
        | _, (_ :: _ as errors) -> Error errors
        // What another version means by its properties is not known, so nothing more is said about them.
        | found, [] when found <> version -> Error [ SpecError.JsonVersion(string found, string version) ]
        | _ ->
            let dims, dimErrors = Json.property "dims" dims "an object" [] "$" root
            let cores, coreErrors = Json.property "cores" (Json.array core) "an array" [] "$" root
            let output, outputErrors = Json.property "output" axes "an array" [] "$" root

            match dimErrors @ coreErrors @ outputErrors with
            | [] -> Spec.create dims cores output
            | errors -> Error errors

    /// <summary>The network that JSON describes, or every error: malformed JSON, an unknown version, a value of the wrong type, or what
    /// <c>Spec.create</c> refuses. Properties that it does not know are passed over.</summary>
    /// <example><code>SpecJson.read (SpecJson.write spec) |> specOrStop</code></example>
    let read (json: string) : Result<Spec, SpecError list> = Json.ofText (JsonDocumentOptions()) network json
