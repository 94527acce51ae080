/// Making layers, saving them, replacing many of them, and what is refused.
module LayerUseLaws

open System.Collections.Generic
open System.IO
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden
open DenseKinds

let private factorized dense = Layers.factorize Factorize.defaults KernelAxes.Fused None (Format.CP 3) dense |> ok

let private starts =
    testList
        "starts"
        [
            overKinds "from a dense layer: the error of the kernel is that of the fit, the bias is kept" (fun dense shape ->
                let geometry, weight, _ = ConvGeometry.ofDense dense |> ok

                if geometry.Groups = 1L then
                    use layer = factorized dense
                    let k = ConvGeometry.kernelOfWeight geometry (weight.detach ())
                    use fit = Factorize.stable Factorize.defaults None (Format.CP 3) k |> ok
                    let error = layer.Kernel().detach().minus(weight.detach ()).norm().number()
                    Expect.floatClose Accuracy.medium error fit.Error "error"

                use exact =
                    Layers.factorize Factorize.defaults KernelAxes.Separate None (Format.CP 4) dense
                    |> function
                        | Ok layer -> layer
                        | Error _ -> factorized dense

                let x = noise 1 shape
                use back = exact.ToDense()
                let y = exact.call(x).detach()
                Expect.isLessThan (back.call(x).detach().minus(y).norm().number()) (1e-10 * (1.0 + y.norm().number())) "y")
            overKinds "a bound is kept, of several groups too" (fun dense _ ->
                let geometry, weight, _ = ConvGeometry.ofDense dense |> ok
                let bound = ErrorBound.Relative 0.8
                let format = if geometry.Kernel.IsEmpty then Format.CP 7 else Format.CP 6

                match Layers.factorize Factorize.defaults KernelAxes.Fused (Some bound) format dense with
                | Error errors -> failtestf "%A" (errors |> List.map _.Message)
                | Ok layer ->
                    use layer = layer
                    let difference = layer.Kernel().detach().minus(weight.detach ())
                    Expect.isLessThanOrEqual (difference.norm().number()) (0.8 * weight.detach().norm().number() * (1.0 + 1e-9)) "error"
                    Expect.equal layer.Geometry geometry "geometry")
            testCase "a matrix layer is the exact optimum of the matrix" (fun () ->
                use _ = torch.NewDisposeScope()

                for dense in
                    [
                        torch.nn.Linear(12L, 8L, dtype = torch.float64) :> torch.nn.Module<torch.Tensor, torch.Tensor>
                        torch.nn.Conv2d(12L, 8L, 1L, dtype = torch.float64)
                    ] do
                    use dense = dense
                    use layer = Layers.matrix 4 (ErrorBound.Relative 0.8) dense |> ok
                    let matrix = (nonNull (dense.get_parameter "weight")).detach().reshape(8L, 12L).t()
                    use fit = LeastSensitiveMatrix.fit 4 (ErrorBound.Relative 0.8) matrix |> ok
                    Expect.floatClose Accuracy.high (layer.Sensitivity().number()) fit.Sensitivity "S")
            testCase "a fresh layer lets white noise through with its variance" (fun () ->
                use _ = torch.NewDisposeScope()

                for axes, format in
                    [
                        KernelAxes.Fused, Format.CP 40
                        KernelAxes.Fused, Format.Tucker2(24, 24)
                        KernelAxes.Separate, Format.CP 40
                        KernelAxes.Fused, Format.TensorChain [ 5; 5; 5 ]
                    ] do
                    use like = torch.nn.Conv2d(64L, 64L, 3L, bias = false)

                    // The mean over seeds: one draw of few factors strays by tens of per cent.
                    let variances =
                        [
                            for seed in 1UL .. 20UL ->
                                use _ = torch.NewDisposeScope()
                                use layer = Layers.fresh None axes seed 1.0 format like |> ok
                                let x = (noise (int seed) [ 1L; 64L; 12L; 12L ]).``to`` torch.float32
                                layer.call(x).detach().squared().mean().number()
                        ]

                    Expect.isLessThan (abs (List.average variances - 1.0)) 0.25 $"{axes} %A{format}")
        ]

let private files =
    testList
        "files"
        [
            overKinds "a saved layer loads with no knowledge of the original, to the bit" (fun dense shape ->
                use layer = factorized dense
                use stream = new MemoryStream()
                LayerFile.write stream layer |> ok
                stream.Position <- 0L
                use loaded = LayerFile.read "memory" stream |> ok
                Expect.equal (loaded.GetType()) (layer.GetType()) "kind"
                Expect.equal loaded.Geometry layer.Geometry "geometry"
                Expect.equal loaded.Spec layer.Spec "spec"
                let x = noise 1 shape
                Expect.isTrue (identical (loaded.call x) (layer.call x)) "y")
            testCase "a file that is none, is cut off or is not there is refused with the reason" (fun () ->
                let reason (bytes: byte[]) =
                    use stream = new MemoryStream(bytes)

                    match LayerFile.read "it" stream with
                    | Error [ TensorNetError.BadFile(_, reason) ] -> reason
                    | other -> failtestf "%A" other

                use conv = torch.nn.Conv2d(4L, 4L, 3L)
                use layer = factorized conv
                use stream = new MemoryStream()
                LayerFile.write stream layer |> ok
                let whole = stream.ToArray()
                Expect.stringContains (reason whole[..6]) "ends too early" "length of the header"
                Expect.stringContains (reason whole[..20]) "its header is said to have" "header"
                Expect.stringContains (reason whole[.. whole.Length - 40]) "bytes; expected" "numbers"
                Expect.stringContains (reason (Array.create 9 0uy)) "does not begin with" "none")
            testCase "a state with missing, extra and misshapen keys names them all and changes nothing" (fun () ->
                use _ = torch.NewDisposeScope()
                use conv = torch.nn.Conv2d(4L, 4L, 3L)
                use layer = factorized conv
                let before = [ for struct (_, p) in layer.named_parameters () -> p.detach().clone() ]
                let state = Dictionary<string, torch.Tensor>(layer.state_dict ())
                state.Remove "B" |> ignore
                state["D"] <- torch.zeros 3L
                state["A"] <- torch.zeros (9L, 9L)

                match layer.TryLoadState state with
                | Error [ TensorNetError.KeyShape("A", [ 9L; 9L ], _); TensorNetError.MissingKey "B"; TensorNetError.UnknownKey("D", _) ] ->
                    ()
                | other -> failtestf "%A" other

                Seq.iter2
                    (fun (struct (_: string, p: Modules.Parameter)) kept -> Expect.isTrue (identical p kept) "value")
                    (layer.named_parameters ())
                    before

                use other = Layers.fresh None KernelAxes.Fused 3UL 1.0 (Format.CP 3) conv |> ok
                other.TryLoadState(layer.state_dict ()) |> ok
                let x = torch.randn (1L, 4L, 6L, 6L)
                Expect.isTrue (identical (other.call x) (layer.call x)) "y")
        ]

/// A state of keys missing, extra and misshapen.
let private wrongState (module': torch.nn.Module) (prefix: string) =
    let state = Dictionary<string, torch.Tensor>(module'.state_dict ())
    state.Remove $"{prefix}B" |> ignore
    state[$"{prefix}D"] <- torch.zeros (3L, dtype = torch.float64)
    state[$"{prefix}A"] <- torch.zeros (9L, 9L, dtype = torch.float64)
    state[$"{prefix}bias"] <- torch.ones_like (state[$"{prefix}C"])
    state

let private errorsOf act =
    try
        act ()
        []
    with :? TensorNetException as e ->
        List.ofSeq e.Errors

let private wrongKeys =
    List.map (function
        | TensorNetError.KeyShape(key, found, _) -> $"{key} {found}"
        | TensorNetError.MissingKey key -> $"{key} missing"
        | TensorNetError.UnknownKey(key, _) -> $"{key} extra"
        | other -> other.Message)

let private refusedWhole what (layer: torch.nn.Module) prefix act =
    let before = [ for KeyValue(key, tensor) in layer.state_dict () -> key, tensor.clone () ]
    let found = errorsOf (fun () -> act (wrongState layer prefix)) |> wrongKeys |> List.sort

    Expect.equal
        found
        (List.sort [ $"{prefix}A [9; 9]"; $"{prefix}B missing"; $"{prefix}D extra"; $"{prefix}bias [4; 3]" ])
        $"{what}: all of them"

    for key, kept in before do
        Expect.isTrue (identical (layer.state_dict()[key]) kept) $"{what}: {key} is as before"

/// The bytes that TorchSharp's save would write of a state.
let private written (state: Dictionary<string, torch.Tensor>) =
    let stream = new MemoryStream()
    let writer = new BinaryWriter(stream)
    writer.Write(byte state.Count)

    for KeyValue(key, tensor) in state do
        writer.Write key
        TensorExtensionMethods.Save(tensor, writer)

    writer.Flush()
    stream.Position <- 0L
    stream

let private states =
    let layerOf () =
        use conv = torch.nn.Conv2d(4L, 4L, 3L, dtype = torch.float64)
        factorized conv

    testList
        "states, whole or not at all"
        [
            testCase "TorchSharp's load_state_dict of a layer" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = layerOf ()
                refusedWhole "strict" layer "" (fun state -> layer.load_state_dict state |> ignore)
                let state = wrongState layer ""

                match errorsOf (fun () -> layer.load_state_dict (state, false) |> ignore) |> wrongKeys |> List.sort with
                | [ "A [9; 9]"; "bias [4; 3]" ] -> ()
                | other -> failtestf "%A" other

                let struct (missing, extra) = layer.load_state_dict (state, false, [| "A"; "bias" |])
                Expect.equal (List.ofSeq missing, List.ofSeq extra) ([ "B" ], [ "D" ]) "what was left"
                use other = layerOf ()
                other.load_state_dict (layer.state_dict ()) |> ignore
                let x = noise 1 [ 1L; 4L; 6L; 6L ]
                Expect.isTrue (identical (other.call x) (layer.call x)) "y")
            testCase "TorchSharp's load of a layer, from a reader, a stream or a path" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = layerOf ()

                refusedWhole "reader" layer "" (fun state ->
                    use reader = new BinaryReader(written state)
                    layer.load (reader, true) |> ignore)

                refusedWhole "stream" layer "" (fun state -> layer.load (written state, true) |> ignore)
                let path = Path.GetTempFileName()

                try
                    refusedWhole "path" layer "" (fun state ->
                        File.WriteAllBytes(path, (written state).ToArray())
                        layer.load (path, true) |> ignore)

                    layer.save path |> ignore
                    use other = layerOf ()
                    let loaded = Dictionary<string, bool>()
                    other.load (path, loadedParameters = loaded) |> ignore

                    Expect.equal
                        [ for KeyValue(key, was) in loaded -> key, was ]
                        [ for key in layer.state_dict().Keys -> key, true ]
                        "loaded"

                    let x = noise 1 [ 1L; 4L; 6L; 6L ]
                    Expect.isTrue (identical (other.call x) (layer.call x)) "y"
                    let whole = File.ReadAllBytes path
                    File.WriteAllBytes(path, whole[.. whole.Length - 9])

                    match errorsOf (fun () -> other.load path |> ignore) with
                    | [ TensorNetError.BadFile(_, "it ends too early for the entries of 'bias'") ] -> ()
                    | found -> failtestf "%A" found

                    Expect.isTrue (identical (other.call x) (layer.call x)) "a file cut off changes nothing"
                finally
                    File.Delete path)
            testCase "a whole model, from a state or a file" (fun () ->
                use _ = torch.NewDisposeScope()
                use layer = layerOf ()
                use norm = torch.nn.BatchNorm2d(4L, dtype = torch.float64)

                use model =
                    torch.nn.Sequential(
                        [| struct ("layer", layer :> torch.nn.Module<torch.Tensor, torch.Tensor>); struct ("norm", norm) |]
                    )

                refusedWhole "state" model "layer." (fun state -> StateDict.load state model |> TensorNetError.raiseErrors)
                let path = Path.GetTempFileName()

                try
                    refusedWhole "file" model "layer." (fun state ->
                        File.WriteAllBytes(path, (written state).ToArray())
                        StateDict.loadFile path model |> TensorNetError.raiseErrors)

                    let good = Dictionary<string, torch.Tensor>()

                    for KeyValue(key, tensor) in model.state_dict () do
                        good[key] <- tensor.plus (torch.ones_like tensor)

                    File.WriteAllBytes(path, (written good).ToArray())
                    StateDict.loadFile path model |> ok

                    for KeyValue(key, tensor) in model.state_dict () do
                        Expect.isTrue (identical tensor good[key]) $"{key}, buffers too"

                    let other =
                        [ for KeyValue(key, tensor) in model.state_dict () -> key, tensor.minus (torch.ones_like tensor) ]

                    SafeTensors.save path [] other |> ok
                    StateDict.loadFile path model |> ok
                    let others = dict other

                    for KeyValue(key, tensor) in model.state_dict () do
                        Expect.isTrue (identical tensor others[key]) $"{key}, of safetensors"
                finally
                    File.Delete path

                match StateDict.loadFile "no/such/file" model with
                | Error [ TensorNetError.BadFile(_, "there is no such file") ] -> ()
                | other -> failtestf "%A" other)
        ]

let private many =
    testList
        "replacing many"
        [
            testCase "all that are chosen are replaced; the rest is reported with the reason" (fun () ->
                use _ = torch.NewDisposeScope()

                let named (name: string) (layer: torch.nn.Module<torch.Tensor, torch.Tensor>) = struct (name, layer)

                use model =
                    torch.nn.Sequential(
                        [|
                            named "conv" (torch.nn.Conv1d(4L, 6L, 3L))
                            named "relu" (torch.nn.ReLU())
                            named "depthwise" (torch.nn.Conv1d(6L, 6L, 3L, groups = 6L))
                            named "up" (torch.nn.ConvTranspose1d(6L, 4L, 2L, stride = 2L))
                            named "head" (torch.nn.Linear(8L, 8L))
                            named "last" (torch.nn.Linear(8L, 3L))
                        |]
                    )

                let x = torch.randn (2L, 4L, 8L)
                let before = model.call(x).shape

                let report =
                    ReplaceAll.run
                        Factorize.defaults
                        KernelAxes.Fused
                        None
                        (fun path _ -> if path = "last" then None else Some(Format.CP 2))
                        model

                Expect.equal [ for r in report.Replaced -> r.Path ] [ "conv"; "up"; "head" ] "replaced"
                Expect.equal [ for s in report.Skipped -> s.Path, s.Kind ] [ "depthwise", "Conv1d"; "last", "Linear" ] "skipped"
                Expect.stringContains report.Skipped[0].Reasons[0] "depthwise" "why"
                Expect.stringContains report.Skipped[1].Reasons[0] "no format" "why"
                Expect.equal (List.length (Compress.factorized model)) 3 "in the model"
                Expect.equal (model.call(x).shape) before "it still runs"
                let s = Compress.sensitivity model |> ok
                s.backward ()
                Expect.isTrue (Seq.forall (fun (p: Modules.Parameter) -> not (isNull p.grad)) report.Replaced[1].Layer.Factors) "gradient")
        ]

let private memory =
    testList
        "memory"
        [
            testCase "no native tensor is left over 1,000 training steps" (fun () ->
                use conv = torch.nn.Conv2d(4L, 4L, 3L)
                use generator = new torch.Generator(1UL)
                use x = torch.randn ([| 1L; 4L; 6L; 6L |], generator = generator)

                for lowering in [ Lowering.Staged; Lowering.Windowed; Lowering.Dense ] do
                    use layer = Layers.fresh (Some lowering) KernelAxes.Separate 1UL 1.0 (Format.CP 3) conv |> ok
                    use optimizer = torch.optim.SGD(layer.parameters (), 1e-3)

                    let step () =
                        use _ = torch.NewDisposeScope()
                        optimizer.zero_grad ()
                        layer.call(x).squared().mean().plus(layer.Sensitivity().mul(Num.tensor 1e-6)).backward()
                        optimizer.step () |> ignore

                    // The first steps make the gradients.
                    for _ in 1..3 do
                        step ()

                    let before = NativeTensors.settledCount ()

                    for _ in 1..1000 do
                        step ()

                    Expect.equal (NativeTensors.settledCount () - before) 0L $"{lowering}")
        ]

let all = testList "layer use" [ starts; files; states; many; testSequenced memory ]
