/// Products of matrices by blocks, in layers and by themselves, are libtorch's in float64 up to rounding, with their gradients and
/// gradients of gradients.
module ProductLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open DenseKinds

/// Sums of two thousand float32 products, of squares of such sums at the most: 24 bits, less the growth of the rounding with the number of
/// terms.
let private rounding = 2e-4

/// The same for 53 bits.
let private doubleRounding = 4e-13

let private leaf (dtype: torch.ScalarType) (tensor: torch.Tensor) = tensor.detach().``to``(dtype).requires_grad_ true

/// What a function of tensors gives, its gradients, and those of the sum of their squares.
let private derivatives (f: torch.Tensor list -> torch.Tensor) (inputs: torch.Tensor list) : torch.Tensor list =
    let y = f inputs
    let weights = noise 99 y.shape
    y.mul(weights.``to`` y.dtype).sum().backward(retain_graph = true)
    let first = inputs |> List.map (fun x -> (nonNull x.grad).clone())

    for x in inputs do
        x.grad <- null

    let gradients =
        torch.autograd.grad ([| y.square().sum() |], List.toArray inputs, create_graph = true, retain_graph = true)

    (gradients |> Seq.map (fun g -> g.square().sum()) |> Seq.reduce (fun a b -> a.plus b)).backward()
    let second = inputs |> List.map (fun x -> (nonNull x.grad).clone())
    y.detach () :: first @ second

let private agreeIn
    (dtype: torch.ScalarType)
    what
    (f: torch.Tensor list -> torch.Tensor)
    (exact: torch.Tensor list -> torch.Tensor)
    (inputs: torch.Tensor list)
    =
    use _ = torch.NewDisposeScope()
    let rounding = if dtype = torch.float32 then rounding else doubleRounding
    let single = derivatives f (inputs |> List.map (leaf dtype))
    let double = derivatives exact (inputs |> List.map (leaf torch.float64))

    for i, (a, b) in List.indexed (List.zip single double) do
        let error = a.``to``(torch.float64).minus(b).norm().number() / (1e-30 + b.norm().number())
        Expect.isLessThan error rounding $"{what}, {dtype}, {i}"

let private agree = agreeIn torch.float32

let private matrices =
    testCase "a product of matrices is theirs, however they lie"
    <| fun () ->
        let sizes =
            [
                16, 16, 16
                64, 64, 576
                17, 33, 47
                576, 64, 19
                48, 200, 31
                16, 2000, 80
                64, 200, 576
                137, 700, 45
                270, 400, 50
            ]

        for m, k, n in sizes do
            for aTransposed in [ false; true ] do
                for bTransposed in [ false; true ] do
                    let lay transposed rows columns seed =
                        if transposed then
                            noise seed [| int64 columns; int64 rows |]
                        else
                            noise seed [| int64 rows; int64 columns |]

                    let read transposed (x: torch.Tensor) = if transposed then x.t () else x
                    let a, b = lay aTransposed m k 1, lay bTransposed k n 2

                    for dtype in [ torch.float32; torch.float64 ] do
                        agreeIn
                            dtype
                            $"{m} {k} {n} {aTransposed} {bTransposed}"
                            (fun ab -> MatMul.Of(read aTransposed ab[0], read bTransposed ab[1]))
                            (fun ab -> (read aTransposed ab[0]).matmul(read bTransposed ab[1]))
                            [ a; b ]

        // A stack of one matrix.
        agreeIn
            torch.float64
            "a stack of one"
            (fun ab -> MatMul.Of(ab[0].unsqueeze 0L, ab[1].unsqueeze 0L).squeeze 0L)
            (fun ab -> ab[0].matmul ab[1])
            [ noise 1 [| 40L; 50L |]; noise 2 [| 50L; 30L |] ]

let private transposes =
    testCase "matrices are transposed whatever their sizes"
    <| fun () ->
        for count, rows, columns in [ 1, 8, 8; 2, 9, 23; 3, 64, 40; 1, 17, 300; 2, 3, 20; 1, 31, 5 ] do
            use _ = torch.NewDisposeScope()

            for dtype in [ torch.float32; torch.float64 ] do
                let x = (noise 1 [| int64 count; int64 rows; int64 columns |]).``to`` dtype

                Expect.isTrue
                    (identical (Transpose.Of(count, rows, columns, x)) (x.transpose(1L, 2L).contiguous()))
                    $"{count} {rows} {columns} {dtype}"

let private pointwise =
    testCase "a 1×1 convolution is one, whatever the order in memory of images and result"
    <| fun () ->
        for images, s, t, size in [ 1, 16, 16, 4; 2, 33, 17, 5; 3, 64, 40, 7; 1, 20, 64, 14 ] do
            for isLast in [ false; true ] do
                for output, biased in [ Channels.First, true; Channels.First, false; Channels.Last, false ] do
                    let inputs =
                        [
                            noise 1 [| int64 t; int64 s |]
                            noise 2 [| int64 images; int64 s; int64 size; int64 size |]
                            if biased then
                                noise 3 [| int64 t |]
                        ]

                    let placed (x: torch.Tensor) = if isLast then x.permute(0L, 2L, 3L, 1L).contiguous().permute(0L, 3L, 1L, 2L) else x

                    let bias (all: torch.Tensor list) : torch.Tensor | null = if biased then all[2] else null

                    let exact (all: torch.Tensor list) =
                        torch.nn.functional.conv2d (all[1], all[0].view(int64 t, int64 s, 1L, 1L), bias all)

                    let mine (all: torch.Tensor list) = PointwiseConvolution.Of(output, all[0], bias all, placed all[1])
                    agree $"{images} {s} {t} {size} {isLast} {output} {biased}" mine exact inputs

let private planes =
    testCase "a kernel for each channel, plane by plane, is a convolution of as many groups"
    <| fun () ->
        for images, channels, height, width, rows, columns, above, left in
            [
                1, 5, 7, 7, 3, 3, 1, 1
                2, 3, 14, 14, 3, 3, 0, 2
                1, 2, 33, 70, 5, 3, 2, 1
                3, 4, 9, 1, 3, 1, 1, 0
                2, 3, 4, 20, 1, 5, 0, 4
                1, 40, 2, 3, 2, 3, 1, 0
            ] do
            let window: ConvWindow =
                { Height = height; Width = width; Rows = rows; Columns = columns; Above = above; Left = left }

            Expect.isTrue (DepthwiseConvolution.Pays(images, channels, window)) "fits"

            // Of many images libtorch's is faster, unless planes are large.
            Expect.equal (DepthwiseConvolution.Pays(8L, channels, window)) (height * width >= 1024) "many images"

            agree
                $"{images} {channels} {window}"
                (fun f -> DepthwiseConvolution.Of(window, f[0], f[1]))
                (fun f ->
                    let weight = f[0].view(int64 channels, 1L, int64 rows, int64 columns)
                    let padding = [| int64 above; int64 left |]
                    torch.nn.functional.conv2d (f[1], weight, null, [| 1L; 1L |], padding, [| 1L; 1L |], channels))
                [
                    noise 1 [| int64 channels; int64 (rows * columns) |]
                    noise 2 [| int64 images; int64 channels; int64 height; int64 width |]
                ]

let private cpKernels =
    testCase "terms of rank one sum to the kernel"
    <| fun () ->
        for t, s, d, r in [ 16, 16, 1, 32; 64, 64, 9, 200; 17, 5, 4, 33; 20, 3, 17, 64; 16, 40, 25, 100 ] do
            let factor seed n = noise seed [| int64 n; int64 r |]

            agree
                $"{t} {s} {d} {r}"
                (fun f -> CpKernel.Of(f[0], f[1], f[2]))
                (fun f -> torch.einsum ("tr,sr,dr->tsd", f[0], f[1], f[2]))
                [ factor 1 t; factor 2 s; factor 3 d ]

/// A convolution of all channels with all, of stride and dilation 1.
let private spatial above left (kernel: torch.Tensor) (bias: torch.Tensor | null) (x: torch.Tensor) =
    let window = ConvWindow.Of(x.shape, int kernel.shape[2], int kernel.shape[3], above, left)
    DenseConvolution.Of(window, kernel, bias, x)

let private libtorch above left (kernel: torch.Tensor) (bias: torch.Tensor | null) (x: torch.Tensor) =
    let ones = [| 1L; 1L |]
    torch.nn.functional.conv2d (x, kernel, bias, ones, [| int64 above; int64 left |], ones)

let private agreeSpatial (images, s, t, height, width, rows, columns, above, left) =
    let kernel, x =
        noise 1 [| int64 t; int64 s; int64 rows; int64 columns |], noise 2 [| int64 images; int64 s; int64 height; int64 width |]

    let name = $"{images} {s} {t} {height} {width} {rows} {columns}"
    agree name (fun f -> spatial above left f[0] null f[1]) (fun f -> libtorch above left f[0] null f[1]) [ kernel; x ]

    agree
        $"{name}, bias"
        (fun f -> spatial above left f[0] f[2] f[1])
        (fun f -> libtorch above left f[0] f[2] f[1])
        [ kernel; x; noise 3 [| int64 t |] ]

/// Images, channels in and out, height and width, zeros above and left.
let private tiledSizes =
    [
        1, 32, 32, 14, 14, 1, 1
        2, 16, 48, 7, 9, 1, 1
        3, 48, 16, 28, 29, 0, 2
        1, 32, 96, 40, 3, 2, 0
        1, 16, 16, 1, 1, 1, 1
        5, 32, 32, 2, 3, 2, 2
        1, 16, 32, 3, 3, 0, 0
        1, 32, 16, 5, 140, 1, 1
        9, 64, 80, 6, 6, 1, 1
    ]

let private tiled =
    testCase "a convolution by minimal filtering is libtorch's"
    <| fun () ->
        for images, s, t, height, width, above, left in tiledSizes do
            agreeSpatial (images, s, t, height, width, 3, 3, above, left)

/// Transforms add numbers before they are multiplied, which costs a digit at most; fewer numbers are added one after the other, which gains
/// some.
let private tiledErrors =
    testCase "a convolution by minimal filtering is as exact as libtorch's, up to a digit"
    <| fun () ->
        for images, s, t, height, width, above, left in tiledSizes do
            use _ = torch.NewDisposeScope()

            let kernel, x =
                noise 1 [| int64 t; int64 s; 3L; 3L |], noise 2 [| int64 images; int64 s; int64 height; int64 width |]

            let run (dtype: torch.ScalarType) (f: torch.Tensor -> torch.Tensor | null -> torch.Tensor -> torch.Tensor) =
                let kernel, x = leaf dtype kernel, leaf dtype x
                let y = f kernel null x
                y.mul((noise 3 y.shape).``to`` dtype).sum().backward()
                [ y.detach (); nonNull kernel.grad; nonNull x.grad ]

            let exact = run torch.float64 (libtorch above left)

            let errors f =
                List.map2
                    (fun (a: torch.Tensor) (b: torch.Tensor) -> a.``to``(torch.float64).minus(b).norm().number() / b.norm().number())
                    (run torch.float32 f)
                    exact

            List.iteri2
                (fun i own theirs -> Expect.isLessThan own (10.0 * max theirs 1e-8) $"{images} {s} {t} {height} {width}, {i}")
                (errors (spatial above left))
                (errors (libtorch above left))

let private spatialSizes =
    testCase "what products of all channels cannot take is left to libtorch"
    <| fun () ->
        let fits images s t height width rows columns above left =
            let window: ConvWindow =
                { Height = height; Width = width; Rows = rows; Columns = columns; Above = above; Left = left }

            Kernels.pays (ConvCall.Dense(images, s, t, window))

        if Kernels.isOn () then
            Expect.isTrue (fits 1L 16L 48L 14 14 3 3 1 1) "a small plane, tiled"
            Expect.isTrue (fits 8L 64L 64L 56 56 3 3 1 1) "many images, tiled"

        Expect.isFalse (fits 1L 32L 32L 1 1 1 3 0 1) "too few positions"
        Expect.isFalse (fits 1L 40L 32L 14 14 3 3 1 1) "channels in no whole blocks, tiled"
        Expect.isFalse (fits 1L 32L 40L 14 14 3 3 1 1) "channels that come out in no whole blocks, tiled"
        Expect.isFalse (fits 1L 32L 32L 14 14 3 3 3 1) "padding beyond the kernel"
        Expect.isFalse (fits 1L 32L 32L 2 14 4 3 0 1) "a kernel beyond the plane"
        Expect.isFalse (fits 1L 512L 512L 7 7 3 3 1 1) "many channels of few tiles"

let private threads =
    testCase "the same to the bit however many threads share the work"
    <| fun () ->
        if not (KernelSwitch.multiplies ()) then
            skiptest "No 512-bit vectors, or Intel's: products are libtorch's, whose bits depend on the number of threads."

        let before = torch.get_num_threads ()
        let window: ConvWindow = { Height = 40; Width = 40; Rows = 3; Columns = 3; Above = 1; Left = 1 }

        let cases: (string * torch.ScalarType * int64 list list * (torch.Tensor list -> torch.Tensor)) list =
            [
                for dtype in [ torch.float32; torch.float64 ] do
                    "wide", dtype, [ [ 40L; 700L ]; [ 700L; 517L ] ], (fun x -> MatMul.Of(x[0], x[1]))
                    "tall", dtype, [ [ 517L; 300L ]; [ 300L; 41L ] ], (fun x -> MatMul.Of(x[0], x[1]))
                "terms", torch.float32, [ [ 100L; 111L ]; [ 90L; 111L ]; [ 9L; 111L ] ], (fun x -> CpKernel.Of(x[0], x[1], x[2]))
                for images in [ 1L; 5L ] do
                    for output in [ Channels.First; Channels.Last ] do
                        $"images {images}",
                        torch.float32,
                        [ [ 70L; 60L ]; [ images; 60L; 37L; 37L ] ],
                        (fun x -> PointwiseConvolution.Of(output, x[0], null, x[1]))
                for height in [ 12L; 60L ] do
                    $"all channels, {height}",
                    torch.float32,
                    [ [ 96L; 64L; 3L; 3L ]; [ 96L ]; [ 2L; 64L; height; 40L ] ],
                    (fun x -> spatial 1 1 x[0] x[1] x[2])
                "few tiles",
                torch.float32,
                [ [ 160L; 128L; 3L; 3L ]; [ 160L ]; [ 2L; 128L; 14L; 14L ] ],
                (fun x -> spatial 1 1 x[0] x[1] x[2])
                "planes", torch.float32, [ [ 70L; 9L ]; [ 3L; 70L; 40L; 40L ] ], (fun x -> DepthwiseConvolution.Of(window, x[0], x[1]))
            ]

        try
            for name, dtype, shapes, f in cases do
                use _ = torch.NewDisposeScope()

                let run count =
                    torch.set_num_threads count
                    let leaves = shapes |> List.mapi (fun i shape -> leaf dtype (noise i shape))
                    let y = f leaves
                    y.mul((noise 9 y.shape).``to`` dtype).sum().backward()
                    y.detach () :: (leaves |> List.map (fun x -> nonNull x.grad))

                let one = run 1

                for count in [ 2; 3 ] do
                    List.iteri2 (fun i (a: torch.Tensor) b -> Expect.isTrue (identical a b) $"{name}, {dtype}, {i}") one (run count)
        finally
            torch.set_num_threads before

let private shares =
    testCase "each part of a job is done once, and what a part throws comes out"
    <| fun () ->
        let before = torch.get_num_threads ()

        try
            for count in [ 1; 2; 4 ] do
                torch.set_num_threads count
                let times = Array.zeroCreate<int> 100
                ParallelFor.run 100 (fun i -> System.Threading.Interlocked.Increment(&times[i]) |> ignore)
                Expect.allEqual times 1 "once"

                ParallelFor.run 3 (fun i ->
                    ParallelFor.run 5 (fun j -> System.Threading.Interlocked.Increment(&times[5 * i + j]) |> ignore))

                Expect.allEqual times[..14] 2 "parts of parts"

                Expect.throwsT<System.InvalidOperationException>
                    (fun () ->
                        ParallelFor.run 4 (fun i ->
                            if i = 2 then
                                invalidOp "part"))
                    "an error"

                let covered = Array.zeroCreate<int> 17

                ParallelFor.ranges 1e9 17 (fun low high ->
                    for i in low .. high - 1 do
                        covered[i] <- covered[i] + 1)

                Expect.allEqual covered 1 "ranges"
        finally
            torch.set_num_threads before

/// Freed memory full of NaN: whoever reads what nobody wrote shows it.
let private poison () =
    for n in [ 300L; 3_000L; 30_000L; 300_000L ] do
        use _ = torch.full ([| n |], nan.ToScalar(), dtype = torch.float32)
        ()

/// Layers of every kind by the dtype of their dense one. Channels and ranks do not fill the engine's blocks of 16.
let private kinds: (string * int64 list * (torch.ScalarType -> FactorizedLayer)) list =
    let format = Format.Tucker2(20, 24)
    let made (dense: torch.nn.Module) = Layers.fresh (Some Lowering.Staged) KernelAxes.Fused 1UL 1.0 format dense |> ok

    [
        "Conv1d",
        [ 9L ],
        fun dtype ->
            use dense = torch.nn.Conv1d(24L, 40L, 3L, padding = 1L, bias = false, dtype = dtype)
            made dense
        "Conv3d",
        [ 4L; 5L; 6L ],
        fun dtype ->
            use dense = torch.nn.Conv3d(24L, 40L, 3L, padding = 1L, bias = false, dtype = dtype)
            made dense
        "ConvTranspose1d",
        [ 9L ],
        fun dtype ->
            use dense = torch.nn.ConvTranspose1d(24L, 40L, 3L, stride = 2L, bias = false, dtype = dtype)
            made dense
        "ConvTranspose2d",
        [ 6L; 7L ],
        fun dtype ->
            use dense = torch.nn.ConvTranspose2d(24L, 40L, 3L, stride = 2L, bias = false, dtype = dtype)
            made dense
    ]

let private everyKind =
    testList
        "a layer of float32 is that of float64, whatever its channels and ranks"
        [
            for name, size, make in kinds do
                testCase name
                <| fun () ->
                    use _ = torch.NewDisposeScope()

                    let results (dtype: torch.ScalarType) =
                        poison ()
                        use layer = make dtype
                        let x = (noise 4 (Array.append [| 3L; 24L |] (List.toArray size))).``to``(dtype).requires_grad_ true
                        let y = layer.call x
                        y.mul((noise 5 y.shape).``to`` dtype).sum().backward()

                        [
                            y.detach ()
                            nonNull x.grad
                            for p in layer.Factors do
                                nonNull p.grad
                        ]
                        |> List.map (fun tensor -> tensor.``to`` (torch.float64, copy = true))

                    for i, (a, b) in List.indexed (List.zip (results torch.float32) (results torch.float64)) do
                        let error = a.minus(b).norm().number() / b.norm().number()
                        Expect.isLessThan error rounding $"{i}"
        ]

let private layers =
    testCase "a layer of float32 is the dense one of its kernel"
    <| fun () ->
        let formats =
            [
                Format.CP 48
                Format.CP 20
                Format.Tucker2(16, 32)
                Format.Tucker2(20, 24)
                Format.TensorChain [ 4; 4; 5 ]
                Format.TensorTrain [ 16; 32 ]
            ]

        for format in formats do
            for axes in [ KernelAxes.Fused; KernelAxes.Separate ] do
                for channels, size, stride in [ 32L, 8L, 1L; 24L, 9L, 2L; 32L, 34L, 1L ] do
                    for lowering in [ Lowering.Staged; Lowering.Dense; Lowering.Windowed ] do
                        use dense = torch.nn.Conv2d(channels, 32L, 3L, padding = 1L, stride = stride)
                        poison ()

                        match Layers.fresh (Some lowering) axes 3UL 1.0 format dense with
                        | Error _ -> ()
                        | Ok layer ->
                            use layer = layer
                            use _ = torch.NewDisposeScope()
                            use x = (noise 4 [| 2L; channels; size; size |]).``to``(torch.float32).requires_grad_ true
                            let inputs = x :: [ for p in layer.parameters () -> p :> torch.Tensor ]

                            let collect (y: torch.Tensor) =
                                for p in inputs do
                                    p.grad <- null

                                y.mul((noise 5 y.shape).``to`` y.dtype).sum().backward()
                                y.detach () :: (inputs |> List.map (fun p -> (nonNull p.grad).clone()))

                            let mine = collect (layer.call x)

                            let exact =
                                let whole = layer.Kernel().``to`` torch.float64
                                let bias = (nonNull layer.Bias).``to`` torch.float64

                                collect (
                                    torch.nn.functional.conv2d (
                                        x.``to`` torch.float64,
                                        whole,
                                        bias,
                                        padding = [| 1L; 1L |],
                                        strides = [| stride; stride |]
                                    )
                                )

                            for i, (a, b) in List.indexed (List.zip mine exact) do
                                let b = b.``to`` torch.float64
                                let error = a.``to``(torch.float64).minus(b).norm().number() / (1e-30 + b.norm().number())
                                Expect.isLessThan error rounding $"{format} {axes} {size} {lowering}, {i}"

let private estimates =
    testCase "what the library makes itself is estimated for float32 alone"
    <| fun () ->
        use _ = torch.NewDisposeScope()

        let lowerings (dtype: torch.ScalarType) =
            use dense = torch.nn.Conv2d(64L, 64L, 3L, padding = 1L, dtype = dtype)

            [
                for rank in 16..16..224 do
                    use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP rank) dense |> ok
                    layer.LoweringFor(8L, 64L, 56L, 56L)
            ]

        let single, double = lowerings torch.float32, lowerings torch.float64
        let staged = List.filter ((=) Lowering.Staged) >> List.length
        Expect.equal (List.head single) Lowering.Staged "few terms"
        Expect.equal (List.last single) Lowering.Dense "many terms"

        // Kernels of 3×3 gain most.
        if Kernels.isOn () then
            Expect.isLessThan (staged single) (staged double) "ranks that are applied by stages"
        else
            Expect.equal single double "no kernels of its own"

let private leaks =
    testCase "no tensor stays, with gradients or without"
    <| fun () ->
        let act (f: unit -> torch.Tensor) =
            use _ = torch.NewDisposeScope()
            f().sum().backward()

        let operands = [ 64; 40; 9 ] |> List.mapi (fun i n -> leaf torch.float32 (noise i [| int64 n; 32L |]))
        let shared = [ 128; 160; 9 ] |> List.mapi (fun i n -> leaf torch.float32 (noise i [| int64 n; 200L |]))
        let images = leaf torch.float32 (noise 4 [| 2L; 32L; 5L; 5L |])
        let taps = leaf torch.float32 (noise 5 [| 32L; 9L |])

        let tiled, bias =
            leaf torch.float32 (noise 7 [| 32L; 32L; 3L; 3L |]), leaf torch.float32 (noise 8 [| 32L |])

        let window: ConvWindow = { Height = 5; Width = 5; Rows = 3; Columns = 3; Above = 1; Left = 1 }

        let once () =
            act (fun () -> MatMul.Of(operands[0], operands[1].t()))
            act (fun () -> CpKernel.Of(operands[0], operands[1], operands[2]))
            // Large enough to be shared between threads, if there are several.
            act (fun () -> MatMul.Of(shared[0], shared[1].t()))
            act (fun () -> CpKernel.Of(shared[0], shared[1], shared[2]))
            act (fun () -> PointwiseConvolution.Of(Channels.First, operands[0], null, images))
            act (fun () -> PointwiseConvolution.Of(Channels.Last, operands[0], null, images))
            act (fun () -> DepthwiseConvolution.Of(window, taps, images))
            act (fun () -> spatial 1 1 tiled bias images)

        once ()
        let before = NativeTensors.settledCount ()

        for _ in 1..50 do
            once ()

        Expect.equal (NativeTensors.settledCount ()) before "tensors"

/// What holds for kernels and for libtorch alone.
let private both = [ matrices; spatialSizes; layers; everyKind; estimates; testSequenced leaks ]

let bothSides = testList "products" both

let all =
    testList
        "products"
        (both
         @ [
             transposes
             pointwise
             planes
             cpKernels
             tiled
             tiledErrors
             testSequenced (testList "threads" [ threads; shares ])
         ])
