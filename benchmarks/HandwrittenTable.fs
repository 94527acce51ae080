/// What is written by hand for vector units, against libtorch on layers of ResNet-18 and ResNet-50 and on products of
/// factorizations. A kernel that nowhere gains a factor of 1.2 goes.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.HandwrittenTable

open TensorNets
open TorchSharp

type private Case =
    {
        Kernel: string
        Size: string
        Images: int64
        /// What gradients are asked for; none: the product alone is measured.
        Leaves: torch.Tensor list
        Own: unit -> torch.Tensor
        Theirs: unit -> torch.Tensor
    }

let private generator = new torch.Generator(1UL)
let private random (dtype: torch.ScalarType) (shape: int64 list) = torch.randn(List.toArray shape, generator = generator).``to``(dtype)
let private leaf shape = (random torch.float32 shape).requires_grad_ true

let private product (dtype: torch.ScalarType) (m: int64, k: int64, n: int64) (form: string) =
    let a = if form[0] = 'T' then (random dtype [ k; m ]).t() else random dtype [ m; k ]
    let b = if form[1] = 'T' then (random dtype [ n; k ]).t() else random dtype [ k; n ]

    {
        Kernel = (if dtype = torch.float32 then "product, single" else "product, double")
        Size = $"{m}×{k} by {k}×{n} {form}"
        Images = 1L
        Leaves = []
        Own = fun () -> MatMul.Of(a, b)
        Theirs = fun () -> a.matmul b
    }

let private transpose (count: int64) (rows: int64, columns: int64) =
    let x = random torch.float32 [ count; rows; columns ]

    {
        Kernel = "transpose"
        Size = $"{rows}×{columns}"
        Images = count
        Leaves = []
        Own = fun () -> Transpose.Of(int count, int rows, int columns, x)
        Theirs = fun () -> x.transpose(1L, 2L).contiguous()
    }

let private pointwise images (s: int64, t: int64, size: int64) =
    let kernel, x = leaf [ t; s; 1L; 1L ], leaf [ images; s; size; size ]

    {
        Kernel = "pointwise"
        Size = $"{s}→{t}, 1×1, {size}×{size}"
        Images = images
        Leaves = [ kernel; x ]
        Own = fun () -> PointwiseConvolution.Of(Channels.First, kernel.flatten 1L, null, x)
        Theirs = fun () -> torch.nn.functional.conv2d (x, kernel)
    }

let private depthwise images rows columns (channels: int64, size: int64) =
    let kernel, x = leaf [ channels; 1L; rows; columns ], leaf [ images; channels; size; size ]
    let window = ConvWindow.Of(x.shape, int rows, int columns, int rows / 2, int columns / 2)

    {
        Kernel = "depthwise"
        Size = $"{channels}, {rows}×{columns}, {size}×{size}"
        Images = images
        Leaves = [ kernel; x ]
        Own = fun () -> DepthwiseConvolution.Of(window, kernel.view (channels, -1L), x)
        Theirs = fun () -> torch.nn.functional.conv2d (x, kernel, null, [| 1L; 1L |], [| rows / 2L; columns / 2L |], [| 1L; 1L |], channels)
    }

let private dense images (channels: int64, size: int64) =
    let kernel, x = leaf [ channels; channels; 3L; 3L ], leaf [ images; channels; size; size ]
    let window = ConvWindow.Of(x.shape, 3, 3, 1, 1)

    {
        Kernel = "dense 3×3"
        Size = $"{channels}→{channels}, 3×3, {size}×{size}"
        Images = images
        Leaves = [ kernel; x ]
        Own = fun () -> DenseConvolution.Of(window, kernel, null, x)
        Theirs = fun () -> torch.nn.functional.conv2d (x, kernel, null, [| 1L; 1L |], [| 1L; 1L |])
    }

let private cp (channels: int64, rank: int64) =
    let c, a, b = leaf [ channels; rank ], leaf [ channels; rank ], leaf [ 9L; rank ]
    let pairs () = a.unsqueeze(1L).mul(b).view(channels * 9L, rank)

    {
        Kernel = "kernel of CP"
        Size = $"{channels}×{channels}×9, rank {rank}"
        Images = 1L
        Leaves = [ c; a; b ]
        Own = fun () -> CpKernel.Of(c, a, b)
        Theirs = fun () -> c.matmul(pairs().t()).view(channels, channels, 9L)
    }

/// (G + λ)⁻¹ D of three λ: by the tridiagonal form, and by eigenvectors.
let private tridiagonal (n: int64, wide: int64) =
    let root = random torch.float64 [ n; n + 5L ]
    let gram, d = root.matmul (root.t ()), random torch.float64 [ n; wide ]
    let lambdas = [ 0.1; 1.0; 10.0 ]

    {
        Kernel = "tridiagonal"
        Size = $"{n}, {wide} columns"
        Images = 1L
        Leaves = []
        Own =
            fun () ->
                let t = Tridiagonal.reduce gram
                let transformed = Tridiagonal.into t d
                let u = torch.empty_like transformed

                for lambda in lambdas do
                    Tridiagonal.solve t lambda transformed null u |> ignore

                Tridiagonal.back t u
        Theirs =
            fun () ->
                let struct (k, q) = torch.linalg.eigh gram
                let transformed = q.mT.matmul d

                let u =
                    lambdas
                    |> List.map (fun lambda ->
                        let u = transformed.div (k.add(lambda.ToScalar()).unsqueeze 1L)
                        u.mul(transformed.add (u.mul (lambda.ToScalar()))).sum().item<float>() |> ignore
                        u)
                    |> List.last

                q.matmul u
    }

let private cases () =
    [
        for dtype in [ torch.float64; torch.float32 ] do
            for size, form in
                [
                    (256L, 2304L, 200L), "NN"
                    (200L, 256L, 2304L), "TN"
                    (256L, 200L, 2304L), "NT"
                    (64L, 256L, 2304L), "TN"
                    (576L, 256L, 64L), "NN"
                    (200L, 256L, 200L), "TN"
                    (64L, 576L, 64L), "NT"
                    (32L, 64L, 32L), "TN"
                    (64L, 64L, 2304L), "NN"
                    (1024L, 1024L, 1024L), "NN"
                ] do
                product dtype size form

        for images in [ 1L; 8L ] do
            for shape in [ 64L, 3136L; 256L, 784L; 512L, 196L; 2048L, 49L ] do
                transpose images shape

        for images in [ 1L; 8L ] do
            for sizes in
                [
                    64L, 64L, 56L
                    64L, 256L, 56L
                    256L, 64L, 56L
                    512L, 128L, 28L
                    128L, 512L, 28L
                    1024L, 256L, 14L
                    256L, 1024L, 14L
                    2048L, 512L, 7L
                    512L, 2048L, 7L
                ] do
                pointwise images sizes

        for images in [ 1L; 8L ] do
            for sizes in [ 64L, 56L; 128L, 28L; 256L, 14L; 512L, 7L ] do
                depthwise images 3L 3L sizes

            depthwise images 3L 1L (64L, 56L)
            depthwise images 1L 3L (256L, 14L)

        for images in [ 1L; 8L ] do
            for sizes in [ 64L, 56L; 128L, 28L; 256L, 14L; 512L, 7L ] do
                dense images sizes

        for sizes in [ 64L, 64L; 64L, 200L; 128L, 128L; 256L, 200L; 512L, 64L ] do
            cp sizes

        for sizes in [ 32L, 576L; 64L, 576L; 96L, 576L; 128L, 1152L; 200L, 2304L; 362L, 1152L ] do
            tridiagonal sizes
    ]

let private forward (f: unit -> torch.Tensor) () =
    use _ = torch.no_grad ()
    use _ = torch.NewDisposeScope()
    f () |> ignore

let private step (leaves: torch.Tensor list) (slope: torch.Tensor) (f: unit -> torch.Tensor) () =
    use _ = torch.NewDisposeScope()

    for leaf in leaves do
        leaf.grad <- null

    (f ()).backward [| slope |]

/// How often each way is called in its turn, and the turns.
let private calls, private rounds = 4, 15

let private row (case: Case) =
    use _ = torch.NewDisposeScope()
    let slope = (use _ = torch.no_grad () in torch.ones_like (case.Theirs()))
    let timed act = [ case.Own; case.Theirs ] |> List.map act |> Measure.repeated calls rounds |> List.map fst
    let alone = timed forward
    let gain (times: float list) = if times.IsEmpty then "" else $"{times[1] / times[0]:F2}"
    let steps = if case.Leaves.IsEmpty then [] else timed (step case.Leaves slope)

    [ case.Kernel; case.Size; string case.Images; $"{alone[0]:F3}"; gain alone; gain steps ]

/// Prints the table, of kernels whose names begin so.
let run (wanted: string) =
    torch.set_num_threads 1
    use _ = torch.NewDisposeScope()

    Measure.table
        [ "kernel"; "size"; "images"; "own ms"; "libtorch / own"; "step: libtorch / own" ]
        (cases () |> List.filter _.Kernel.StartsWith(wanted, System.StringComparison.Ordinal) |> List.map row)
