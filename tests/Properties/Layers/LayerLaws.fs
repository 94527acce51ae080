/// A layer is the dense convolution with the kernel that its network contracts to.
module LayerLaws

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

[<StructuredFormatDisplay("{Text}")>]
type ConvCase =
    {
        In: int
        Out: int
        Kernel: int * int
        Stride: int * int
        Dilation: int * int
        /// None: 'same'.
        Padding: (int * int) option
        Bias: bool
        Batched: bool
        Kind: int
        Lowering: Lowering
        Seed: int
    }

    member this.Text =
        $"in {this.In} out {this.Out} kernel {this.Kernel} stride {this.Stride} dilation {this.Dilation} padding {this.Padding} bias {this.Bias} "
        + $"batched {this.Batched} format {this.Kind} {this.Lowering} seed {this.Seed}"

    override this.ToString() = this.Text

let private convCase =
    gen {
        let pair low high = Gen.zip (Gen.choose (low, high)) (Gen.choose (low, high))
        let! channels = pair 1 4
        let! kernel = pair 1 4
        let! same = Gen.elements [ true; false; false ]
        let! stride = if same then Gen.constant (1, 1) else pair 1 3
        let! dilation = pair 1 2
        let! padding = pair 0 2
        let! bias = Gen.elements [ true; false ]
        let! batched = Gen.elements [ true; true; false ]
        let! kind = Gen.choose (0, 2)
        let! lowering = Gen.elements [ Lowering.Staged; Lowering.Dense ]
        let! seed = Gen.choose (0, 1_000_000)

        return
            {
                In = fst channels
                Out = snd channels
                Kernel = kernel
                Stride = stride
                Dilation = dilation
                Padding = if same then None else Some padding
                Bias = bias
                Batched = batched
                Kind = kind
                Lowering = lowering
                Seed = seed
            }
    }

type ConvArbitraries =
    static member ConvCase() =
        Arb.fromGenShrink (
            convCase,
            (fun c ->
                seq {
                    if c.Bias then
                        { c with Bias = false }
                })
        )

let private pairOf (a, b) = struct (int64 a, int64 b)

let conv (dtype: torch.ScalarType) (c: ConvCase) : Modules.Conv2d =
    let kernel = pairOf c.Kernel
    let stride: Nullable<struct (int64 * int64)> = Nullable(pairOf c.Stride)
    let dilation: Nullable<struct (int64 * int64)> = Nullable(pairOf c.Dilation)
    let dtype = Nullable dtype

    match c.Padding with
    | None -> torch.nn.Conv2d(int64 c.In, int64 c.Out, kernel, Padding.Same, stride, dilation, bias = c.Bias, dtype = dtype)
    | Some padding ->
        let padding: Nullable<struct (int64 * int64)> = Nullable(pairOf padding)
        torch.nn.Conv2d(int64 c.In, int64 c.Out, kernel, stride, padding, dilation, bias = c.Bias, dtype = dtype)

let private formatOf (c: ConvCase) =
    let s, d, t = c.In, fst c.Kernel * snd c.Kernel, c.Out

    match c.Kind with
    | 0 -> Format.CP(min 3 (s * d * t / max s (max d t)))
    | 1 ->
        let last = min t 2
        Format.Tucker2(min (min s 2) (d * last), min last (d * min s 2))
    | _ ->
        match Format.spec [ s; d; t ] (Format.TensorChain [ 2; min 2 s; min 2 t ]) with
        | Ok _ -> Format.TensorChain [ 2; min 2 s; min 2 t ]
        | Error _ -> Format.TensorChain [ 1; 1; 1 ]

let private input (dtype: torch.ScalarType) (c: ConvCase) =
    let shape =
        [
            if c.Batched then
                2L
            int64 c.In
            9L
            8L
        ]

    (noise (c.Seed + 1) shape).``to`` dtype

let private specOf (c: ConvCase) =
    match Format.spec [ c.In; fst c.Kernel * snd c.Kernel; c.Out ] (formatOf c) with
    | Ok spec -> spec
    | Error errors -> failtestf "%A" (errors |> List.map _.Message)

let private layer dtype (c: ConvCase) (dense: Modules.Conv2d) =
    let network = Network.random dtype (uint64 c.Seed) (specOf c)
    Layers.conv2dOf (Some c.Lowering) dense network |> ok

let private config = { config with arbitrary = [ typeof<ConvArbitraries> ] }

let private law name (check: ConvCase -> unit) =
    testPropertyWithConfig config name (fun (c: ConvCase) ->
        use _ = torch.NewDisposeScope()
        check c)

/// Sums of a few hundred products of numbers of order one.
let private tolerance (dtype: torch.ScalarType) = if dtype = torch.float64 then 1e-10 else 2e-4

let private near (tolerance: float) (actual: torch.Tensor) (expected: torch.Tensor) what =
    Expect.equal (List.ofArray actual.shape) (List.ofArray expected.shape) $"{what}: shape"
    let scale = 1.0 + expected.norm().``to``(torch.float64).number()
    Expect.isLessThanOrEqual (actual.minus(expected).norm().``to``(torch.float64).number()) (tolerance * scale) what

let private equality =
    testList
        "equals the dense layer"
        [
            for dtype in [ torch.float64; torch.float32 ] do
                law $"forward, {dtype}" (fun c ->
                    use dense = conv dtype c
                    use layer = layer dtype c dense
                    use back = layer.ToConv2d()
                    let x = input dtype c
                    near (tolerance dtype) (layer.call x) (back.call x) "y")
            law "gradients of input, bias and cores" (fun c ->
                use dense = conv torch.float64 c
                use layer = layer torch.float64 c dense
                let x1 = (input torch.float64 c).requires_grad_ true
                let y = layer.call x1
                let weights = noise (c.Seed + 2) y.shape
                y.mul(weights).sum().backward()
                let found = [ for p in layer.Factors -> (nonNull p.grad).clone() ]

                // Through the reconstructed kernel, by the dense convolution.
                let x2 = x1.detach().clone().requires_grad_ true
                use reference = layer.ToConv2d()
                reference.call(x2).mul(weights).sum().backward()
                near 1e-10 (nonNull x1.grad) (nonNull x2.grad) "input"

                if c.Bias then
                    near 1e-10 (nonNull (nonNull layer.Bias).grad) (nonNull (nonNull reference.bias).grad) "bias"

                for p in layer.Factors do
                    (nonNull p.grad).zero_() |> ignore

                layer.Kernel().mul(nonNull reference.weight.grad).sum().backward()

                List.iter2
                    (fun (p: Modules.Parameter) (g: torch.Tensor) -> near 1e-10 g (nonNull p.grad) "core")
                    (List.ofSeq layer.Factors)
                    found)
            law "the bias of the original is kept" (fun c ->
                use dense = conv torch.float64 c
                use layer = layer torch.float64 c dense

                match layer.Bias, dense.bias with
                | null, null -> ()
                | found, expected -> Expect.isTrue (identical (nonNull found) (nonNull expected)) "bias")
            law "by default it starts from the kernel of the original" (fun c ->
                use dense = conv torch.float64 c
                use layer = Layers.conv2d { Factorize.defaults with Seed = uint64 c.Seed } None (formatOf c) dense |> ok
                let kernel = dense.weight.detach ()
                let error = layer.Kernel().detach().minus(kernel).norm().number()
                Expect.isLessThan error (kernel.norm().number()) "nearer than nothing")
        ]

let private factors =
    testList
        "factors"
        [
            law "set and read back, in place" (fun c ->
                use dense = conv torch.float64 c
                use layer = layer torch.float64 c dense
                let held = layer.Factors |> Seq.toArray
                let values = [| for p in held -> noise (c.Seed + 5) p.shape |]
                layer.SetFactors values

                Seq.iteri2
                    (fun i (p: Modules.Parameter) (v: torch.Tensor) ->
                        Expect.isTrue (identical p v) "value"
                        Expect.isTrue (p.Handle = held[i].Handle) "the same parameter")
                    layer.Factors
                    values

                use network = layer.Network()

                near
                    1e-12
                    (ConvGeometry.weightOfKernel layer.Geometry (Contraction.reconstruct network))
                    (layer.Kernel().detach())
                    "kernel")
            law "a wrong shape or dtype changes nothing and names all cores" (fun c ->
                use dense = conv torch.float64 c
                use layer = layer torch.float64 c dense
                let before = [ for p in layer.Factors -> p.detach().clone() ]
                let good = noise 1 layer.Factors[0].shape

                match
                    layer.TrySetFactors [| good; noise 2 [ 7L; 7L; 7L; 7L ]; (noise 3 layer.Factors[2].shape).``to`` torch.float32 |]
                with
                | Error [ TensorNetError.CoreShape("B", found, _); TensorNetError.CoreDType("C", _, _) ] ->
                    Expect.equal found [ 7L; 7L; 7L; 7L ] "found"
                | other -> failtestf "%A" other

                Seq.iter2
                    (fun (p: Modules.Parameter) (kept: torch.Tensor) -> Expect.isTrue (identical p kept) "value")
                    layer.Factors
                    before)
            law "state dict, dtype moves and sensitivity see the same cores" (fun c ->
                use dense = conv torch.float32 c
                use layer = layer torch.float32 c dense
                let keys = layer.state_dict().Keys |> Seq.sort |> List.ofSeq

                Expect.equal
                    keys
                    [
                        "A"
                        "B"
                        "C"
                        if c.Bias then
                            "bias"
                    ]
                    "keys"

                let s = (layer.Sensitivity()).number()
                layer.``to`` torch.float64 |> ignore
                let x = input torch.float64 c
                use back = layer.ToConv2d()
                near 1e-10 (layer.call x) (back.call x) "y after the move"
                let moved = (layer.Sensitivity()).number()
                Expect.isLessThan (abs (moved - s)) (1e-4 * (1.0 + s)) "S")
        ]

let private refusals =
    testList
        "refusals"
        [
            testCase "depthwise groups and too many dimensions are named" (fun () ->
                let options (dense: torch.nn.Module) =
                    match Layers.factorize Factorize.defaults KernelAxes.Fused None (Format.CP 2) dense with
                    | Error errors ->
                        errors
                        |> List.map (function
                            | TensorNetError.Unsupported(option, found, _) -> option, found
                            | e -> "?", e.Message)
                    | Ok _ -> failtest "accepted"

                use depthwise = torch.nn.Conv2d(4L, 4L, 3L, groups = 4L)
                Expect.equal (options depthwise) [ "groups", "4 (depthwise)" ] "groups"
                use deep = torch.nn.ConvTranspose3d(4L, 4L, 3L)
                Expect.equal (options deep) [ "spatial dimensions of a transposed convolution", "3" ] "dimensions")
            testCase "an input of the wrong rank, channels or dtype is refused" (fun () ->
                use _ = torch.NewDisposeScope()
                use conv = torch.nn.Conv2d(4L, 4L, 3L)
                use layer = Layers.conv2d Factorize.defaults None (Format.CP 2) conv |> ok

                let message (x: torch.Tensor) =
                    try
                        layer.call x |> ignore
                        "accepted"
                    with :? TensorNetException as e ->
                        e.Message

                Expect.stringContains (message (torch.zeros (4L, 4L))) "expected batch × channels" "rank"
                Expect.stringContains (message (torch.zeros (1L, 3L, 8L, 8L))) "expected 4 channels" "channels"
                Expect.stringContains (message (torch.zeros (1L, 4L, 8L, 8L, dtype = torch.float64))) "expected Float32" "dtype")
        ]

let private golden =
    testList
        "golden layers"
        [
            for kind in [ "cpd"; "tkd"; "tc" ] do
                fileTest "golden" $"layer_{kind}.json" (fun path ->
                    use _ = torch.NewDisposeScope()
                    let e = json path

                    for case in e.GetProperty("cases").EnumerateArray() do
                        let kernel = ints (case.GetProperty "kernel")
                        let stride = ints (case.GetProperty "stride")
                        let padding = ints (case.GetProperty "padding")
                        let dilation = ints (case.GetProperty "dilation")
                        let pair (a: int64[]) : Nullable<struct (int64 * int64)> = Nullable(struct (a[0], a[1]))
                        let s, t = e.GetProperty("in_channels").GetInt64(), e.GetProperty("out_channels").GetInt64()
                        let hasBias = has "bias" case

                        use dense =
                            torch.nn.Conv2d(
                                s,
                                t,
                                struct (kernel[0], kernel[1]),
                                pair stride,
                                pair padding,
                                pair dilation,
                                bias = hasBias,
                                dtype = Nullable torch.float64
                            )

                        if hasBias then
                            use _ = torch.no_grad ()
                            (nonNull dense.bias).copy_(tensor (case.GetProperty "bias")) |> ignore

                        let factors = tensors (case.GetProperty "factors")
                        let einsum = nonNull (e.GetProperty("einsum").GetString())

                        let dims =
                            Seq.zip (einsum.Split("->").[0].Split ',') factors
                            |> Seq.collect (fun (word, f) -> Seq.zip (Seq.map string word) (Seq.map int f.shape))
                            |> Seq.distinct
                            |> List.ofSeq

                        let network = networkOf (Golden.specOf einsum dims) factors

                        for lowering in [ Lowering.Staged; Lowering.Dense ] do
                            use layer = Layers.conv2dOf (Some lowering) dense network |> ok
                            close 1e-12 (layer.Kernel().detach()) (tensor (case.GetProperty "weight")) "kernel"
                            close 1e-11 (layer.call(tensor (case.GetProperty "x")).detach()) (tensor (case.GetProperty "y")) "y"
                            Golden.near 1e-12 ((layer.Sensitivity()).number()) (number "sensitivity" case) "S")
        ]

let all = testList "layers" [ equality; factors; refusals; golden ]
