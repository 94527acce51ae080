/// Embeddings whose tables are tensor networks: rows are those of the table, which is never made.
module EmbeddingLaws

open System
open System.IO
open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators

type private Tensor = torch.Tensor

/// A network for a table, by its text: matrices, trains over digits, cores with no digit and with several, a shared bond.
let private networks =
    [
        "vr, rw -> vw | v=12 w=6 r=3"
        "vw -> vw | v=11 w=6"
        "vab, ra, sb, wrs -> vw | v=12 w=6 a=2 b=3 r=2 s=3"
        "axr, ryb -> abxy | a=3 b=4 x=2 y=3 r=3"
        "axr, rbys, sc -> abcxy | a=2 b=3 c=2 x=2 y=3 r=3 s=2"
        "abr, crx -> abcx | a=2 b=3 c=2 x=6 r=3"
        "rab, rcx -> bacx | a=2 b=3 c=2 x=6 r=3"
        "ar, br, xr, yr -> abxy | a=3 b=4 x=2 y=3 r=4"
        "qap, pbxr, rcyq -> abcxy | a=2 b=3 c=2 x=2 y=3 p=2 q=2 r=2"
    ]

[<StructuredFormatDisplay("{Text}")>]
type EmbeddingCase =
    {
        Network: int
        /// Rows that no token asks for.
        Spare: int
        Padding: int option
        Tokens: int list
        DType: torch.ScalarType
        Lowering: Lowering
        IsInt32: bool
        Seed: int
    }

    member this.Text =
        $"%s{networks[this.Network]}, spare {this.Spare}, padding {this.Padding}, tokens of {this.Tokens} in {this.DType}, "
        + $"{this.Lowering}, int32 {this.IsInt32}, seed {this.Seed}"

    override this.ToString() = this.Text

let private embeddings =
    Arb.fromGen (
        gen {
            let! network = Gen.choose (0, networks.Length - 1)
            let! spare = Gen.choose (0, 5)
            let! padding = Gen.oneof [ Gen.constant None; Gen.map Some (Gen.choose (0, 5)) ]
            let! tokens = Gen.elements [ []; [ 0 ]; [ 1 ]; [ 7 ]; [ 2; 3 ]; [ 2; 0; 4 ]; [ 3; 2; 4 ] ]
            let! dtype = Gen.elements [ torch.float64; torch.float32; torch.bfloat16; torch.float16 ]
            let! lowering = Gen.elements [ Lowering.Cheapest; Lowering.Staged; Lowering.Dense ]
            let! isInt32 = Gen.elements [ false; true ]
            let! seed = Gen.choose (0, 1_000_000)

            return
                {
                    Network = network
                    Spare = spare
                    Padding = padding
                    Tokens = tokens
                    DType = dtype
                    Lowering = lowering
                    IsInt32 = isInt32
                    Seed = seed
                }
        }
    )

let private width = 6L

let private layerOf (c: EmbeddingCase) : FactorizedLayer =
    let spec = Spec.parse [] networks[c.Network] |> specOk
    let rows = List.fold (*) 1L (Spec.shape spec) / width
    let geometry = ConvGeometry.embedding (rows - int64 c.Spare) width (Option.map int64 c.Padding)
    use network = Network.random c.DType (uint64 c.Seed) spec
    Layers.ofNetwork (Some c.Lowering) geometry None network |> ok

let private tokensOf (c: EmbeddingCase) (layer: FactorizedLayer) : Tensor =
    use generator = new torch.Generator(uint64 c.Seed)
    let shape = [| for size in c.Tokens -> int64 size |]
    let dtype = if c.IsInt32 then torch.int32 else torch.int64
    torch.randint (0L, layer.Geometry.InChannels, shape, dtype = dtype, device = torch.CPU, generator = generator)

/// The table in float64: the contraction of the very cores, the row of padding zero, rows that none asks for left out.
let private tableOf (layer: FactorizedLayer) : Tensor =
    use network = layer.Network()
    use wide = Network.copyAs torch.float64 network
    let g = layer.Geometry

    let table =
        (Contraction.reconstruct wide).reshape(-1L, g.OutChannels).narrow(0L, 0L, g.InChannels).clone()

    match g.PaddingIdx with
    | Some token -> table[torch.TensorIndex.Single token].zero_() |> ignore
    | None -> ()

    table

/// Half a unit of the last place for the one rounding of 16 bits, some for sums in the others, of the largest entry.
let private rounding (dtype: torch.ScalarType) =
    match dtype with
    | torch.ScalarType.Float64 -> 1e-13
    | torch.ScalarType.Float32 -> 1e-5
    | torch.ScalarType.Float16 -> 6e-4
    | _ -> 5e-3

let private near (dtype: torch.ScalarType) what (actual: Tensor) (exact: Tensor) =
    Expect.equal (List.ofArray actual.shape) (List.ofArray exact.shape) $"{what}: shape"

    if exact.numel () > 0L then
        let off = actual.detach().``to``(torch.float64).minus(exact).abs().max().number()
        let allowed = rounding dtype * (1e-300 + exact.abs().max().number())
        Expect.isTrue (off <= allowed) $"{what}: {off} above {allowed}"

let private rows =
    lawOver embeddings "rows are those of the table, in every dtype, for tokens of every shape" (fun c ->
        use _ = torch.NewDisposeScope()
        use layer = layerOf c
        let table, tokens = tableOf layer, tokensOf c layer
        let y = layer.call tokens
        Expect.equal y.dtype c.DType "dtype"

        let expected =
            table.index_select(0L, tokens.reshape(-1L).``to`` torch.int64).reshape [| yield! tokens.shape; yield width |]

        near c.DType "rows" y expected
        near c.DType "the dense weight" (layer.Kernel()) table
        use dense = (layer :?> FactorizedEmbedding).ToEmbedding()
        let same = dense.call(tokens).detach()
        near c.DType "the dense layer" y (same.``to`` torch.float64))

let private gradients =
    lawOver embeddings "gradients are those through the table, and none comes from the row of padding" (fun c ->
        use _ = torch.NewDisposeScope()
        let c = { c with DType = torch.float64 }
        use layer = layerOf c
        let tokens = tokensOf c layer

        let gradient (rows: Tensor) =
            for core in layer.Factors do
                core.grad <- Unchecked.defaultof<Tensor>

            rows.mul(noise c.Seed rows.shape).sum().backward()
            [ for core in layer.Factors -> core.grad |> Option.ofObj |> Option.map _.clone() ]

        let flat = tokens.reshape(-1L).``to`` torch.int64
        let own = gradient (layer.call tokens)

        let expected =
            gradient (layer.Kernel().index_select(0L, flat).reshape [| yield! tokens.shape; yield width |])

        for core, a, b in List.zip3 layer.Spec.Cores own expected do
            near torch.float64 core.Name a.Value b.Value

        match c.Padding with
        | Some token ->
            let all = gradient (layer.call (torch.full ([| 3L |], token.ToScalar(), dtype = torch.int64)))
            Expect.all all (fun g -> g.Value.count_nonzero().integer() = 0L) "padding"
        | None -> ())

let private noTable =
    testCase "an embedding of a thousand million tokens gives rows and gradients, and refuses its table by name" (fun () ->
        use _ = torch.NewDisposeScope()

        let spec =
            Format.spec [ 1_000_000_000; 512 ] (Format.TensorTrainMatrix([ 1000; 1000; 1000 ], [ 8; 8; 8 ], [ 4; 4 ]))

        let spec =
            match spec with
            | Ok spec -> spec
            | Error errors -> failtest $"{errors}"

        let geometry = ConvGeometry.embedding 1_000_000_000L 512L (Some 0L)
        use layer = Layers.random { FreshOptions.defaults with Seed = 3UL } geometry spec |> ok
        let tokens = torch.tensor [| 0L; 999_999_999L; 123_456_789L |]
        let y = layer.call tokens
        Expect.equal (List.ofArray y.shape) [ 3L; 512L ] "shape"
        Expect.equal (y[0L].count_nonzero().integer()) 0L "padding"
        y.square().sum().backward()

        // The slices at the digits of the two tokens that are no padding, in every core.
        for i, core in Seq.indexed layer.Factors do
            let digits =
                if i = 0 then [| 999L; 123L |]
                elif i = 1 then [| 999L; 456L |]
                else [| 999L; 789L |]

            let axis = if i = 0 then 0L else 1L
            let slices = (nonNull core.grad).movedim([| axis |], [| 0L |]).flatten(1L).abs().sum 1L
            Expect.equal (slices.nonzero().reshape(-1L).data<int64>().ToArray()) (Array.sort digits) $"core {i}"

        match
            (try
                layer.Kernel() |> Ok
             with :? TensorNetException as e ->
                 Error(List.ofSeq e.Errors))
        with
        | Error [ TensorNetError.TooLarge _ ] -> ()
        | other -> failtest $"{other}")

let private errorsOf (act: unit -> 'T) : TensorNetError list =
    try
        act () |> ignore
        []
    with :? TensorNetException as e ->
        List.ofSeq e.Errors

let private refused =
    testCase "tokens out of the vocabulary, of another dtype or none are typed errors" (fun () ->
        use _ = torch.NewDisposeScope()
        let spec = Spec.parse [] networks[0] |> specOk
        use layer = Layers.random FreshOptions.defaults (ConvGeometry.embedding 10L 6L None) spec |> ok

        for tokens: Tensor, expected in
            [
                torch.tensor [| 3L; 10L |], "The tokens = 3 to 10"
                torch.tensor [| -1L; 2L |], "The tokens = -1 to 2"
                torch.tensor [| 1.0f |], "The tokens"
                torch.tensor [| true |], "The tokens"
                torch.tensor([| 3L; 0L; 7L |]).to_sparse(), "The tokens is sparse"
                torch.tensor([| 3L; 0L |], dtype = torch.int32).to_sparse(), "The tokens is sparse"
                torch.empty ([| 2L |], dtype = torch.int64, device = torch.META), "The tokens is on the meta device"
                Unchecked.defaultof<Tensor>, "The input"
            ] do
            match errorsOf (fun () -> layer.call tokens) with
            | [ error ] -> Expect.stringStarts error.Message expected "message"
            | errors -> failtest $"{expected}: {errors}"

        let unsupported result what =
            match result with
            | Error [ TensorNetError.Unsupported _ ] -> ()
            | other -> failtest $"{what}: {other}"

        use network = layer.Network()
        let g = layer.Geometry
        unsupported (Layers.ofNetwork None g (Some(torch.ones 6L)) network) "bias"
        unsupported (Layers.ofNetwork (Some Lowering.Windowed) g None network) "windows"
        unsupported (Layers.ofNetwork None { g with Embedding = Some { PaddingIdx = Some 10L } } None network) "padding"
        unsupported (Layers.ofNetwork None { g with Groups = 2L } None network) "groups"

        // Twice as many rows as tokens, and fewer rows than tokens.
        for tokens in [ 6L; 13L ] do
            match Layers.ofNetwork None (ConvGeometry.embedding tokens 6L None) None network with
            | Error [ TensorNetError.Shape _ ] -> ()
            | other -> failtest $"{tokens} tokens: {other}")

/// What a dense embedding may be told, and what is to be seen of it.
let private options =
    testCase "options that TorchSharp keeps to itself are found, once, and those that no factorized layer has refused" (fun () ->
        use _ = torch.NewDisposeScope()
        let paddings = [ Nullable(); Nullable 0L; Nullable 3L; Nullable 6L ]

        for dtype in [ torch.float32; torch.float64; torch.bfloat16 ] do
            for padding in paddings do
                use dense = torch.nn.Embedding(7L, 4L, padding_idx = padding, dtype = Nullable dtype)
                let before = (nonNull dense.weight).detach().clone()
                let expected = ConvGeometry.embedding 7L 4L (Option.ofNullable padding)

                for _ in 1..2 do
                    Expect.equal (ConvGeometry.ofLayer dense |> ok) expected "geometry"

                Expect.isTrue (identical ((nonNull dense.weight).detach()) before) "its numbers"
                Expect.isNull (nonNull (dense.get_parameter "weight")).grad "its gradient"

        use one = torch.nn.Embedding(1L, 2L, padding_idx = Nullable 0L)
        Expect.equal (ConvGeometry.ofLayer one |> ok) (ConvGeometry.embedding 1L 2L (Some 0L)) "a single row"
        use frozen = torch.nn.Embedding_from_pretrained(torch.ones (5L, 3L), padding_idx = Nullable 2L)
        Expect.equal (ConvGeometry.ofLayer frozen |> ok) (ConvGeometry.embedding 5L 3L None) "frozen"

        for name, dense in
            [
                "max_norm", torch.nn.Embedding(7L, 4L, max_norm = Nullable 100.0)
                "max_norm", torch.nn.Embedding(7L, 4L, max_norm = Nullable 0.1, padding_idx = Nullable 1L)
                "scale_grad_by_freq", torch.nn.Embedding(7L, 4L, scale_grad_by_freq = true)
                "scale_grad_by_freq", torch.nn.Embedding(2L, 4L, scale_grad_by_freq = true, padding_idx = Nullable 0L)
                "sparse", torch.nn.Embedding(7L, 4L, sparse = true)
                // libtorch compares no complex numbers.
                "The embedding", torch.nn.Embedding(7L, 4L, dtype = Nullable torch.complex64)
            ] do
            use dense = dense
            let before = (nonNull dense.weight).detach().clone()

            for _ in 1..2 do
                match ConvGeometry.ofLayer dense with
                | Error [ TensorNetError.Unsupported(option, _, _) ] -> Expect.equal option name "option"
                | other -> failtest $"{name}: {other}"

            Expect.isTrue (identical ((nonNull dense.weight).detach()) before) $"its numbers, {name}"
            Expect.isNull (nonNull (dense.get_parameter "weight")).grad $"its gradient, {name}"

        (use _ = torch.inference_mode true
         use made = torch.nn.Embedding(5L, 3L)
         Expect.equal (ConvGeometry.ofLayer made |> ok) (ConvGeometry.embedding 5L 3L None) "made in inference mode"))

let private formats =
    [
        Format.TensorTrain [ 4 ]
        Format.CP 4
        Format.TensorTrainMatrix([ 6; 5 ], [ 3; 4 ], [ 5 ])
        Format.TensorTrainMatrix([ 4; 4; 2 ], [ 2; 2; 3 ], [ 5; 4 ])
    ]

let private factorized =
    testCase
        "a dense embedding is factorized within the bound, padded where the factors have more rows, and comes back from a file"
        (fun () ->
            use _ = torch.NewDisposeScope()
            torch.random.manual_seed 4L |> ignore
            use dense = torch.nn.Embedding(30L, 12L, padding_idx = Nullable 2L)
            dense.eval ()

            for format in formats do
                let bound = ErrorBound.Relative 0.95
                use layer = Layers.factorize Factorize.defaults KernelAxes.Fused (Some bound) format dense |> ok
                let weight = (nonNull dense.weight).detach()
                let distance = layer.Kernel().detach().minus(weight).norm().number()
                Expect.isLessThanOrEqual distance (0.95 * weight.norm().number() * (1.0 + 1e-6)) $"{format}: bound"
                Expect.isFalse layer.training "training"
                Expect.equal layer.Geometry (ConvGeometry.ofLayer dense |> ok) "geometry"
                use stream = new MemoryStream()
                LayerFile.write stream layer |> ok
                stream.Position <- 0L
                use read = LayerFile.read "memory" stream |> ok
                Expect.equal (read.Geometry, read.Spec, read.Lowering) (layer.Geometry, layer.Spec, layer.Lowering) $"{format}: read"
                let tokens = torch.arange 30L
                Expect.isTrue (identical (read.call(tokens).detach()) (layer.call(tokens).detach())) $"{format}: the same rows"

            match
                Layers.factorize Factorize.defaults KernelAxes.Fused None (Format.TensorTrainMatrix([ 5; 5 ], [ 3; 4 ], [ 2 ])) dense
            with
            | Error [ error ] -> Expect.stringContains error.Message "a product of 30 to 59, such as 6 × 5" "proposal"
            | other -> failtest $"{other}")

let private trained =
    testCase "training moves rows and leaves that of padding zero" (fun () ->
        use _ = torch.NewDisposeScope()
        torch.random.manual_seed 4L |> ignore
        use dense = torch.nn.Embedding(30L, 12L, padding_idx = Nullable 2L)

        for format in formats do
            use layer = Layers.factorize Factorize.defaults KernelAxes.Fused None format dense |> ok
            use optimizer = torch.optim.SGD(layer.parameters (), 0.1)
            let tokens = torch.tensor [| 1L; 2L; 2L; 5L |]
            let before = layer.call(tokens).detach()

            for _ in 1..3 do
                optimizer.zero_grad ()
                layer.call(tokens).sum().backward()
                optimizer.step () |> ignore

            let after = layer.call(tokens).detach()
            Expect.isGreaterThan (after[0L].minus(before[0L]).norm().number()) 1e-3 "moved"
            Expect.equal (after[1L].count_nonzero().integer()) 0L "padding"
            let bits = { Quantization.defaults with Bits = 8 }
            LayerQuantization.fit bits None layer |> ok
            Expect.equal (layer.call(tokens).detach().select(0L, 1L).count_nonzero().integer()) 0L "padding of few bits"
            Expect.isLessThan (layer.call(tokens).detach().minus(after).norm().number()) (0.2 * after.norm().number()) "few bits")

let private covering =
    testPropertyWithConfig
        config
        "factors for a vocabulary cover it, with fewer than twice as many rows"
        (fun (n: PositiveInt) (count: PositiveInt) ->
            let n, count = 1 + n.Get % 60_000, 1 + count.Get % 4
            let factors = BalancedFactors.covering count n
            let rows = List.fold (*) 1 factors
            Expect.equal factors.Length count "factors"
            Expect.isTrue (rows >= n && rows < 2 * n) $"{factors} for {n}")

let private counted =
    testSequenced
    <| testCase "passes keep no tensor" (fun () ->
        use layer =
            Layers.random FreshOptions.defaults (ConvGeometry.embedding 10L 6L (Some 1L)) (Spec.parse [] networks[4] |> specOk)
            |> ok

        use tokens = torch.tensor [| 1L; 3L |]

        let pass () =
            use y = layer.call tokens
            use sum = y.sum ()
            sum.backward ()

        for _ in 1..3 do
            pass ()

        let before = NativeTensors.settledCount ()

        for _ in 1..20 do
            pass ()

        Expect.isLessThan (NativeTensors.settledCount ()) (before + 10L) "tensors")

let all =
    testList "embeddings" [ rows; gradients; noTable; refused; options; factorized; trained; covering; counted ]
