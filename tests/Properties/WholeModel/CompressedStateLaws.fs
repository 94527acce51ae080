/// Compressed models as files, written and read without the class of the model.
module CompressedStateLaws

open System.IO
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases

let private quick = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 2 } }

let private model () =
    torch.nn.Sequential(
        struct ("wide", torch.nn.Conv2d(4L, 6L, 3L, stride = 2L, padding = 1L) :> torch.nn.Module<Tensor, Tensor>),
        struct ("narrow", torch.nn.Conv2d(6L, 5L, 3L, dilation = 2L, bias = false) :> torch.nn.Module<Tensor, Tensor>)
    )

/// The layers of a model factorized as a file of tensors knows them: channels and kernel, unit steps.
let private known (dense: torch.nn.Module) : StoredLayer list =
    [
        for path, format in [ "wide", Format.CP 4; "narrow", Format.Tucker2(3, 4) ] do
            use layer = Layers.factorize quick KernelAxes.Fused None format (Surgery.find path dense |> ok) |> ok
            use network = layer.Network()
            let g = layer.Geometry

            let plain = { ConvGeometry.plain 2 g.InChannels g.OutChannels with Kernel = g.Kernel }

            let bias = layer.Bias |> Option.ofObj |> Option.map (fun bias -> bias :> Tensor)

            {
                Paths = [ path ]
                Layer = Layers.ofNetwork None plain bias network |> ok
                Format = string format
                KernelError = 0.25
                IsKernelOnly = true
            }
    ]

let private takesSteps =
    testCase "layers that are known by their kernels take the steps of the model's, and the model computes with them" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let path = Path.Combine(folder, "state")
            use dense = model ()
            let layers = known dense
            StateFile.save path [ "format", "pt" ] layers [] |> ok
            use fresh = model ()
            ModelFile.load path fresh |> ok
            let x = noise 1 [ 2L; 4L; 9L; 9L ]
            let x = x.``to`` torch.float32
            use reference = model ()

            for stored in layers do
                use network = stored.Layer.Network()
                let layer = Layers.ofDense None (Surgery.find stored.Paths[0] dense |> ok) network |> ok
                Surgery.exchange stored.Paths[0] layer reference |> ok |> ignore

            Expect.isTrue (identical (fresh.call x) (reference.call x)) "output"

            for stored in StateFile.layers path |> ok do
                Expect.isTrue stored.IsKernelOnly "known by its kernel"
                Expect.equal stored.KernelError 0.25 "error"
                stored.Layer.Dispose()))

let private refusesOthers =
    testCase "a model whose kernels are others is refused and left as it was" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let path = Path.Combine(folder, "state")
            use dense = model ()
            StateFile.save path [] (known dense) [] |> ok

            use other =
                torch.nn.Sequential(
                    struct ("wide", torch.nn.Conv2d(4L, 6L, 5L) :> torch.nn.Module<Tensor, Tensor>),
                    struct ("narrow", torch.nn.Conv2d(6L, 5L, 3L, bias = false) :> torch.nn.Module<Tensor, Tensor>)
                )

            match ModelFile.load path other with
            | Error [ TensorNetError.BadFile _ ] -> ()
            | found -> failtestf "%A" found

            Expect.isEmpty (Compress.factorized other) "unchanged"))

let private compares =
    testCase "a compressed state differs from the dense one by the errors of its kernels, and from itself by nothing" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let before, after = Path.Combine(folder, "before"), Path.Combine(folder, "after")
            use dense = model ()
            SafeTensors.save before [] [ for KeyValue(key, tensor) in dense.state_dict () -> key, tensor ] |> ok
            let layers = known dense
            StateFile.save after [] layers [] |> ok
            let found = StateComparison.files before after |> ok
            Expect.isEmpty found.OnlyFirst "only in the first"
            Expect.isEmpty found.OnlySecond "only in the second"
            let weights = dense.state_dict ()

            for tensor in found.Tensors do
                match layers |> List.tryFind (fun stored -> stored.Paths[0] + ".weight" = tensor.Name) with
                | Some stored ->
                    let weight = weights[tensor.Name]
                    let expected = ((stored.Layer.Kernel() - weight).norm() / weight.norm ()).item<float32>()
                    Expect.floatClose Accuracy.medium tensor.RelativeError (float expected) tensor.Name
                | None -> Expect.equal tensor.RelativeError 0.0 tensor.Name

            let same = StateComparison.files after after |> ok
            Expect.isTrue (same.Tensors |> Seq.forall (fun tensor -> tensor.RelativeError = 0.0)) "itself"))

let private merges =
    testCase "layers merged from files of their own make the file that saving them makes, to the bit" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let at name = Path.Combine(folder, name)
            use dense = model ()

            let tensors =
                [ for KeyValue(key, tensor) in dense.state_dict () -> key, tensor ] @ [ "steps", torch.arange 3L ]

            SafeTensors.save (at "dense") [ "format", "pt"; "model", "another" ] tensors |> ok

            for bits in [ None; Some 4 ] do
                let layers = known dense

                for stored in layers do
                    bits
                    |> Option.iter (fun bits -> LayerQuantization.fit { Quantization.defaults with Bits = bits } None stored.Layer |> ok)

                    LayerFile.save (at stored.Paths[0]) stored.Layer |> ok

                let isOther (name: string) = layers |> List.forall (fun stored -> not (name.StartsWith stored.Paths[0]))

                StateFile.save (at "saved") [ "format", "pt" ] layers (tensors |> List.filter (fst >> isOther))
                |> ok

                let files: LayerInFile list =
                    [
                        for stored in layers ->
                            {
                                Paths = stored.Paths
                                File = at stored.Paths[0]
                                Format = stored.Format
                                KernelError = stored.KernelError
                                IsKernelOnly = stored.IsKernelOnly
                            }
                    ]

                StateFile.merge (at "merged") (at "dense") files |> ok
                Expect.sequenceEqual (File.ReadAllBytes(at "merged")) (File.ReadAllBytes(at "saved")) $"{bits} bits"

                let wrong: LayerInFile list = [ files[0]; { files[1] with File = at "dense" } ]
                Expect.isError (StateFile.merge (at "merged") (at "dense") wrong) "no layer"
                Expect.isError (StateFile.merge (at "merged") (at "dense") [ { files[0] with Paths = [] } ]) "no path"
                Expect.sequenceEqual (File.ReadAllBytes(at "merged")) (File.ReadAllBytes(at "saved")) "refused, as it was"))

let private refusesMerges =
    testCase "a file that is compressed already, and layers that a dense file has not, are not merged: every one is named" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let at name = Path.Combine(folder, name)
            use dense = model ()

            SafeTensors.save (at "dense") [] [ for KeyValue(key, tensor) in dense.state_dict () -> key, tensor ]
            |> ok

            let layers = known dense
            StateFile.save (at "state") [ "format", "pt" ] layers [] |> ok

            for stored in layers do
                LayerFile.save (at stored.Paths[0]) stored.Layer |> ok

            let file paths (stored: StoredLayer) : LayerInFile =
                { Paths = paths; File = at stored.Paths[0]; Format = ""; KernelError = nan; IsKernelOnly = true }

            let refuse (reasons: string list) dense files =
                match StateFile.merge (at "merged") dense files with
                | Error errors ->
                    Expect.equal errors.Length reasons.Length $"%A{errors}"

                    for error, reason in List.zip errors reasons do
                        match error with
                        | TensorNetError.BadFile(path, text) ->
                            Expect.equal path dense "which file"
                            Expect.stringContains text reason "why"
                        | other -> failtestf "%A" other
                | Ok() -> failtestf "%A" files

                Expect.isFalse (File.Exists(at "merged")) "nothing is written"

            let own = [ for stored in layers -> file stored.Paths stored ]
            refuse [ "compressed already" ] (at "state") []
            refuse [ "compressed already" ] (at "wide") []
            refuse [ "compressed already"; "'wide.weight'"; "'narrow.weight'" ] (at "state") own
            refuse [ "'wider.weight'" ] (at "dense") [ file [ "wide"; "wider" ] layers[0]; own[1] ]
            refuse [ "'a.weight'"; "'b.weight'" ] (at "dense") [ file [ "a" ] layers[0]; file [ "b" ] layers[1] ]
            StateFile.merge (at "merged") (at "dense") own |> ok))

let tests = testList "compressed states" [ takesSteps; refusesOthers; compares; merges; refusesMerges ]
