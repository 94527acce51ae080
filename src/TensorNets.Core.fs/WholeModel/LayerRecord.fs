namespace TensorNets

open System
open System.Text.Json

/// What the file of a model says of one of its factorized layers.
type internal LayerRecord =
    {
        /// Every path at which the layer stands.
        Paths: string list
        Layer: LayerDescription
        Origin: LayerOrigin option
        /// Whether the geometry is known by channels and kernel alone.
        IsKernelOnly: bool
    }

/// The factorized layers of a model in JSON: <c>{"layers":[{"paths":[…],"layer":{…},"format":"CP(8)","error":0.2}]}</c>; with
/// <c>"kernelOnly":true</c> where strides and padding are the model's to say.
[<RequireQualifiedAccess>]
module internal LayerRecord =
    /// The layers of a model, each with all its paths, its description, its origin and whether it is known by its kernel alone.
    let write (layers: (string list * string * LayerOrigin option * bool) list) : string =
        Json.written false (fun json ->
            json.WriteStartObject()
            json.WriteStartArray "layers"

            for paths, description, origin, isKernelOnly in layers do
                json.WriteStartObject()
                json.WriteStartArray "paths"

                for path in paths do
                    json.WriteStringValue path

                json.WriteEndArray()
                json.WritePropertyName "layer"
                json.WriteRawValue description

                match origin with
                | Some origin ->
                    json.WriteString("format", origin.Format)

                    if Double.IsFinite origin.KernelError then
                        json.WriteNumber("error", origin.KernelError)
                | None -> ()

                if isKernelOnly then
                    json.WriteBoolean("kernelOnly", true)

                json.WriteEndObject()

            json.WriteEndArray()
            json.WriteEndObject())

    let private origin path (element: JsonElement) : LayerOrigin option * SpecError list =
        if Json.has "format" element then
            let format, formatErrors = Json.property "format" Json.text "a string" "" path element

            let error, errors =
                if Json.has "error" element then
                    Json.property "error" Json.real "a number" nan path element
                else
                    nan, []

            Some { Format = format; KernelError = error }, formatErrors @ errors
        else
            None, []

    /// A layer that says nothing, for where there is an error.
    let private nothing =
        {
            Paths = []
            Layer =
                {
                    Spec = Spec.make Map.empty [] []
                    Geometry = ConvGeometry.plain 0 1L 1L
                    Lowering = Lowering.Cheapest
                    Modes = None
                    Flags = []
                    Quantized = None
                }
            Origin = None
            IsKernelOnly = false
        }

    let private description path (element: JsonElement) : LayerDescription * SpecError list =
        match LayerDescription.ofElement element with
        | Ok layer -> layer, []
        | Error errors -> nothing.Layer, errors

    let private record path (element: JsonElement) : LayerRecord * SpecError list =
        let paths, pathErrors = Json.property "paths" (Json.array Json.text) "an array" [] path element
        let layer, layerErrors = Json.property "layer" description "an object" nothing.Layer path element
        let origin, originErrors = origin path element

        let isKernelOnly, kernelErrors =
            if Json.has "kernelOnly" element then
                Json.property "kernelOnly" Json.flag "true or false" false path element
            else
                false, []

        let empty =
            if paths.IsEmpty && pathErrors.IsEmpty then
                [ SpecError.JsonType($"{path}.paths", "an empty array", "at least one path") ]
            else
                []

        { Paths = paths; Layer = layer; Origin = origin; IsKernelOnly = isKernelOnly },
        pathErrors @ empty @ layerErrors @ originErrors @ kernelErrors

    let private ofRoot (root: JsonElement) : Result<LayerRecord list, SpecError list> =
        match Json.property "layers" (Json.array record) "an array" [] "$" root with
        | records, [] ->
            match records |> List.collect _.Paths |> List.countBy id |> List.filter (fun (_, count) -> count > 1) with
            | [] -> Ok records
            | twice ->
                Error
                    [
                        for path, _ in twice -> SpecError.JsonType("$.layers", $"two layers at {SafeTensorHeader.shown path}", "one")
                    ]
        | _, errors -> Error errors

    let private options = JsonDocumentOptions(MaxDepth = 8, AllowDuplicateProperties = false)

    /// What a text in JSON says of the layers of a model, or what is wrong with it.
    let read (text: string) : Result<LayerRecord list, SpecError list> = Json.ofText options ofRoot text
