/// Kernels of the convolutions in an ONNX file, which is read as far as they need: a walk over protobuf fields.
module OnnxKernels

open System
open System.Buffers.Binary
open System.IO
open System.Text
open TorchSharp

/// The fields of a message: number, value of a varint, bytes of a field with a length.
let private fields (message: ReadOnlyMemory<byte>) : (int * uint64 * ReadOnlyMemory<byte>) list =
    let mutable at = 0

    let varint () =
        let mutable value, shift, more = 0UL, 0, true

        while more do
            let part = message.Span[at]
            at <- at + 1
            value <- value ||| (uint64 (part &&& 127uy) <<< shift)
            shift <- shift + 7
            more <- part >= 128uy

        value

    [
        while at < message.Length do
            let tag = varint ()

            match int (tag &&& 7UL) with
            | 0 -> int (tag >>> 3), varint (), ReadOnlyMemory.Empty
            | 2 ->
                let length = int (varint ())
                let bytes = message.Slice(at, length)
                at <- at + length
                int (tag >>> 3), 0UL, bytes
            | 5 ->
                let bytes = message.Slice(at, 4)
                at <- at + 4
                int (tag >>> 3), 0UL, bytes
            | _ ->
                let bytes = message.Slice(at, 8)
                at <- at + 8
                int (tag >>> 3), 0UL, bytes
    ]

let private texts number all =
    [
        for n, _, (bytes: ReadOnlyMemory<byte>) in all do
            if n = number then
                Encoding.UTF8.GetString bytes.Span
    ]

/// Dimensions and numbers of a float32 tensor.
let private tensor (message: ReadOnlyMemory<byte>) : torch.Tensor =
    let all = fields message

    let shape =
        [|
            for n, value, bytes in all do
                if n = 1 && bytes.IsEmpty then
                    int64 value
                elif n = 1 then
                    for size in bytes.ToArray() do
                        int64 size
        |]

    let data =
        all
        |> List.filter (fun (n, _, _) -> n = 9 || n = 4)
        |> List.map (fun (_, _, bytes) -> bytes.ToArray())
        |> Array.concat

    let values =
        Array.init (data.Length / 4) (fun i -> BinaryPrimitives.ReadSingleLittleEndian(ReadOnlySpan(data, 4 * i, 4)))

    torch.tensor(values).reshape shape

/// The weights (out, in, height, width) of all convolutions, in the order of the graph.
let read (path: string) : torch.Tensor list =
    let graph =
        fields (ReadOnlyMemory(File.ReadAllBytes path))
        |> List.pick (fun (n, _, bytes) -> if n = 7 then Some bytes else None)

    let parts = fields graph

    let initializers =
        dict
            [
                for n, _, bytes in parts do
                    if n = 5 then
                        (texts 8 (fields bytes)).Head, bytes
            ]

    [
        for n, _, bytes in parts do
            if n = 1 then
                let node = fields bytes

                if texts 4 node = [ "Conv" ] then
                    tensor initializers[(texts 1 node)[1]]
    ]
