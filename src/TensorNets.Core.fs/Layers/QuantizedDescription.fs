namespace TensorNets

open System.Text.Json
open TorchSharp

/// What a file says of the integers of a network.
type internal QuantizedDescription =
    {
        Bits: int
        /// The dtype of the cores that are restored.
        DType: torch.ScalarType
        /// For each core which entries share a scale.
        Layouts: (string * ScaleLayout) list
    }

/// The integers of a network in JSON: <c>{"bits":4,"dtype":"F32","cores":[{"core":"A","axis":1},{"core":"B","group":64},{"core":"C"}]}</c>.
/// Its tensors: <c>A.integers</c>, bytes (<c>PackedBits</c>), and scales in float32, <c>bond.r.scales</c> for all cores whose scales stand
/// along axis r, <c>B.scales</c> for any other core.
[<RequireQualifiedAccess>]
module internal QuantizedDescription =
    let write (json: Utf8JsonWriter) (dtype: torch.ScalarType) (network: QuantizedNetwork) : unit =
        json.WriteStartObject "quantized"
        json.WriteNumber("bits", network.Bits)
        json.WriteString("dtype", SafeTensorHeader.dtypes |> List.find (fun (_, known) -> known = dtype) |> fst)
        json.WriteStartArray "cores"

        for core in network.Cores do
            json.WriteStartObject()
            json.WriteString("core", core.Name)

            match core.Layout with
            | ScaleLayout.Along place -> json.WriteNumber("axis", place)
            | ScaleLayout.Groups entries -> json.WriteNumber("group", entries)
            | ScaleLayout.Whole -> ()

            json.WriteEndObject()

        json.WriteEndArray()
        json.WriteEndObject()

    let private core path (element: JsonElement) : (string * ScaleLayout) * SpecError list =
        let name, nameErrors = Json.property "core" Json.text "a string" "" path element
        let number key make = Json.property key Json.number "a whole number" 0 path element |> fun (n, errors) -> make n, errors

        let layout, errors =
            if Json.has "axis" element then number "axis" ScaleLayout.Along
            elif Json.has "group" element then number "group" ScaleLayout.Groups
            else ScaleLayout.Whole, []

        (name, layout), nameErrors @ errors

    let private dtype path (element: JsonElement) : torch.ScalarType * SpecError list =
        match Json.text path element with
        | text, [] ->
            match
                SafeTensorHeader.dtypes
                |> List.tryFind (fun (name, dtype) -> name = text && (Check.floating "" dtype).IsEmpty)
            with
            | Some(_, dtype) -> dtype, []
            | None -> torch.float32, [ SpecError.JsonType(path, SafeTensorHeader.shown text, "F64, F32, F16 or BF16") ]
        | _, errors -> torch.float32, errors

    let private none = { Bits = 8; DType = torch.float32; Layouts = [] }

    /// What is wrong with layouts for the cores of a network.
    let private misfits path (spec: Spec) (layouts: (string * ScaleLayout) list) : SpecError list =
        let wrong found expected = SpecError.JsonType($"{path}.cores", found, expected)

        [
            if List.map fst layouts <> (spec.Cores |> List.map _.Name) then
                let names = layouts |> List.map (fst >> SafeTensorHeader.shown) |> String.concat ", "
                wrong $"the cores {names}" $"those of {spec}, in order"
            else
                for core, (_, layout) in List.zip spec.Cores layouts do
                    match layout with
                    | ScaleLayout.Along place when
                        place < 0
                        || place >= core.Axes.Length
                        || (spec.Cores.Length > 1 && Spec.isOpen core.Axes[place] spec)
                        ->
                        wrong $"scales along axis {place} of core '{core.Name}'" "the place of a bond"
                    | ScaleLayout.Groups entries when entries < 1 -> wrong $"groups of {entries} entries" "1 or more"
                    | _ -> ()
        ]

    let read (spec: Spec) path (element: JsonElement) : QuantizedDescription * SpecError list =
        let bits, bitErrors = Json.property "bits" Json.number "a whole number" 0 path element
        let dtype, dtypeErrors = Json.property "dtype" dtype "a string" torch.float32 path element
        let layouts, coreErrors = Json.property "cores" (Json.array core) "an array" [] path element

        let range =
            if bitErrors.IsEmpty && (bits < 2 || bits > 8) then
                [ SpecError.JsonType($"{path}.bits", string bits, "2 to 8") ]
            else
                []

        match bitErrors @ range @ dtypeErrors @ coreErrors with
        | [] -> { Bits = bits; DType = dtype; Layouts = layouts }, misfits path spec layouts
        | errors -> none, errors

    let private integersName (core: string) = core + ".integers"

    /// The scales of a core: their name, and how many they are.
    let private scalesOf (spec: Spec) (core: Core) (layout: ScaleLayout) : string * int64 =
        let count = Spec.size core.Axes spec

        match layout with
        | ScaleLayout.Along place -> Quantization.bondScales core.Axes[place] + ".scales", int64 (Spec.dim core.Axes[place] spec)
        | ScaleLayout.Groups entries -> core.Name + ".scales", (count + int64 entries - 1L) / int64 entries
        | ScaleLayout.Whole -> core.Name + ".scales", 1L

    /// The tensors of the integers of a network: name, shape, dtype.
    let tensors (spec: Spec) (quantized: QuantizedDescription) : (string * int64 list * torch.ScalarType) list =
        [
            for core, (_, layout) in List.zip spec.Cores quantized.Layouts do
                integersName core.Name, [ PackedBits.length quantized.Bits (Spec.size core.Axes spec) ], torch.uint8
                let name, count = scalesOf spec core layout
                name, [ count ], torch.float32
        ]
        |> List.distinct

    /// The bytes of the integers and scales of a network in a file.
    let bytes (bits: int) (scales: Scales) (spec: Spec) : int64 =
        let layouts = [ for core in spec.Cores -> core.Name, NearestRounding.layout scales spec core ]

        tensors spec { Bits = bits; DType = torch.float32; Layouts = layouts }
        |> List.sumBy (fun (_, shape, dtype) -> List.fold (*) 1L shape * (if dtype = torch.uint8 then 1L else 4L))

    /// The tensors of a network of integers, by those names: new ones, which the scope of the caller owns.
    let contents (network: QuantizedNetwork) : (string * Tensor) list =
        [
            for core in network.Cores do
                integersName core.Name, PackedBits.pack network.Bits core.Integers
                core.ScaleName + ".scales", core.Scales
        ]
        |> List.distinctBy fst

    /// What is wrong with the numbers of a core that was read.
    let private faults (bits: int) (core: QuantizedCore) : TensorNetError list =
        let least = if core.Scales.numel () = 0L then 0.0 else core.Scales.min().number()
        let largest = int64 (NearestRounding.largest bits)
        let found = if core.Integers.numel () = 0L then 0L else core.Integers.min().integer()

        [
            yield! Check.finite $"The scales of core '{core.Name}'" core.Scales
            if least < 0.0 then
                TensorNetError.Unsupported($"A scale of core '{core.Name}'", string least, "0 or more")
            if found < -largest then
                TensorNetError.Unsupported($"An integer of core '{core.Name}'", string found, $"{-largest} to {largest}")
        ]

    /// The network of integers of such tensors, which have been held against the description: new tensors. Errors: scales that are not
    /// finite or below zero, integers beyond the bits.
    let network (spec: Spec) (quantized: QuantizedDescription) (find: string -> Tensor) : Result<QuantizedNetwork, TensorNetError list> =
        let scales =
            [
                for core, (_, layout) in List.zip spec.Cores quantized.Layouts -> fst (scalesOf spec core layout)
            ]
            |> List.distinct
            |> List.map (fun name -> name, (find name).clone())
            |> Map.ofList

        let core (core: Core, (_, layout)) =
            let integers =
                PackedBits.unpack quantized.Bits (Spec.coreShape core spec) (find (integersName core.Name))

            let name, _ = scalesOf spec core layout
            QuantizedCore(core.Name, integers, name.Substring(0, name.Length - ".scales".Length), scales[name], layout)

        let cores = List.zip spec.Cores quantized.Layouts |> List.map core

        match cores |> List.collect (faults quantized.Bits) with
        | [] -> Ok(new QuantizedNetwork(spec, quantized.Bits, cores))
        | errors -> Error errors
