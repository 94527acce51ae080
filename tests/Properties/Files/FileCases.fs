/// Named tensors of any dtype and shape, the bytes of files, and why they are refused.
module FileCases

open System
open System.Buffers.Binary
open System.IO
open System.Text
open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators

/// A first and a second half of a character; written as a literal they would be something else.
let halves = [ String(char 0xD800, 1); String(char 0xDC00, 1) ]

let bytesOf (tensor: torch.Tensor) =
    use plain = tensor.detach().contiguous()
    if plain.numel () = 0L then [||] else plain.bytes.ToArray()

/// A tensor of random bits, NaN of every kind among them; of truth values, random ones.
let randomBits (random: Random) (dtype: torch.ScalarType) (shape: int64 list) =
    let tensor = torch.zeros (List.toArray shape, dtype = dtype)

    if tensor.numel () > 0L then
        random.NextBytes tensor.bytes

        if dtype = torch.ScalarType.Bool then
            let bytes = tensor.bytes

            for i in 0 .. bytes.Length - 1 do
                bytes[i] <- bytes[i] &&& 1uy

    tensor

type NamedTensors = { Dims: (int * int list) list; Seed: int }

let namedTensors =
    let dims = Gen.listOf (Gen.zip (Gen.choose (0, 11)) (Gen.resize 4 (Gen.listOf (Gen.choose (0, 5)))))

    Gen.map2 (fun dims seed -> { Dims = List.truncate 6 dims; Seed = seed }) dims (Gen.choose (0, 1 <<< 30))
    |> Arb.fromGen

let names = [ "A"; "b.weight"; "größe"; "\"\\"; "日本"; "" ]

/// The tensors of a case, of as many of the dtypes as are given.
let made (dtypes: torch.ScalarType list) (case: NamedTensors) =
    let random = Random case.Seed

    [
        for name, (dtype, dims) in List.zip (List.truncate case.Dims.Length names) case.Dims do
            name, randomBits random dtypes[dtype % dtypes.Length] (List.map int64 dims)
    ]

let expectSame what (found: (string * torch.Tensor) list) (expected: (string * torch.Tensor) list) =
    let told (tensors: (string * torch.Tensor) list) =
        tensors
        |> List.map (fun (name, tensor) -> name, tensor.dtype, List.ofArray tensor.shape, bytesOf tensor)
        |> List.sortBy (fun (name, _, _, _) -> name)

    Expect.equal (told found) (told expected) what

let plainDTypes = SafeTensorHeader.dtypes |> List.map snd

let written metadata tensors =
    let stream = new MemoryStream()
    SafeTensors.write metadata tensors stream |> ok
    stream.Position <- 0L
    stream

/// A file of a header and what follows it.
let fileOf (header: string) (data: byte[]) =
    let header = Encoding.UTF8.GetBytes header
    let prefix = Array.zeroCreate<byte> 8
    BinaryPrimitives.WriteInt64LittleEndian(Span prefix, header.LongLength)
    Array.concat [ prefix; header; data ]

let reasons (result: Result<'T, TensorNetError list>) =
    match result with
    | Ok _ -> failtest "accepted"
    | Error errors ->
        [
            for error in errors do
                match error with
                | TensorNetError.BadFile(_, reason) -> reason
                | other -> failtestf "%A" other
        ]

let refusedAs (expected: string) (bytes: byte[]) =
    use stream = new MemoryStream(bytes)
    let found = reasons (SafeTensors.ofStream "it" stream)
    Expect.isTrue (found |> List.exists (fun reason -> reason.Contains expected)) $"%A{found} lacks '{expected}'"

let inFolder (act: string -> unit) =
    let folder = Directory.CreateTempSubdirectory().FullName

    try
        act folder
    finally
        Directory.Delete(folder, true)
