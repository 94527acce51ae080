/// The safetensors reader and writer.
module SafeTensorsLaws

open System
open System.Buffers.Binary
open System.IO
open System.IO.MemoryMappedFiles
open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open FileCases

let private one (entry: string) = """{"a":""" + entry + "}"

let private hostileHeaders: (string * string * int * string) list =
    let a first last = $"""{{"dtype":"U8","shape":[{last - first}],"data_offsets":[{first},{last}]}}"""

    [
        "no JSON", "[", 0, "does not begin with '{'"
        "half of an object", "{", 0, "Malformed JSON"
        "a key twice", "{\"a\":" + a 0 4 + ",\"a\":" + a 4 8 + "}", 8, "Malformed JSON"
        "deep nesting", one (String('[', 1000) + String(']', 1000)), 0, "Malformed JSON"
        "half of a character", """{"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}""", 0, "half of a character"
        "an entry that is none", one "7", 0, "expected an object"
        "a dtype of none", one """{"dtype":null,"shape":[1],"data_offsets":[0,1]}""", 1, "expected one of F64"
        "a dtype by number", one """{"dtype":6,"shape":[1],"data_offsets":[0,1]}""", 1, "expected one of F64"
        "an unknown dtype", one """{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}""", 1, "expected one of F64"
        "no shape", one """{"dtype":"U8","data_offsets":[0,1]}""", 1, "has no shape"
        "a property too many", one """{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}""", 1, "4 properties"
        "a negative dimension", one """{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}""", 1, "the shape of 'a'"
        "a broken dimension", one """{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}""", 1, "the shape of 'a'"
        "a dimension of 80 bits", one """{"dtype":"U8","shape":[1208925819614629174706176],"data_offsets":[0,1]}""", 1, "the shape of 'a'"
        "a product that wraps round",
        one """{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}""",
        0,
        "more than can be counted"
        "a product that wraps round beside 0",
        one """{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}""",
        0,
        "more than can be counted"
        "four gigabytes",
        one """{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}""",
        4,
        "expected 4, which is what follows"
        "65 dimensions", one $"""{{"dtype":"U8","shape":[{String.Join(",", Array.create 65 1)}],"data_offsets":[0,1]}}""", 1, "at most 64"
        "three offsets", one """{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}""", 1, "the offsets of 'a'"
        "offsets backwards", one """{"dtype":"U8","shape":[1],"data_offsets":[1,0]}""", 1, "the offsets of 'a'"
        "a size that is not that of the shape", one """{"dtype":"U8","shape":[3],"data_offsets":[0,4]}""", 4, "takes 4 bytes; expected 3"
        "a hole", "{\"a\":" + a 0 4 + ",\"b\":" + a 5 8 + "}", 8, "begin at 5; expected 4"
        "an overlap", "{\"a\":" + a 0 4 + ",\"b\":" + a 3 8 + "}", 8, "begin at 3; expected 4"
        "a thousand bytes behind", one (a 0 4), 1004, "expected 1004"
        "metadata that is none", """{"__metadata__":7}""", 0, "the metadata is no object"
        "metadata that is no text", """{"__metadata__":{"a":7}}""", 0, "no text"
    ]

let private safetensors =
    testList
        "safetensors"
        [
            lawOver namedTensors "what is written is read back to the bit, by name, of a file, of memory and of a mapped file" (fun case ->
                let tensors = made plainDTypes case
                let metadata = [ "who", "we — \"quoted\""; "", "\u0001" ]
                use stream = written metadata tensors
                let reader = SafeTensors.ofStream "memory" stream |> ok
                expectSame "memory" [ for entry in reader.Entries -> entry.Name, reader.Read entry.Name |> ok ] tensors
                Expect.equal [ for KeyValue(key, value) in reader.Metadata -> key, value ] metadata "metadata"

                for entry in reader.Entries do
                    Expect.equal
                        (entry.Offset % (TensorBytes.entrySize entry.DType).Value)
                        0L
                        "each begins where its entries can be read in place"

                inFolder (fun folder ->
                    let path = Path.Combine(folder, "tensors")
                    SafeTensors.save path metadata tensors |> ok
                    expectSame "file" (SafeTensors.load path |> ok) tensors
                    use map = MemoryMappedFile.CreateFromFile(path, FileMode.Open)
                    use view = map.CreateViewStream(0L, FileInfo(path).Length, MemoryMappedFileAccess.Read)
                    let mapped = SafeTensors.ofStream "view" view |> ok
                    expectSame "view" [ for name, _ in List.rev tensors -> name, mapped.Read name |> ok ] tensors))
            testCase "the bytes are those of the format" (fun () ->
                use _ = torch.NewDisposeScope()
                use stream = written [ "k", "v" ] [ "a", torch.tensor [| 1.0f; -2.0f |] ]

                let header =
                    """{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""".PadRight 80

                Expect.equal header.Length 80 "a multiple of 8"
                Expect.equal (stream.ToArray()) (fileOf header [| 0uy; 0uy; 128uy; 63uy; 0uy; 0uy; 0uy; 192uy |]) "bytes")
            for what, header, size, expected in hostileHeaders do
                testCase $"refused: {what}" (fun () -> refusedAs expected (fileOf header (Array.zeroCreate size)))
            testCase "refused: a header longer than the file, and than any header" (fun () ->
                for length in [ UInt64.MaxValue; 1UL <<< 63; 100_000_001UL; 3UL ] do
                    let bytes = Array.zeroCreate<byte> 10
                    BinaryPrimitives.WriteUInt64LittleEndian(Span bytes, length)
                    refusedAs $"said to have {length} bytes; expected at most 2" bytes

                refusedAs "ends too early" [| 1uy; 2uy |])
            testCase "refused: a header that is no UTF-8" (fun () ->
                let prefix = Array.zeroCreate<byte> 8
                prefix[0] <- 4uy
                refusedAs "half of a character" (Array.append prefix [| 123uy; 255uy; 34uy; 125uy |]))
            testCase "truth values are 0 or 1" (fun () ->
                let bytes = fileOf (one """{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}""") [| 1uy; 2uy |]
                use stream = new MemoryStream(bytes)
                let reader = SafeTensors.ofStream "it" stream |> ok
                Expect.stringContains (reasons (reader.Read "a")).Head "truth values" "reason")
            testCase "what cannot be written is refused before the first byte" (fun () ->
                use _ = torch.NewDisposeScope()
                let fine = torch.ones 2L
                let gone = torch.ones 2L
                gone.Dispose()

                for tensors in
                    [
                        [ "a", fine; "a", fine ]
                        [ "__metadata__", fine ]
                        [ halves[0], fine ]
                        [ "a", fine; "b", torch.ones (2L, dtype = torch.complex64) ]
                        [ "a", fine; "b", torch.ones (2L, device = torch.META) ]
                        [ "a", fine; "b", gone ]
                        [ "a", fine; "b", torch.ones([| 2L; 2L |]).to_sparse() ]
                    ] do
                    use stream = new MemoryStream()
                    Expect.isError (SafeTensors.write [] tensors stream) "tensors"
                    Expect.equal stream.Length 0L "nothing written"

                use stream = new MemoryStream()
                Expect.isError (SafeTensors.write [ "a", "1"; "a", "2" ] [] stream) "metadata twice"
                Expect.isError (SafeTensors.write [ "a", halves[1] ] [] stream) "half of a character")
        ]

/// A file of tensors of as many bytes each, all zero, which take no room on a disk that knows holes.
let private sparse (path: string) (names: string list) (each: int64) =
    let entries =
        [
            for i, name in List.indexed names ->
                $"\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{each / 4L}],\"data_offsets\":[{int64 i * each},{int64 (i + 1) * each}]}}"
        ]

    let start = fileOf ("{" + String.Join(",", entries) + "}") [||]
    use file = File.Create path
    file.Write(start, 0, start.Length)
    file.SetLength(int64 start.Length + each * int64 names.Length)

let private opened =
    testList
        "open files"
        [
            lawOver namedTensors "tensors of an open file, in any order and more than once, are those that load gives" (fun case ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "tensors")
                    let tensors = made plainDTypes case
                    SafeTensors.save path [ "k", "v" ] tensors |> ok
                    use file = SafeTensors.openFile path |> ok
                    let read () = [ for name, _ in List.rev tensors -> name, file.Read name |> ok ]
                    expectSame "once" (read ()) (SafeTensors.load path |> ok)
                    expectSame "again" (read ()) tensors
                    Expect.equal file.Metadata["k"] "v" "metadata"
                    (file :> IDisposable).Dispose()

                    for name, _ in tensors do
                        Expect.equal (file.Read name) (Error [ TensorNetError.Disposed $"The reader of '{path}'" ]) "closed"

                    // Nothing holds it open.
                    use _ = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None)
                    ()))
            testCase
                "a file that another takes the place of is read to its end; one that is written to, cut off or longer is refused"
                (fun () ->
                    inFolder (fun folder ->
                        let path = Path.Combine(folder, "tensors")

                        let after (act: unit -> unit) =
                            sparse path [ "a"; "b" ] 4096L
                            File.SetLastWriteTimeUtc(path, DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc))
                            use file = SafeTensors.openFile path |> ok
                            act ()
                            use _ = torch.NewDisposeScope()
                            file.Read "b" |> Result.map _.numel()

                        let change (act: FileStream -> unit) () =
                            use file =
                                new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite ||| FileShare.Delete)

                            act file

                        Expect.equal (after ignore) (Ok 1024L) "unchanged"
                        Expect.equal (after (fun () -> SafeTensors.save path [] [ "c", torch.ones 1L ] |> ok)) (Ok 1024L) "replaced"

                        for act in
                            [
                                fun (file: FileStream) -> file.SetLength 100L
                                fun file -> file.SetLength 100_000L
                                fun file -> file.WriteByte 1uy
                            ] do
                            Expect.stringContains (reasons (after (change act))).Head "it" "reason"))
            testCase "reading a file of a gigabyte tensor by tensor takes no more memory than one tensor" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "tensors")
                    let names = [ for i in 1..64 -> $"layer{i}" ]
                    sparse path names (1L <<< 24)
                    use file = SafeTensors.openFile path |> ok
                    let now () = Environment.WorkingSet
                    let before, managed = now (), GC.GetAllocatedBytesForCurrentThread()
                    let mutable most = 0L

                    for name in names do
                        use tensor = file.Read name |> ok
                        most <- max most (now () - before)

                    Expect.isLessThan most (8L <<< 24) "eight of 64 tensors"
                    Expect.isLessThan (GC.GetAllocatedBytesForCurrentThread() - managed) (1L <<< 20) "managed"))
            testCase "a tensor larger than memory is a typed error" (fun () ->
                // Elsewhere a disk may have no holes, or the system give more memory than there is.
                let setting = "/proc/sys/vm/overcommit_memory"

                if not (File.Exists setting) || File.ReadAllText(setting).Trim() = "1" then
                    skiptest "The system gives any amount of memory"

                inFolder (fun folder ->
                    let path = Path.Combine(folder, "tensors")
                    sparse path [ "a" ] (1L <<< 43)
                    use file = SafeTensors.openFile path |> ok
                    Expect.stringContains (reasons (file.Read "a")).Head "no memory" "reason"))
        ]

let private deferred =
    testList
        "deferred"
        [
            testPropertyWithConfig config "tensors that are made when their turn comes are written as those at hand, one alive at a time"
            <| Prop.forAll namedTensors (fun case ->
                inFolder (fun folder ->
                    use _ = torch.NewDisposeScope()
                    let at name = Path.Combine(folder, name)
                    let tensors = made (List.map snd SafeTensorHeader.dtypes) case
                    SafeTensors.save (at "whole") [ "a", "b" ] tensors |> ok
                    let mutable last: Tensor option = None
                    let mutable kept = 0

                    let later =
                        [
                            for name, tensor in tensors ->
                                { DeferredTensor.ofTensor (name, tensor) with
                                    Make =
                                        fun () ->
                                            if last |> Option.exists (fun before -> not before.IsInvalid) then
                                                kept <- kept + 1

                                            let copy = tensor.clone ()
                                            last <- Some copy
                                            Ok copy
                                }
                        ]

                    SafeTensors.saveDeferred (at "deferred") [ "a", "b" ] later |> ok
                    Expect.sequenceEqual (File.ReadAllBytes(at "deferred")) (File.ReadAllBytes(at "whole")) "bytes"
                    Expect.equal kept 0 "alive when the next is made"))
            testCase "one that cannot be made, or is another than was said, leaves the file as it was" (fun () ->
                inFolder (fun folder ->
                    use _ = torch.NewDisposeScope()
                    let path = Path.Combine(folder, "tensors")
                    let first, second = torch.ones 3L, torch.zeros 2L
                    SafeTensors.save path [] [ "old", first ] |> ok
                    let before = File.ReadAllBytes path
                    let good, bad = DeferredTensor.ofTensor ("a", first), DeferredTensor.ofTensor ("b", second)

                    for make in [ Error [ TensorNetError.MissingKey "b" ]; Ok first; Ok(second.``to`` torch.float64) ] do
                        Expect.isError (SafeTensors.saveDeferred path [] [ good; { bad with Make = fun () -> make } ]) "refused"

                    Expect.isError (SafeTensors.saveDeferred path [] [ good; good ]) "one name"
                    Expect.sequenceEqual (File.ReadAllBytes path) before "as it was"
                    Expect.equal (Directory.GetFiles folder).Length 1 "nothing beside it"))
        ]

let all = testList "safetensors files" [ safetensors; opened; deferred ]
