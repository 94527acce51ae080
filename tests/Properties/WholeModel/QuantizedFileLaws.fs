/// Layers of few bits: what their files hold, and that they come back.
module QuantizedFileLaws

open System.IO
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

let private scales = [ Scales.PerCore; Scales.PerSlice; Scales.PerGroup 5 ]

let private sameIntegers (one: QuantizedNetwork) (other: QuantizedNetwork) =
    Expect.equal other.Bits one.Bits "bits"
    Expect.equal other.Bytes one.Bytes "bytes"

    for a, b in Seq.zip one.Cores other.Cores do
        Expect.equal b.Name a.Name "core"
        Expect.equal b.ScaleName a.ScaleName "the name of the scales"
        Expect.isTrue (identical b.Integers a.Integers) "integers"
        Expect.isTrue (identical b.Scales a.Scales) "scales"

let private layer (dtype: torch.ScalarType) (bits: int) (scales: Scales) : FactorizedLayer =
    use dense = torch.nn.Conv2d(4L, 6L, 3L, dtype = dtype)
    let layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 3) dense |> ok
    LayerQuantization.fit { Quantization.defaults with Bits = bits; Scales = scales } None layer |> ok
    layer

let private written (layer: FactorizedLayer) : MemoryStream =
    let stream = new MemoryStream()
    LayerFile.write stream layer |> ok
    stream.Position <- 0L
    stream

/// The model of every kind, compressed and of few bits.
let private compressed () =
    let model = new EveryKind()

    for path, format in everyKind do
        let quick = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 2 } }
        Compress.layer quick None format path model |> ok |> ignore

    for i, (_, layer) in List.indexed (Compress.factorized model) do
        LayerQuantization.fit { Quantization.defaults with Bits = 2 + i % 7; Scales = scales[i % 3] } None layer
        |> ok

    model

let all =
    testList
        "files of few bits"
        [
            testPropertyWithConfig config "integers that are packed come back, in as few bytes as hold them" (fun (seed: int) ->
                use _ = torch.NewDisposeScope()
                let seed = abs (seed % 100000)
                let bits, count = 2 + seed % 7, 1L + int64 (seed / 7 % 40)
                let most = (1L <<< (bits - 1)) - 1L
                use generator = new torch.Generator(uint64 seed)
                let integers = torch.randint (-most, most + 1L, [| count |], dtype = torch.int8, generator = generator)
                let packed = PackedBits.pack bits integers
                Expect.equal packed.shape [| (count * int64 bits + 7L) / 8L |] "bytes"
                Expect.isTrue (identical (PackedBits.unpack bits [ count ] packed) integers) "integers")
            testCase "bits stand from the lowest on, in two's complement" (fun () ->
                use _ = torch.NewDisposeScope()
                let integers = torch.tensor ([| 1y; -1y; 3y; -4y |], dtype = torch.int8)
                // 001, 111, 011, 100 from the right: 100 011 111 001.
                let packed = PackedBits.pack 3 integers
                Expect.equal (packed.data<byte>().ToArray()) [| 0b11_111_001uy; 0b0000_1000uy + 0b0uy |] "bytes")
            testCase "a layer comes back with its integers, in every dtype, at all bits and scales" (fun () ->
                use _ = torch.NewDisposeScope()

                for dtype in [ torch.float64; torch.float32; torch.float16; torch.bfloat16 ] do
                    for bits in 2..8 do
                        for scales in scales do
                            use layer = layer dtype bits scales
                            use stream = written layer
                            use back = LayerFile.read "memory" stream |> ok
                            sameIntegers (LayerQuantization.current layer).Value (LayerQuantization.current back).Value

                            for a, b in Seq.zip layer.Factors back.Factors do
                                Expect.isTrue (identical a b) "cores"

                            use again = written back
                            Expect.equal (again.ToArray()) (stream.ToArray()) "the file of what was read")
            testCase "a layer that was trained on is written as numbers; one that was moved is not" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = layer torch.float32 5 Scales.PerSlice
                let isOfIntegers () = (SafeTensors.ofStream "memory" (written layer) |> ok).Metadata["layer"].Contains "quantized"
                Expect.isTrue (isOfIntegers ()) "the file of integers"

                for dtype in [ torch.float64; torch.bfloat16; torch.float16 ] do
                    use moved = LayerFile.read "memory" (written layer) |> ok
                    moved.``to`` dtype |> ignore
                    Expect.isSome (LayerQuantization.current moved) $"in {dtype}"

                use _ = torch.no_grad ()
                layer.Factors[0].add_(Num.like layer.Factors[0] 1e-3) |> ignore
                Expect.isNone (LayerQuantization.current layer) "trained on"
                Expect.isFalse (isOfIntegers ()) "the file of numbers")
            testCase "a copy has integers of its own, and what is disposed is refused by name" (fun () ->
                use _ = torch.NewDisposeScope()

                for scales in scales do
                    let layer = layer torch.float32 5 scales
                    let copy = Layers.copy layer
                    let integers = (LayerQuantization.current copy).Value
                    sameIntegers (LayerQuantization.current layer).Value integers
                    Expect.equal ((written copy).ToArray()) ((written layer).ToArray()) "the file"
                    let bytes = LayerQuantization.bytes layer
                    layer.Dispose()
                    Expect.equal (LayerQuantization.bytes copy) bytes "bytes"

                    match LayerFile.write (new MemoryStream()) layer with
                    | Error errors -> Expect.isTrue (errors |> List.forall _.IsDisposed) $"{errors}"
                    | Ok() -> failtest "it was written"

                    for call in
                        [
                            fun () -> LayerQuantization.bytes layer |> ignore
                            fun () -> LayerQuantization.current layer |> ignore
                            fun () -> LayerQuantization.fit Quantization.defaults None layer |> ignore
                        ] do
                        Expect.throwsT<TensorNetException> call "disposed"

                    copy.Dispose()

                    for core in integers.Cores do
                        Expect.isTrue (core.Integers.IsInvalid && core.Scales.IsInvalid) "what the copy owned")
            testCase "scales and integers that rounding never makes are refused" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = layer torch.float32 5 Scales.PerCore
                let reader = SafeTensors.ofStream "memory" (written layer) |> ok
                let metadata = [ "tensornets", "1"; "layer", reader.Metadata["layer"] ]
                let tensors = reader.ReadAll() |> ok |> Map.ofSeq
                let least = torch.tensor (Array.replicate 12 -16y, dtype = torch.int8)

                for name, other in
                    [
                        for scale in [ nanf; infinityf; -1.0f ] do
                            "A.scales", torch.tensor ([| scale |], dtype = torch.float32)
                        "A.integers", PackedBits.pack 5 least
                    ] do
                    Expect.equal other.shape tensors[name].shape "the shape"
                    use file = new MemoryStream()
                    SafeTensors.write metadata (tensors |> Map.add name other |> Map.toList) file |> ok
                    file.Position <- 0L

                    match LayerFile.read "memory" file with
                    | Error errors -> Expect.isTrue (errors |> List.forall _.Message.Contains("'A'")) $"{errors}"
                    | Ok _ -> failtest $"{name} was read")
            testCase "a model comes back with its integers, and its file is the smaller" (fun () ->
                use _ = torch.NewDisposeScope()
                let path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName())

                try
                    use model = compressed ()
                    ModelFile.save path model |> ok
                    use fresh = new EveryKind()
                    ModelFile.load path fresh |> ok

                    for (name, one), (_, other) in List.zip (Compress.factorized model) (Compress.factorized fresh) do
                        sameIntegers (LayerQuantization.current one).Value (LayerQuantization.current other).Value
                        Expect.isTrue (identical (one.Kernel()) (other.Kernel())) name

                    let x = images 1 2L
                    model.eval ()
                    fresh.eval ()
                    Expect.isTrue (identical (model.call x) (fresh.call x)) "forward"
                finally
                    File.Delete path)
            testCase "what a file says of integers that cannot be is refused" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = layer torch.float32 5 Scales.PerSlice
                use stream = written layer
                let reader = SafeTensors.ofStream "memory" stream |> ok
                let text = reader.Metadata["layer"]
                let tensors = reader.ReadAll() |> ok

                for part, other in
                    [
                        "\"bits\":5", "\"bits\":1"
                        "\"bits\":5", "\"bits\":4"
                        "\"bits\":5", "\"bits\":9999999999"
                        "\"dtype\":\"F32\"", "\"dtype\":\"U8\""
                        "\"core\":\"A\"", "\"core\":\"B\""
                        "\"axis\":1", "\"axis\":0"
                        "\"axis\":1", "\"axis\":-1"
                        "\"axis\":1", "\"axis\":7"
                        "\"axis\":1", "\"group\":0"
                        "\"axis\":1", "\"group\":2"
                    ] do
                    Expect.stringContains text part "the part"
                    let metadata = [ "tensornets", "1"; "layer", text.Replace(part, other) ]
                    use file = new MemoryStream()
                    SafeTensors.write metadata (List.ofSeq tensors) file |> ok
                    file.Position <- 0L

                    match LayerFile.read "memory" file with
                    | Error errors when errors |> List.forall _.IsBadFile -> ()
                    | other -> failtestf "%s: %A" part other)
        ]
