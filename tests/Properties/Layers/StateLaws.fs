/// States loaded whole or not at all, whatever they hold; a flag for each parameter; layers copied.
module StateLaws

open System.Collections.Generic
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden
open DenseKinds

/// Three cores of one shape and a bias: 4 channels, 4 positions, 4 channels.
let private square () =
    use conv = torch.nn.Conv2d(4L, 4L, 2L)
    Layers.fresh None KernelAxes.Fused 5UL 1.0 (Format.CP 3) conv |> ok

let private bits (m: torch.nn.Module) = [ for KeyValue(key, tensor) in m.state_dict () -> key, tensor.detach().cpu().bytes.ToArray() ]

let private permutations =
    [ [ 0; 1; 2 ]; [ 0; 2; 1 ]; [ 1; 0; 2 ]; [ 1; 2; 0 ]; [ 2; 0; 1 ]; [ 2; 1; 0 ] ]

/// The ways in which cores are given to a layer, each by a state or a list of tensors.
let private ways: (string * (FactorizedLayer -> torch.Tensor list -> Result<unit, TensorNetError list>)) list =
    let state prefix (layer: FactorizedLayer) tensors =
        let state = Dictionary<string, torch.Tensor>()

        for core, tensor in List.zip layer.Spec.Cores tensors do
            state[prefix + core.Name] <- tensor

        state[prefix + "bias"] <- nonNull layer.Bias
        state

    let caught act =
        try
            act ()
            Ok()
        with :? TensorNetException as e ->
            Error(List.ofSeq e.Errors)

    [
        "TrySetFactors", (fun layer tensors -> layer.TrySetFactors(List.toArray tensors))
        "TryLoadState", (fun layer tensors -> layer.TryLoadState(state "" layer tensors))
        "load_state_dict", (fun layer tensors -> caught (fun () -> layer.load_state_dict (state "" layer tensors) |> ignore))
        "StateDict.load of a model",
        (fun layer tensors ->
            use model =
                torch.nn.Sequential([| struct ("layer", layer :> torch.nn.Module<torch.Tensor, torch.Tensor>) |])

            let result = StateDict.load (state "layer." layer tensors) model
            Surgery.exchange "layer" (torch.nn.Identity()) model |> ok |> ignore
            result)
    ]

let private aliases =
    testList
        "a layer's own cores may be given to it in any order, as they are or as views"
        [
            for way, give in ways do
                testCase way (fun () ->
                    for permutation in permutations do
                        for view in [ id; (fun (t: torch.Tensor) -> t.t().t()); (fun t -> t.detach ()) ] do
                            use _ = torch.NewDisposeScope()
                            use layer = square ()
                            let before = [ for factor in layer.Factors -> factor.detach().clone() ]
                            give layer [ for i in permutation -> view layer.Factors[i] ] |> ok

                            for i, factor in List.zip permutation (List.ofSeq layer.Factors) do
                                Expect.isTrue (identical factor before[i]) $"{permutation}")
        ]

let private unreadable: (string * (TensorNetError -> bool) * (unit -> torch.Tensor)) list =
    let like (dtype: torch.ScalarType) = torch.ones ([| 4L; 3L |], dtype = dtype)
    let real () = torch.ones (4L, 3L)
    let none: torch.Tensor | null = null

    [
        "null", _.IsUnreadable, (fun () -> Unchecked.nonNull none)
        "disposed",
        _.IsDisposed,
        (fun () ->
            let t = real ()
            t.Dispose()
            t)
        "meta", _.IsUnreadable, (fun () -> torch.ones ([| 4L; 3L |], device = torch.device "meta"))
        "sparse", _.IsUnreadable, (fun () -> (real ()).to_sparse())
        for dtype in [ torch.ScalarType.QInt8; torch.ScalarType.QUInt8; torch.ScalarType.QInt32 ] do
            $"{dtype}", _.IsUnreadable, (fun () -> torch.quantize_per_tensor (real (), 0.1, 0L, dtype))
        for dtype in [ torch.complex64; torch.complex128 ] do
            $"{dtype}", (fun e -> e.IsDType || e.IsCoreDType), (fun () -> like dtype)
        "misshapen", (fun e -> e.IsKeyShape || e.IsCoreShape), (fun () -> torch.ones (3L, 4L))
    ]

let private halves =
    testList
        "one tensor that cannot be taken over leaves all as it was"
        [
            for way, give in ways do
                testCase way (fun () ->
                    for what, isKind, make in unreadable do
                        for at in 0..2 do
                            use _ = torch.NewDisposeScope()
                            use layer = square ()
                            let before = bits layer
                            let tensors = [ for i in 0..2 -> if i = at then make () else (torch.ones (4L, 3L)).mul(Num.tensor 7.0) ]

                            match give layer tensors with
                            | Ok() -> failtest $"{what} at {at} is taken"
                            | Error errors -> Expect.all errors isKind $"{what}: %A{errors |> List.map _.Message}"

                            Expect.equal (bits layer) before $"{what} at {at}")
            testCase "a module whose tensors cannot be written" (fun () ->
                use _ = torch.NewDisposeScope()

                let model, state =
                    use _ = torch.inference_mode true
                    use inner = torch.nn.Linear(3L, 3L)

                    torch.nn.Sequential([| struct ("a", square () :> torch.nn.Module<_, _>); struct ("b", torch.nn.Linear(3L, 3L)) |]),
                    inner

                use model = model
                let before = bits model
                let ones = Dictionary<string, torch.Tensor>()

                for KeyValue(key, tensor) in model.state_dict () do
                    ones[key] <- torch.ones (tensor.shape)

                match StateDict.load ones model with
                | Ok() -> ()
                | Error errors ->
                    Expect.all errors _.IsUnreadable $"{errors}"
                    Expect.equal (bits model) before "nothing is written")
        ]

let private converts =
    testCase "numbers of every other dtype are converted to that of the module" (fun () ->
        for dtype in
            [
                torch.float16
                torch.bfloat16
                torch.float32
                torch.float64
                torch.int8
                torch.uint8
                torch.int16
                torch.int32
                torch.int64
                torch.``bool``
            ] do
            use _ = torch.NewDisposeScope()
            use layer = square ()
            let state = Dictionary<string, torch.Tensor>(layer.state_dict ())
            let numbers = torch.tensor([| 0..11 |]).reshape(4L, 3L).``to`` dtype
            state["B"] <- numbers
            layer.TryLoadState state |> ok
            Expect.isTrue (identical layer.Factors[1] (numbers.``to`` torch.float32)) $"{dtype}")

let private nearKeys =
    testCase "an extra key is named with the nearest ones, not with all" (fun () ->
        use _ = torch.NewDisposeScope()
        let named i = struct ($"layer{i}", torch.nn.Linear(2L, 2L) :> torch.nn.Module<torch.Tensor, torch.Tensor>)
        use model = torch.nn.Sequential [| for i in 1..30 -> named i |]
        let state = Dictionary<string, torch.Tensor>(model.state_dict ())
        state["layer7.wieght"] <- torch.ones 1L

        match StateDict.load state model with
        | Error [ TensorNetError.UnknownKey(_, nearest) as error ] ->
            Expect.equal nearest.Head "layer7.weight" "the nearest"
            Expect.isLessThan error.Message.Length 150 error.Message
            Expect.stringContains error.Message "which the module has not" "words"
        | other -> failtestf "%A" other)

/// Whether each of a dense layer's parameters is trained.
let private flags (m: torch.nn.Module) = [ for struct (name, p) in m.named_parameters () -> name, p.requires_grad ]

let private flagsOf (layer: FactorizedLayer) (weight: bool) (bias: bool) =
    [
        for struct (name, _) in layer.named_parameters () -> name, (if name = "bias" then bias else weight)
    ]

let private flagLaws =
    overKinds "a weight and a bias are trained or frozen each for itself" (fun dense _ ->
        for weight in [ true; false ] do
            for bias in [ true; false ] do
                for struct (name, p) in dense.named_parameters () do
                    p.requires_grad <- (if name = "bias" then bias else weight)

                use layer = Layers.factorize Factorize.defaults KernelAxes.Fused None (Format.CP 2) dense |> ok
                let expected = flagsOf layer weight bias
                Expect.equal (flags layer) expected "factorized"
                use fresh = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) dense |> ok
                Expect.equal (flags fresh) expected "fresh"
                use network = layer.Network()
                use made = Layers.ofDense None dense network |> ok
                Expect.equal (flags made) expected "of a network"
                use copy = Layers.copy layer
                Expect.equal (flags copy) expected "copied"
                use back = layer.ToDense()
                Expect.equal (flags back) (flags dense) "dense again"

                // One core alone frozen.
                layer.Factors[1].requires_grad <- not weight
                use copy = Layers.copy layer
                Expect.equal (flags copy) (flags layer) "one core, copied"
                use stream = new System.IO.MemoryStream()
                LayerFile.write stream layer |> ok
                stream.Position <- 0L
                use loaded = LayerFile.read "memory" stream |> ok
                Expect.equal (flags loaded) (flags layer) "saved and loaded"
                use back = layer.ToDense()
                Expect.equal ((nonNull (back.get_parameter "weight")).requires_grad) true "a weight is trained where a core is")

let private copies =
    overKinds "a copy is the same layer to the bit and shares nothing" (fun dense shape ->
        use _ = torch.NewDisposeScope()

        for training in [ true; false ] do
            use layer = Layers.factorize Factorize.defaults KernelAxes.Fused None (Format.CP 2) dense |> ok
            layer.train training
            let n = int64 (Spec.shape layer.Spec).Head
            layer.SetNorm(Norm.Weighted([ 0 ], torch.diag (torch.tensor [| for i in 1L .. n -> float i |])))
            let mutable calls = 0

            layer.register_forward_hook (
                System.Func<torch.nn.Module<torch.Tensor, torch.Tensor>, torch.Tensor, torch.Tensor, torch.Tensor>(fun _ _ y ->
                    calls <- calls + 1
                    y)
            )
            |> ignore

            use copy = Layers.copy layer
            let x = noise 1 shape
            let y = layer.call(x).detach()
            Expect.isTrue (identical (copy.call x) y) "y"
            Expect.isTrue (identical (copy.Sensitivity()) (layer.Sensitivity())) "S, in the norm of the layer"
            Expect.equal (copy.GetType(), copy.training, copy.Lowering) (layer.GetType(), training, layer.Lowering) "kind"
            Expect.equal calls 1 "hooks stay behind"
            let zeros = [| for factor in layer.Factors -> torch.zeros_like factor |]
            layer.SetFactors zeros
            Expect.isTrue (identical (copy.call x) y) "the copy has numbers of its own")

let all = testList "states of layers" [ aliases; halves; converts; nearKeys; flagLaws; copies ]
