namespace TensorNets

open System
open System.IO
open System.Text
open System.Text.Json
open TorchSharp

/// <summary>Factorised layers in files that need no knowledge of the original: geometry, lowering, dtype and spec as JSON, then the numbers.</summary>
/// <remarks>The file: the text <c>TensorNets layer</c>, the JSON (version 1) as a string with its length in front, and the state dict as TorchSharp's
/// <c>save</c> writes it, under the keys A, B, C, … (names of the cores) and <c>bias</c>.</remarks>
[<RequireQualifiedAccess>]
module LayerFile =
    let private magic = "TensorNets layer"
    let private version = 1

    let private describe (layer: FactorizedLayer) : string =
        use stream = new MemoryStream()
        use json = new Utf8JsonWriter(stream)
        let g = layer.Geometry

        let numbers (name: string) (values: int64 list) =
            json.WriteStartArray name

            for value in values do
                json.WriteNumberValue value

            json.WriteEndArray()

        json.WriteStartObject()
        json.WriteNumber("version", version)
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
        json.WriteString("lowering", string layer.Lowering)
        json.WriteString("dtype", string layer.Factors[0].dtype)
        json.WriteBoolean("bias", not (isNull layer.Bias))
        json.WriteBoolean("trainable", layer.Factors[0].requires_grad)
        json.WritePropertyName "spec"
        json.WriteRawValue(SpecJson.write layer.Spec)
        json.WriteEndObject()
        json.Flush()
        Encoding.UTF8.GetString(stream.ToArray())

    let private lowering text =
        [ Lowering.Staged; Lowering.Windowed; Lowering.Dense; Lowering.Cheapest; Lowering.Measured ]
        |> List.find (fun lowering -> string lowering = text)

    /// The layer that JSON describes, its numbers zero.
    let private ofJson (text: string) : Result<FactorizedLayer, TensorNetError list> =
        use document = JsonDocument.Parse text
        let root = document.RootElement
        let at (name: string) = root.GetProperty name
        let numbers name = [ for item in (at name).EnumerateArray() -> item.GetInt64() ]
        let words name = nonNull ((at name).GetString())

        if (at "version").GetInt32() <> version then
            Error [ TensorNetError.Spec(SpecError.JsonVersion((at "version").GetRawText(), string version)) ]
        else
            let geometry =
                {
                    InChannels = (at "in").GetInt64()
                    OutChannels = (at "out").GetInt64()
                    Kernel = numbers "kernel"
                    Stride = numbers "stride"
                    Dilation = numbers "dilation"
                    Padding = List.map2 (fun a b -> struct (a, b)) (numbers "before") (numbers "after")
                    PaddingMode = Enum.Parse<PaddingModes>(words "mode")
                    Groups = (at "groups").GetInt64()
                    Transposed = (at "transposed").GetBoolean()
                    OutputPadding = numbers "outputPadding"
                }

            SpecJson.read ((at "spec").GetRawText())
            |> Result.mapError (List.map TensorNetError.Spec)
            |> Result.bind (fun spec ->
                use _ = torch.NewDisposeScope()
                let dtype = Enum.Parse<torch.ScalarType>(words "dtype")
                let zeros (shape: int64 list) = Fresh.zeros dtype (List.toArray shape)
                let network = new Network(spec, [| for core in spec.Cores -> zeros (Spec.coreShape core spec) |])
                let bias = if (at "bias").GetBoolean() then Some(zeros [ geometry.OutChannels ]) else None
                Layers.ofNetwork (Some(lowering (words "lowering"))) geometry bias network)
            |> Result.map (fun layer ->
                if not ((at "trainable").GetBoolean()) then
                    for struct (_, parameter) in layer.named_parameters () do
                        parameter.requires_grad <- false

                layer)

    /// <summary>Writes a layer to a stream, its numbers as they are on the CPU.</summary>
    let write (stream: Stream) (layer: FactorizedLayer) : unit =
        use writer = new BinaryWriter(stream, Encoding.UTF8, leaveOpen = true)
        writer.Write magic
        writer.Write(describe layer)
        layer.save writer |> ignore

    let private broken name reason = Error [ TensorNetError.BadFile(name, reason) ]

    /// <summary>The layer that <c>write</c> has written. Errors: <c>BadFile</c>, with the reason; those of <c>Layers.ofNetwork</c>.</summary>
    let read (name: string) (stream: Stream) : Result<FactorizedLayer, TensorNetError list> =
        try
            use reader = new BinaryReader(stream, Encoding.UTF8, leaveOpen = true)

            if reader.ReadString() <> magic then
                broken name $"it does not begin with '{magic}'"
            else
                ofJson (reader.ReadString())
                |> Result.bind (fun layer ->
                    try
                        layer.load (reader, true) |> ignore
                        Ok layer
                    with problem ->
                        layer.Dispose()
                        broken name (problem.Message.TrimEnd '.'))
        with
        | :? EndOfStreamException -> broken name "it ends too early"
        | :? JsonException
        | :? ArgumentException
        | :? InvalidOperationException
        | :? FormatException
        | :? Collections.Generic.KeyNotFoundException as problem -> broken name (problem.Message.TrimEnd '.')

    /// <summary>Writes a layer to a file. Equivalent to: <c>load</c> of the file gives the same layer to the bit.</summary>
    let save (path: string) (layer: FactorizedLayer) : unit =
        use file = File.Create path
        write file layer

    /// <summary>The layer in a file. Errors: <c>BadFile</c>, with the reason.</summary>
    let load (path: string) : Result<FactorizedLayer, TensorNetError list> =
        if File.Exists path then
            use file = File.OpenRead path
            read path file
        else
            broken path "there is no such file"
