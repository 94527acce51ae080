/// Layer files, and how files come to the disk.
module FileLaws

open System
open System.IO
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases

let private roundTrip (layer: FactorizedLayer) =
    use stream = new MemoryStream()
    LayerFile.write stream layer |> ok
    stream.Position <- 0L
    LayerFile.read "memory" stream |> ok

/// The file of a layer with something else for a part of its text, of the same length or not.
let private edited (layer: FactorizedLayer) (part: string) (other: string) =
    use stream = new MemoryStream()
    LayerFile.write stream layer |> ok
    stream.Position <- 0L
    let reader = SafeTensors.ofStream "memory" stream |> ok
    let text = reader.Metadata["layer"]
    Expect.stringContains text part "the part"

    let metadata = [ "tensornets", reader.Metadata["tensornets"]; "layer", text.Replace(part, other) ]

    written metadata (reader.ReadAll() |> ok)

let private layers =
    let conv () =
        use dense = torch.nn.Conv2d(4L, 6L, 3L, padding = 1L)
        Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 3) dense |> ok

    testList
        "layer files"
        [
            testCase "dtype, flags of each parameter, lowering and norm come back" (fun () ->
                use _ = torch.NewDisposeScope()

                for dtype in [ torch.float64; torch.float32; torch.float16; torch.bfloat16 ] do
                    for frozen in 0..15 do
                        use dense = torch.nn.Conv2d(4L, 6L, 3L, dtype = dtype)

                        use layer = Layers.fresh (Some Lowering.Windowed) KernelAxes.Fused 1UL 1.0 (Format.CP 3) dense |> ok

                        for i, struct (_, parameter) in Seq.indexed (layer.named_parameters ()) do
                            parameter.requires_grad <- (frozen >>> i &&& 1) = 0

                        let root = noise 1 [ 4L; 4L ]
                        layer.TrySetNorm(Norm.Weighted([ 0 ], root.matmul (root.mT))) |> ok
                        use again = roundTrip layer
                        Expect.equal again.Lowering layer.Lowering "lowering"

                        for struct (struct (name, a), struct (_, b)) in
                            Seq.map2 (fun a b -> struct (a, b)) (again.named_parameters ()) (layer.named_parameters ()) do
                            Expect.equal (a.dtype, a.requires_grad) (b.dtype, b.requires_grad) name
                            Expect.equal (bytesOf a) (bytesOf b) name

                        if dtype = torch.float64 then
                            Expect.isTrue (identical (again.Sensitivity()) (layer.Sensitivity())) "S in the norm")
            for part, other, expected in
                [
                    "\"out\":6", "\"out\":1500000000", "'bias' has shape [6]; expected [1500000000]"
                    "\"out\":6", "\"out\":99999999999", "$.out is 99999999999"
                    "\"out\":6", "\"out\":6,\"out\":6", "Malformed JSON"
                    "\"mode\":\"Zeros\"", "\"mode\":\"77\"", "$.mode is '77'"
                    "\"mode\":\"Zeros\"", "\"mode\":null", "$.mode is null"
                    "\"lowering\":\"Cheapest\"", "\"lowering\":\"cheapest\"", "$.lowering is 'cheapest'"
                    "\"transposed\":false", "\"transposed\":0", "$.transposed is 0"
                    "\"before\":[1,1]", "\"before\":[1]", "$.after is 2 numbers"
                    "\"trained\":{", "\"trained\":{\"Z\":true,", "'Z' is trained"
                    "\"A\":true,", "", "does not say whether 'A' is trained"
                    "\"A\":true,", "\"A\":1,", "$.trained.A is 1"
                    "r=3", "r=1000000000", "has shape [4, 3]"
                    "r=3", "r=3 z=4", "occurs in no core"
                    "r=3", "r=", "expected a whole number"
                    "\"spec\":", "\"specs\":", "$.spec is nothing"
                ] do
                testCase $"{part} as {other} is refused with the reason" (fun () ->
                    use _ = torch.NewDisposeScope()
                    use layer = conv ()
                    use stream = edited layer part other
                    let found = String.Join("; ", reasons (LayerFile.read "it" stream))
                    Expect.stringContains found expected "reason")
            testCase "a geometry that does not fit the network is refused as one of Layers.ofNetwork" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = conv ()

                for part, other in
                    [
                        "\"kernel\":[3,3]", "\"kernel\":[2147483647,2147483647]"
                        "\"stride\":[1,1]", "\"stride\":[0,1]"
                        "\"in\":4", "\"in\":5"
                        "\"groups\":1", "\"groups\":2147483647"
                    ] do
                    use stream = edited layer part other
                    Expect.isError (LayerFile.read "it" stream) other)
            testCase "many cores and many axes are read or refused, and that ends" (fun () ->
                use _ = torch.NewDisposeScope()
                use linear = torch.nn.Linear(4L, 6L, false)
                use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) linear |> ok
                use stream = edited layer "{" "{"
                let reader = SafeTensors.ofStream "memory" stream |> ok
                let joined separator f n = String.Join((separator: string), Seq.map f [ 1..n ])

                let texts n =
                    [
                        "in out, " + joined ", " (fun _ -> "") n + " -> in out | in=4 out=6"
                        "in r, r out, " + joined ", " (fun _ -> "(r)") n + " -> in out | in=4 out=6 r=2"
                        "in out, "
                        + joined ", " (fun i -> $"(a{i})") n
                        + " -> in "
                        + joined " " (fun i -> $"a{i}") n
                        + " out | in=4 out=6 "
                        + joined " " (fun i -> $"a{i}=1") n
                        "in out "
                        + joined " " (fun i -> $"a{i}") 60
                        + " -> in "
                        + joined " " (fun i -> $"a{i}") 60
                        + " out | in=4 out=6 "
                        + joined " " (fun i -> $"a{i}=1") 60
                    ]

                for text in List.collect texts [ 10; 490; 5000 ] do
                    let spec = Spec.parse [] text |> specOk

                    let tensors =
                        [ for core in spec.Cores -> core.Name, torch.ones (List.toArray (Spec.coreShape core spec)) ]

                    let trained = joined "," (fun i -> $"\"{spec.Cores[i - 1].Name}\":true") spec.Cores.Length
                    let about = reader.Metadata["layer"]
                    let about = about.Replace(Spec.print layer.Spec, text).Replace("\"A\":true,\"B\":true", trained)
                    use many = written [ "tensornets", "1"; "layer", about ] tensors

                    let reading =
                        Threading.Tasks.Task.Run(fun () ->
                            match LayerFile.read "it" many with
                            | Ok made -> made.Dispose()
                            | Error errors -> Expect.isNonEmpty errors "reasons")

                    Expect.isTrue (reading.Wait(TimeSpan.FromSeconds 60.0)) text[..60])
            testCase "another version, another file, tensors of another shape, dtype or name" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = conv ()
                use stream = edited layer "{" "{"
                let reader = SafeTensors.ofStream "memory" stream |> ok
                let tensors = reader.ReadAll() |> ok
                let about = reader.Metadata["layer"]

                let refused expected metadata tensors =
                    use stream = written metadata tensors
                    let found = String.Join("; ", reasons (LayerFile.read "it" stream))
                    Expect.stringContains found expected "reason"

                let whole = [ "tensornets", "1"; "layer", about ]
                refused "version '2'" [ "tensornets", "2"; "layer", "?" ] tensors
                refused "no 'tensornets' and 'layer'" [] tensors
                refused "no 'tensornets' and 'layer'" [ "tensornets", "1" ] tensors
                refused "it has no tensor 'B'" whole (tensors |> List.filter (fun (name, _) -> name <> "B"))
                refused "it has the tensor 'X'" whole (("X", torch.ones 1L) :: tensors)
                let change name (f: torch.Tensor -> torch.Tensor) = tensors |> List.map (fun (n, t) -> n, (if n = name then f t else t))
                refused "'B' has dtype Float64; expected Float32, as 'A'" whole (change "B" (fun t -> t.``to`` torch.float64))
                refused "'A' has dtype Int32" whole (change "A" (fun t -> t.``to`` torch.int32))
                refused "'A' has shape [3, 4]" whole (change "A" (fun t -> t.t ())))
        ]

let private disk =
    testList
        "on disk"
        [
            testCase "a save that fails half way leaves the old file and nothing beside it" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "file")
                    File.WriteAllText(path, "old")

                    let fill (stream: Stream) =
                        stream.Write(Array.zeroCreate 100_000, 0, 100_000)
                        raise (IOException "The disk is full.")

                    Expect.equal (AtomicFile.write path fill) (Error [ TensorNetError.UnwrittenFile(path, "The disk is full") ]) "refused"
                    Expect.equal (File.ReadAllText path) "old" "content"
                    Expect.equal (Directory.GetFiles folder) [| path |] "files"
                    AtomicFile.write path (fun stream -> stream.Write("new"B, 0, 3)) |> ok
                    Expect.equal (File.ReadAllText path) "new" "content"
                    Expect.equal (Directory.GetFiles folder) [| path |] "files"))
            testCase "links stay links, also to what is not there yet; permissions stay" (fun () ->
                inFolder (fun folder ->
                    let at (name: string) = Path.Combine(folder, name)
                    let write path = AtomicFile.write path (fun stream -> stream.Write("new"B, 0, 3)) |> ok
                    Directory.CreateDirectory(at "sub") |> ignore
                    File.WriteAllText(at "sub/file", "old")
                    File.CreateSymbolicLink(at "link", "sub/file") |> ignore
                    File.CreateSymbolicLink(at "second", "link") |> ignore
                    File.CreateSymbolicLink(at "open", "sub/other") |> ignore
                    let mode = UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.OtherRead

                    if not (OperatingSystem.IsWindows()) then
                        File.SetUnixFileMode(at "sub/file", mode)

                    write (at "second")
                    write (at "open")
                    Expect.equal (File.ReadAllText(at "sub/file"), File.ReadAllText(at "sub/other")) ("new", "new") "content"
                    Expect.equal (FileInfo(at "second").LinkTarget, FileInfo(at "open").LinkTarget) ("link", "sub/other") "links"

                    if not (OperatingSystem.IsWindows()) then
                        Expect.equal (File.GetUnixFileMode(at "sub/file")) mode "permissions"))
            testCase "a directory, a missing folder, no path: the reason, for reading and writing" (fun () ->
                use _ = torch.NewDisposeScope()
                use conv = torch.nn.Conv2d(4L, 4L, 3L)
                use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) conv |> ok

                inFolder (fun folder ->
                    let missing = Path.Combine(folder, "no", "file")

                    for path, expected in
                        [
                            folder, "it is a directory"
                            missing, "there is no such file"
                            "", "the path is empty"
                            "a\000b", "no path can have"
                        ] do
                        for read in
                            [
                                (fun () -> LayerFile.load path |> Result.map ignore)
                                (fun () -> StateDict.loadFile path layer)
                                (fun () -> SafeTensors.load path |> Result.map ignore)
                            ] do
                            Expect.stringContains (reasons (read ())).Head expected "reading"

                    for path, expected in
                        [
                            folder, "it is a directory"
                            missing, "Could not find"
                            "", "the path is empty"
                            "a\000b", "no path can have"
                        ] do
                        for save in
                            [
                                (fun () -> LayerFile.save path layer)
                                (fun () -> StateDict.saveFile path layer)
                                (fun () -> SafeTensors.save path [] [])
                            ] do
                            match save () with
                            | Error [ TensorNetError.UnwrittenFile(_, reason) ] -> Expect.stringContains reason expected "writing"
                            | other -> failtestf "%A" other))
            testCase "null and disposed are refused by name" (fun () ->
                use conv = torch.nn.Conv2d(4L, 4L, 3L)
                let layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) conv |> ok
                layer.Dispose()

                for call in
                    [
                        (fun () -> LayerFile.load Unchecked.defaultof<_> |> ignore)
                        (fun () -> LayerFile.save Unchecked.defaultof<_> layer |> ignore)
                        (fun () -> LayerFile.save "file" Unchecked.defaultof<_> |> ignore)
                        (fun () -> LayerFile.read "it" Unchecked.defaultof<_> |> ignore)
                        (fun () -> StateDict.loadFile Unchecked.defaultof<_> layer |> ignore)
                        (fun () -> StateDict.loadFile "file" Unchecked.defaultof<_> |> ignore)
                        (fun () -> StateDict.saveFile "file" Unchecked.defaultof<_> |> ignore)
                        (fun () -> SafeTensors.load Unchecked.defaultof<_> |> ignore)
                        (fun () -> Spec.parse [] Unchecked.defaultof<_> |> ignore)
                        (fun () -> SpecJson.read Unchecked.defaultof<_> |> ignore)
                    ] do
                    Expect.throwsT<ArgumentNullException> call "null"

                inFolder (fun folder ->
                    Expect.isError (LayerFile.save (Path.Combine(folder, "file")) layer) "a disposed layer"
                    Expect.isEmpty (Directory.GetFiles folder) "nothing is written"))
        ]

let all = testList "files" [ SafeTensorsLaws.all; StateFileLaws.all; layers; disk ]
