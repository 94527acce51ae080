namespace TensorNets

open System
open System.Text.Json
open TorchSharp

/// What a layer is but for its numbers.
type internal LayerDescription =
    {
        Spec: Spec
        Geometry: ConvGeometry
        Lowering: Lowering
        /// The modes of a weighted norm.
        Modes: int list option
        /// Whether each parameter is trained.
        Flags: (string * bool) list
        /// What stands for the cores, where those are integers.
        Quantized: QuantizedDescription option
    }

/// What a layer is but for its numbers, in JSON.
[<RequireQualifiedAccess>]
module internal LayerDescription =
    let private lowerings =
        [ Lowering.Staged; Lowering.Windowed; Lowering.Dense; Lowering.Cheapest; Lowering.Measured ]

    /// The properties of a geometry, into an object that is open.
    let writeGeometry (json: Utf8JsonWriter) (g: ConvGeometry) : unit =
        let numbers (name: string) (values: int64 list) =
            json.WriteStartArray name

            for value in values do
                json.WriteNumberValue value

            json.WriteEndArray()

        json.WriteNumber("in", g.InChannels)
        json.WriteNumber("out", g.OutChannels)
        json.WriteNumber("groups", g.Groups)
        json.WriteBoolean("transposed", g.Transposed)
        json.WriteString("mode", string g.PaddingMode)
        numbers "kernel" g.Kernel
        numbers "stride" g.Stride
        numbers "dilation" g.Dilation
        numbers "before" (g.Padding |> List.map (fun (struct (a, _)) -> a))
        numbers "after" (g.Padding |> List.map (fun (struct (_, b)) -> b))
        numbers "outputPadding" g.OutputPadding

        match g.Embedding with
        | Some options ->
            json.WriteStartObject "embedding"
            options.PaddingIdx |> Option.iter (fun token -> json.WriteNumber("paddingIdx", token))
            json.WriteEndObject()
        | None -> ()

    /// What a layer is, in JSON.
    let write (layer: FactorizedLayer) : string =
        Json.written false (fun json ->
            json.WriteStartObject()
            json.WriteString("spec", Spec.print layer.Spec)
            writeGeometry json layer.Geometry
            json.WriteString("lowering", string layer.Lowering)

            match layer.Norm with
            | Norm.Weighted(modes, _) ->
                json.WriteStartArray "norm"

                for mode in modes do
                    json.WriteNumberValue mode

                json.WriteEndArray()
            | Norm.Frobenius -> ()

            match LayerQuantization.current layer with
            | Some integers -> QuantizedDescription.write json layer.Factors[0].dtype integers
            | None -> ()

            json.WriteStartObject "trained"

            for struct (name, parameter) in layer.named_parameters () do
                json.WriteBoolean(name, parameter.requires_grad)

            json.WriteEndObject()
            json.WriteEndObject())

    let private one (choices: (string * 'T) list) fallback path (element: JsonElement) =
        match Json.text path element with
        | _, (_ :: _ as errors) -> fallback, errors
        | text, [] ->
            match choices |> List.tryFind (fun (name, _) -> name = text) with
            | Some(_, choice) -> choice, []
            | None ->
                let names = String.Join(", ", List.map fst choices)
                fallback, [ SpecError.JsonType(path, SafeTensorHeader.shown text, $"one of {names}") ]

    let private sizes path element =
        let values, errors = Json.array Json.number path element
        List.map int64 values, errors

    let private embedding path (element: JsonElement) : EmbeddingOptions option * SpecError list =
        if element.ValueKind <> JsonValueKind.Object then
            None, [ SpecError.JsonType(path, string element.ValueKind, "an object") ]
        elif Json.has "paddingIdx" element then
            let token, errors = Json.property "paddingIdx" Json.whole "a whole number" 0L path element
            Some { PaddingIdx = Some token }, errors
        else
            Some { PaddingIdx = None }, []

    /// The geometry that the properties of an object say, with what of them cannot be read.
    let geometry (path: string) (root: JsonElement) : ConvGeometry * SpecError list =
        let errors = ResizeArray()

        let get name read expected fallback : 'T =
            let value, found = Json.property name read expected fallback path root
            errors.AddRange(found: SpecError list)
            value

        let number name = int64 (get name Json.number "a whole number" 0)
        let list name = get name sizes "an array" []
        let modes = [ for mode in Enum.GetValues<PaddingModes>() -> string mode, mode ]
        let before, after = list "before", list "after"

        if before.Length <> after.Length then
            errors.Add(SpecError.JsonType($"{path}.after", $"{after.Length} numbers", $"{before.Length}, as in {path}.before"))

        let padding = List.zip (List.truncate after.Length before) (List.truncate before.Length after)

        {
            InChannels = number "in"
            OutChannels = number "out"
            Kernel = list "kernel"
            Stride = list "stride"
            Dilation = list "dilation"
            Padding = padding |> List.map (fun (a, b) -> struct (a, b))
            PaddingMode = get "mode" (one modes PaddingModes.Zeros) "a string" PaddingModes.Zeros
            Groups = number "groups"
            Transposed = get "transposed" Json.flag "true or false" false
            OutputPadding = list "outputPadding"
            Embedding = if Json.has "embedding" root then get "embedding" embedding "an object" None else None
        },
        List.ofSeq errors

    let private noIntegers = { Bits = 8; DType = torch.float32; Layouts = [] }

    /// Cores of a layer in a file: its plans are made in the time that this leaves them.
    let private mostCores = 500

    /// What JSON says of a layer, or what is wrong with it.
    let ofElement (root: JsonElement) : Result<LayerDescription, SpecError list> =
        let geometry, errors = geometry "$" root
        let text, specErrors = Json.property "spec" Json.text "a string" "" "$" root
        let choices = lowerings |> List.map (fun lowering -> string lowering, lowering)

        let lowering, loweringErrors =
            Json.property "lowering" (one choices Lowering.Cheapest) "a string" Lowering.Cheapest "$" root

        let flags, flagErrors = Json.property "trained" (Json.members Json.flag) "an object" [] "$" root

        let modes, modeErrors =
            if Json.has "norm" root then
                let modes, errors = Json.property "norm" (Json.array Json.number) "an array" [] "$" root
                Some modes, errors
            else
                None, []

        match errors @ specErrors @ loweringErrors @ flagErrors @ modeErrors with
        | [] ->
            Spec.parse [] text
            |> Result.bind (fun spec ->
                if spec.Cores.Length <= mostCores then
                    Ok spec
                else
                    Error [ SpecError.JsonType("$.spec", $"a network of {spec.Cores.Length} cores", $"at most {mostCores}") ])
            |> Result.bind (fun spec ->
                let quantized, errors =
                    if Json.has "quantized" root then
                        let found, errors =
                            Json.property "quantized" (QuantizedDescription.read spec) "an object" noIntegers "$" root

                        Some found, errors
                    else
                        None, []

                if errors.IsEmpty then
                    Ok
                        {
                            Spec = spec
                            Geometry = geometry
                            Lowering = lowering
                            Modes = modes
                            Flags = flags
                            Quantized = quantized
                        }
                else
                    Error errors)
        | errors -> Error errors

    let private options = JsonDocumentOptions(MaxDepth = 4, AllowDuplicateProperties = false)

    /// What a text in JSON says of a layer, or what is wrong with it.
    let read (text: string) : Result<LayerDescription, SpecError list> = Json.ofText options ofElement text
