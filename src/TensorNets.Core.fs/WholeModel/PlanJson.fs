namespace TensorNets

open System
open System.Collections.Generic
open System.Text.Json

/// Plans as versioned JSON.
[<RequireQualifiedAccess>]
module internal PlanJson =
    let private version = 1

    let private numbers (json: Utf8JsonWriter) (name: string) (values: int64 seq) =
        json.WriteStartArray name

        for value in values do
            json.WriteNumberValue value

        json.WriteEndArray()

    let private real (json: Utf8JsonWriter) (name: string) (value: float) =
        if Double.IsFinite value then
            json.WriteNumber(name, value)

    let private writeCandidate (json: Utf8JsonWriter) (c: PlanCandidate) =
        json.WriteStartObject()
        json.WriteString("format", FormatText.print c.Format)
        json.WriteBoolean("separate", (c.Axes = KernelAxes.Separate))
        json.WriteNumber("parameters", c.Parameters)

        if c.Bits > 0 then
            json.WriteNumber("bits", c.Bits)
            json.WriteNumber("bytes", c.Bytes)

        json.WriteNumber("flops", c.Flops)
        real json "error" c.Error
        real json "damage" c.Damage
        real json "latency" c.Latency
        json.WriteEndObject()

    let write (plan: CompressionPlan) : string =
        Json.written true (fun json ->
            json.WriteStartObject()
            json.WriteNumber("version", version)
            numbers json "input" plan.Input
            json.WriteString("measure", plan.Measure)
            json.WriteNumber("otherParameters", plan.OtherParameters)
            json.WriteStartArray "layers"

            for layer in plan.Layers do
                json.WriteStartObject()
                json.WriteString("path", layer.Path)
                json.WriteString("kind", layer.Kind)
                numbers json "shape" layer.Shape
                json.WriteStartObject "geometry"
                LayerDescription.writeGeometry json layer.Geometry
                json.WriteEndObject()
                json.WriteStartArray "inputs"

                for input in layer.Inputs do
                    json.WriteStartArray()
                    input |> Seq.iter json.WriteNumberValue
                    json.WriteEndArray()

                json.WriteEndArray()
                json.WriteNumber("parameters", layer.Parameters)
                json.WriteNumber("flops", layer.Flops)
                real json "latency" layer.Latency
                json.WriteNumber("chosen", layer.Chosen)
                json.WriteString("kept", layer.Kept)
                json.WriteStartArray "candidates"

                for candidate in layer.Candidates do
                    writeCandidate json candidate

                json.WriteEndArray()
                json.WriteEndObject()

            json.WriteEndArray()
            json.WriteEndObject())

    let private optional name path element =
        if Json.has name element then Json.property name Json.real "a number" nan path element else nan, []

    let private format path (element: JsonElement) : Format * SpecError list =
        match Json.text path element with
        | text, [] ->
            match FormatText.parse text with
            | Some format -> format, []
            | None ->
                let expected = "a format, such as CP(8), Tucker-2(8,8), TT(8) or TC(3,3,3)"
                Format.CP 1, [ SpecError.JsonType(path, SafeTensorHeader.shown text, expected) ]
        | _, errors -> Format.CP 1, errors

    let private candidate path element : PlanCandidate * SpecError list =
        let format, e1 = Json.property "format" format "a string" (Format.CP 1) path element
        let separate, e2 = Json.property "separate" Json.flag "true or false" false path element
        let parameters, e3 = Json.property "parameters" Json.whole "a whole number" 0L path element
        let flops, e4 = Json.property "flops" Json.whole "a whole number" 0L path element
        let error, e5 = optional "error" path element
        let damage, e6 = optional "damage" path element
        let latency, e7 = optional "latency" path element
        let isRounded = Json.has "bits" element

        let bits, e8 =
            if isRounded then Json.property "bits" Json.number "a whole number" 0 path element else 0, []

        let bytes, e9 =
            if isRounded then
                Json.property "bytes" Json.whole "a whole number" 0L path element
            else
                4L * parameters, []

        let range =
            if isRounded && e8.IsEmpty && (bits < 2 || bits > 8) then
                [ SpecError.JsonType($"{path}.bits", string bits, "2 to 8") ]
            elif isRounded && bytes < 0L then
                [ SpecError.JsonType($"{path}.bytes", string bytes, "0 or more") ]
            else
                []

        {
            Axes = if separate then KernelAxes.Separate else KernelAxes.Fused
            Format = format
            Bits = bits
            Parameters = parameters
            Bytes = bytes
            Flops = flops
            Error = error
            Damage = damage
            Latency = latency
        },
        e1 @ e2 @ e3 @ e4 @ e5 @ e6 @ e7 @ e8 @ e9 @ range

    /// The geometry of a layer with a weight of a shape.
    let private geometry (shape: int64 list) path element : ConvGeometry * SpecError list =
        match LayerDescription.geometry path element with
        | g, [] ->
            match GeometryChecks.errors g with
            | [] when ConvGeometry.weightShape g <> shape ->
                let expected = $"one with a weight of {TensorNetError.shapeText shape}, as in the shape"
                g, [ SpecError.JsonType(path, string g, expected) ]
            | errors -> g, [ for error in errors -> SpecError.JsonType(path, error.Message, "a layer's geometry") ]
        | found -> found

    /// The shape of an input that a layer of a geometry takes.
    let private input (g: ConvGeometry) path element : IReadOnlyList<int64> * SpecError list =
        match Json.array Json.whole path element with
        | sizes, [] when
            List.forall (fun size -> size >= 0L) sizes
            && InputChecks.fits g (InputChecks.least g) (List.toArray sizes)
            ->
            sizes, []
        | sizes, [] -> sizes, [ SpecError.JsonType(path, TensorNetError.shapeText sizes, $"the shape of an input of {g}") ]
        | sizes, errors -> sizes, errors

    let private layer path element : PlannedLayer * SpecError list =
        let name, e1 = Json.property "path" Json.text "a string" "" path element
        let kind, e2 = Json.property "kind" Json.text "a string" "" path element
        let shape, e3 = Json.property "shape" (Json.array Json.whole) "an array" [] path element
        let parameters, e4 = Json.property "parameters" Json.whole "a whole number" 0L path element
        let flops, e5 = Json.property "flops" Json.whole "a whole number" 0L path element
        let chosen, e6 = Json.property "chosen" Json.number "a whole number" -1 path element
        let kept, e7 = Json.property "kept" Json.text "a string" "" path element
        let candidates, e8 = Json.property "candidates" (Json.array candidate) "an array" [] path element

        let g, e9 =
            Json.property "geometry" (geometry shape) "an object" (ConvGeometry.plain 0 1L 1L) path element

        let inputs, e10 =
            if e9.IsEmpty then
                Json.property "inputs" (Json.array (input g)) "an array" [] path element
            else
                [], []

        let latency, e11 = optional "latency" path element

        let range =
            if e6.IsEmpty && e8.IsEmpty && (chosen < -1 || chosen >= candidates.Length) then
                [ SpecError.JsonType($"{path}.chosen", string chosen, $"-1 to {candidates.Length - 1}") ]
            else
                []

        {
            Path = name
            Kind = kind
            Shape = shape
            Geometry = g
            Inputs = inputs
            Parameters = parameters
            Flops = flops
            Latency = latency
            Candidates = candidates
            Chosen = chosen
            Kept = kept
        },
        e1 @ e2 @ e3 @ e4 @ e5 @ e6 @ e7 @ e8 @ e9 @ e10 @ e11 @ range

    let private ofRoot (root: JsonElement) : Result<CompressionPlan, SpecError list> =
        let found, e0 = Json.property "version" Json.number "a whole number" 0 "$" root

        if e0.IsEmpty && found <> version then
            Error [ SpecError.JsonType("$.version", string found, string version) ]
        else
            let input, e1 = Json.property "input" (Json.array Json.whole) "an array" [] "$" root
            let measure, e2 = Json.property "measure" Json.text "a string" "" "$" root
            let other, e3 = Json.property "otherParameters" Json.whole "a whole number" 0L "$" root
            let layers, e4 = Json.property "layers" (Json.array layer) "an array" [] "$" root

            match e0 @ e1 @ e2 @ e3 @ e4 with
            | [] -> Ok { Input = input; Measure = measure; OtherParameters = other; Layers = layers }
            | errors -> Error errors

    let private options = JsonDocumentOptions(MaxDepth = 16, AllowDuplicateProperties = false)

    let read (json: string) : Result<CompressionPlan, SpecError list> = Json.ofText options ofRoot json
