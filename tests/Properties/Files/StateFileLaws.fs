/// States in the format of TorchSharp's save.
module StateFileLaws

open System
open System.IO
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases

let private stateOf (tensors: (string * torch.Tensor) list) =
    use stream = new MemoryStream()
    TorchState.write tensors stream
    stream.ToArray()

/// As TorchSharp writes it.
let private torchSharpStateOf (tensors: (string * torch.Tensor) list) =
    use stream = new MemoryStream()
    use writer = new BinaryWriter(stream)
    writer.Write(byte tensors.Length)

    for name, tensor in tensors do
        writer.Write name
        TensorExtensionMethods.Save(tensor, writer)

    stream.ToArray()

let private stateReasons (bytes: byte[]) =
    use _ = torch.NewDisposeScope()
    use stream = new MemoryStream(bytes)
    reasons (TorchState.read true "it" stream)

let private states =
    let dtypes = plainDTypes @ [ torch.complex64; torch.complex128 ]

    let hostile: (string * byte list * string) list =
        [
            "nothing", [], "ends too early"
            "a count without end", List.replicate 12 255uy, "more than 63 bits"
            "a count of 2^62", List.replicate 8 255uy @ [ 63uy ], "ends too early"
            "a name of 2 GB", [ 1uy; 255uy; 255uy; 255uy; 255uy; 7uy; 65uy ], "a name is said to have"
            "a name that is no UTF-8", [ 1uy; 2uy; 255uy; 255uy; 6uy; 0uy ], "no UTF-8"
            "dtype 128", [ 1uy; 1uy; 65uy; 128uy; 1uy; 0uy ], "the dtype of 'A' is 128"
            "dtype -1", [ 1uy; 1uy; 65uy ] @ List.replicate 9 255uy @ [ 1uy; 0uy ], "more than 63 bits"
            "dtype quantized", [ 1uy; 1uy; 65uy; 12uy; 0uy; 0uy ], "the dtype of 'A' is 12"
            "dtype undefined", [ 1uy; 1uy; 65uy; 8uy; 0uy; 0uy; 0uy ], "the dtype of 'A' is 8"
            "65 dimensions", [ 1uy; 1uy; 65uy; 0uy; 65uy ] @ List.replicate 66 1uy, "65 dimensions"
            "4 GB of entries", [ 1uy; 1uy; 65uy; 0uy; 1uy; 128uy; 128uy; 128uy; 128uy; 16uy; 0uy ], "too early for the entries"
            "a product that wraps round",
            [ 1uy; 1uy; 65uy; 0uy; 3uy; 0uy ]
            @ (List.replicate 2 (List.replicate 8 255uy @ [ 127uy ]) |> List.concat),
            "too early for the entries"
            "a key twice", [ 2uy; 1uy; 65uy; 0uy; 0uy; 7uy; 1uy; 65uy; 0uy; 0uy; 7uy ], "'A' more than once"
            "a byte behind", [ 1uy; 1uy; 65uy; 0uy; 0uy; 7uy; 9uy ], "1 bytes follow"
            "truth of 2", [ 1uy; 1uy; 65uy; 11uy; 0uy; 2uy ], "truth values"
        ]

    testList
        "states in TorchSharp's format"
        [
            lawOver namedTensors "what TorchSharp writes is what we write, and is read back to the bit" (fun case ->
                let tensors = made dtypes case
                let bytes = torchSharpStateOf tensors
                Expect.equal (stateOf tensors) bytes "written"
                use stream = new MemoryStream(bytes)
                expectSame "read" (TorchState.read true "memory" stream |> ok) tensors)
            lawOver namedTensors "a state cut off anywhere is refused and leaves no tensor behind" (fun case ->
                let bytes = torchSharpStateOf (("last", torch.ones 1L) :: made dtypes case)
                use scope = torch.NewDisposeScope()
                use stream = new MemoryStream(bytes[.. Random(case.Seed).Next(bytes.Length - 1) - 1])
                Expect.isNonEmpty (reasons (TorchState.read true "memory" stream)) "reason"
                Expect.equal scope.DisposablesCount 0 "tensors")
            for what, bytes, expected in hostile do
                testCase $"refused: {what}" (fun () -> Expect.stringContains (stateReasons (List.toArray bytes)).Head expected "reason")
            testCase
                "of two states in one stream the reader of the first stops where the second begins; a file ends with its state"
                (fun () ->
                    use _ = torch.NewDisposeScope()
                    use linear = torch.nn.Linear(3L, 2L)
                    use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) linear |> ok
                    use other = Layers.fresh None KernelAxes.Fused 2UL 1.0 (Format.CP 2) linear |> ok

                    inFolder (fun folder ->
                        let path = Path.Combine(folder, "state")
                        StateDict.saveFile path layer |> ok
                        let state = File.ReadAllBytes path

                        use both =
                            new MemoryStream(
                                Array.append state (torchSharpStateOf [ for KeyValue(key, tensor) in other.state_dict () -> key, tensor ])
                            )

                        use reader = new BinaryReader(both)
                        use third = Layers.fresh None KernelAxes.Fused 3UL 1.0 (Format.CP 2) linear |> ok

                        for saved in [ layer; other ] do
                            third.load reader |> ignore

                            for KeyValue(key, tensor) in third.state_dict () do
                                Expect.isTrue (identical tensor (saved.state_dict()[key])) key

                        File.WriteAllBytes(path, Array.append state (Array.zeroCreate 1000))

                        for load in
                            [
                                (fun () -> StateDict.loadFile path third)
                                (fun () ->
                                    try
                                        third.load path |> ignore
                                        Ok()
                                    with :? TensorNetException as problem ->
                                        Error(List.ofSeq problem.Errors))
                            ] do
                            Expect.equal (reasons (load ())) [ "1000 bytes follow its last tensor" ] "behind the state"

                        Expect.isTrue (identical third.Factors[0] other.Factors[0]) "nothing changed"))
        ]

let all = states
