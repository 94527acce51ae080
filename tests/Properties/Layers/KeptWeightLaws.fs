/// A dense weight kept while no gradient is needed is what would be rebuilt, whatever happens to the cores.
module KeptWeightLaws

open System.Threading.Tasks
open Expecto
open TorchSharp
open TensorNets
open Generators
open DenseKinds

let private lowered lowering (dense: torch.nn.Module) = Layers.fresh (Some lowering) KernelAxes.Fused 5UL 1.0 (Format.CP 3) dense |> ok

/// The ways that keep weights: dense for any layer, staged for convolutions.
let private overLowerings (dense: torch.nn.Module) check =
    for lowering in [ Lowering.Dense; Lowering.Staged ] do
        match dense, lowering with
        | :? Modules.Linear, Lowering.Staged -> ()
        | _ ->
            use layer = lowered lowering dense
            check layer

/// A forward pass for which every weight is made. The dense way is that of training; stages may be others there, as several cores are
/// contracted at every pass.
let private rebuilt (layer: FactorizedLayer) (x: torch.Tensor) =
    use copy = layer.Network()

    let bias =
        match layer.Bias with
        | null -> None
        | bias -> Some(bias.detach ())

    use other = Layers.ofNetwork (Some layer.Lowering) layer.Geometry bias copy |> ok
    use _ = torch.set_grad_enabled (layer.Lowering = Lowering.Dense)
    other.call(x).detach()

let private without act =
    use _ = torch.no_grad ()
    act ()

let private pass (layer: FactorizedLayer) x = without (fun () -> layer.call x)

let private sameAsRebuilt what (layer: FactorizedLayer) x = Expect.isTrue (identical (pass layer x) (rebuilt layer x)) what

let private changes: (string * (FactorizedLayer -> unit)) list =
    [
        "an in-place change of one number",
        (fun layer -> without (fun () -> layer.Factors[1].view(-1L).narrow(0L, 2L, 1L).add_(Num.tensor 0.25) |> ignore))
        "an in-place change of sign", (fun layer -> without (fun () -> layer.Factors[0].neg_() |> ignore))
        "an in-place exchange of rows, which keeps every sum",
        (fun layer -> let last = Seq.last layer.Factors in without (fun () -> last.copy_ (last.flip [| 0L |]) |> ignore))
        "new factors", (fun layer -> layer.SetFactors [| for p in layer.Factors -> noise 7 p.shape |])
        "a state",
        (fun layer ->
            layer.LoadState(
                dict [ for struct (name, p) in layer.named_parameters () -> name, noise 8 p.shape ]
                |> System.Collections.Generic.Dictionary
            ))
        "an optimizer's step",
        (fun layer ->
            use optimizer = torch.optim.SGD(layer.parameters (), 0.1)
            layer.Sensitivity().backward()
            optimizer.step () |> ignore)
    ]

let private seen =
    testList
        "changes are seen"
        [
            for name, change in changes do
                overKinds name (fun dense shape ->
                    overLowerings dense (fun layer ->
                        let x = noise 1 shape
                        let before = pass layer x
                        change layer
                        Expect.isFalse (identical (pass layer x) before) "the output changes"
                        sameAsRebuilt "as rebuilt" layer x))
            overKinds "a move to another dtype and back" (fun dense shape ->
                overLowerings dense (fun layer ->
                    let x = noise 1 shape
                    pass layer x |> ignore
                    layer.``to`` torch.float32 |> ignore
                    let single = x.``to`` torch.float32
                    Expect.equal (pass layer single).dtype torch.float32 "dtype"
                    sameAsRebuilt "single" layer single
                    layer.``to`` torch.float64 |> ignore
                    sameAsRebuilt "double" layer x))
        ]

let private same =
    testList
        "a kept weight"
        [
            overKinds "gives what a rebuilt one gives, to the bit, at every use" (fun dense shape ->
                overLowerings dense (fun layer ->

                    for seed in 1..3 do
                        sameAsRebuilt $"{seed}" layer (noise seed shape)))
            overKinds "serves inputs that need a gradient where the cores are frozen, after inference mode too" (fun dense shape ->
                overLowerings dense (fun layer ->
                    use back = layer.ToDense()

                    for p in layer.parameters () do
                        p.requires_grad <- false

                    (use _ = torch.inference_mode ()
                     layer.call (noise 1 shape) |> ignore)

                    for seed in 1..2 do
                        let x1, x2 = (noise seed shape).requires_grad_ true, (noise seed shape).requires_grad_ true
                        layer.call(x1).squared().sum().backward()
                        back.call(x2).squared().sum().backward()
                        let scale = (nonNull x2.grad).norm().number()
                        Expect.isLessThan ((nonNull x1.grad).minus(nonNull x2.grad).norm().number()) (1e-10 * (1.0 + scale)) "gradient"))
            testCase "serves several threads at once" (fun () ->
                use conv = torch.nn.Conv2d(4L, 4L, 3L)

                overLowerings conv (fun layer ->
                    use x = torch.randn (1L, 4L, 6L, 6L)
                    use expected = rebuilt layer x

                    let pass () =
                        use _ = torch.NewDisposeScope()
                        if identical (pass layer x) expected then 0 else 1

                    let wrong = [| for _ in 1..8 -> Task.Run(fun () -> List.sum [ for _ in 1..50 -> pass () ]) |]
                    Expect.equal (Task.WhenAll(wrong).Result |> Array.sum) 0 "wrong outputs"))
        ]

/// An embedding whose table is made: rows of kept tables are those of tables made anew, and change with the cores.
let private tables =
    testCase "tables of embeddings are kept as dense weights are, and are others once a core is" (fun () ->
        use _ = torch.NewDisposeScope()
        let geometry = ConvGeometry.embedding 11L 6L (Some 2L)
        let spec = Format.spec [ 11; 6 ] (Format.CP 3) |> Result.defaultWith (failtestf "%A")
        let options = { FreshOptions.defaults with Lowering = Some Lowering.Dense }
        use layer = Layers.random options geometry spec |> ok
        use tokens = torch.tensor [| 3L; 2L; 10L; 3L |]

        for i in 0..2 do
            if i = 2 then
                without (fun () -> layer.Factors[0].neg_() |> ignore)

            let kept, made = pass layer tokens, layer.call(tokens).detach()
            Expect.isTrue (identical kept made) $"{i}: rows"
            Expect.isTrue (identical (pass layer tokens) made) $"{i}: rows of the kept table"
            Expect.equal (kept[1L].count_nonzero().integer()) 0L $"{i}: padding")

let private evicted =
    testCase "where as many choices are kept as may be, one more takes the place of one" (fun () ->
        use _ = torch.NewDisposeScope()
        let spec = Format.spec [ 5; 4 ] (Format.TensorTrain [ 2 ]) |> Result.defaultWith (failtestf "%A")
        let plan = Convolution.plan None (ConvGeometry.plain 0 5L 4L) spec |> ok
        let setting = { CachesWeights = false; ByKernels = false; KeepsSize = false }

        for rows in 1 .. LoweringChoice.mostKept + 50 do
            LoweringChoice.find plan setting [| int64 rows; 5L |] None |> ignore
            Expect.equal plan.Choices.Count (min rows LoweringChoice.mostKept) "choices")

let private counted =
    testList
        "counts of native tensors"
        [
            testCase "weights are kept from one pass to the next, and freed by training and with the layer" (fun () ->
                use conv = torch.nn.Conv2d(4L, 4L, 3L)
                use x = torch.randn (2L, 4L, 6L, 6L)

                for lowering in [ Lowering.Dense; Lowering.Staged ] do
                    let layer = lowered lowering conv

                    let run () =
                        use _ = torch.NewDisposeScope()
                        pass layer x |> ignore

                    let from = NativeTensors.settledCount ()
                    let held () = NativeTensors.settledCount () - from
                    run ()
                    let kept = held ()

                    if lowering = Lowering.Dense then
                        Expect.equal kept 4L "the weight and a copy of each core"
                    else
                        // Stages that read a core as it lies keep nothing.
                        Expect.isGreaterThan kept 1L "a weight and a copy of its core"

                    for _ in 1..100 do
                        run ()

                    Expect.equal (held ()) kept "not more after many passes"
                    layer.eval ()
                    Expect.equal (held ()) kept "evaluation keeps it"
                    layer.train ()
                    Expect.equal (held ()) 0L "training mode frees it"
                    run ()

                    (use _ = torch.NewDisposeScope()
                     layer.call x |> ignore)

                    Expect.equal (held ()) 0L "a pass that records gradients frees it"
                    run ()
                    let parameters = int64 (Seq.length (layer.parameters ()))
                    layer.Dispose()
                    Expect.equal (held ()) -parameters "the layer frees it")
            testCase "a table is kept from one pass to the next, and freed with the layer" (fun () ->
                let spec = Format.spec [ 11; 6 ] (Format.CP 3) |> Result.defaultWith (failtestf "%A")
                let options = { FreshOptions.defaults with Lowering = Some Lowering.Dense }
                let layer = Layers.random options (ConvGeometry.embedding 11L 6L (Some 2L)) spec |> ok
                use tokens = torch.tensor [| 3L; 2L |]

                let run () =
                    use _ = torch.NewDisposeScope()
                    pass layer tokens |> ignore

                let from = NativeTensors.settledCount ()

                for i in 1..20 do
                    run ()
                    Expect.equal (NativeTensors.settledCount () - from) 3L $"{i}: the table and a copy of each core"

                layer.Dispose()
                Expect.equal (NativeTensors.settledCount () - from) -2L "the layer frees it")
        ]

let all = testList "kept weights" [ same; seen; tables; evicted; testSequenced counted ]
