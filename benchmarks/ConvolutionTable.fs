/// Convolutions of all channels with all as layers make them, against libtorch's own.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.ConvolutionTable

open TensorNets
open TorchSharp

/// Images, channels, height and width.
let private cases =
    [
        for images in [ 1L; 8L ] do
            for channels, size in
                [
                    16L, 32L
                    32L, 28L
                    64L, 56L
                    64L, 14L
                    64L, 7L
                    128L, 28L
                    128L, 7L
                    256L, 14L
                    256L, 7L
                    512L, 7L
                ] do
                images, channels, size
    ]

let private row threads (images: int64, channels: int64, size: int64) =
    use _ = torch.NewDisposeScope()
    torch.set_num_threads threads
    use generator = new torch.Generator(1UL)
    let random (shape: int64[]) = torch.randn(shape, generator = generator).requires_grad_ true
    let kernel, x = random [| channels; channels; 3L; 3L |], random [| images; channels; size; size |]
    let window = ConvWindow.Of(x.shape, 3, 3, 1, 1)
    let ones = [| 1L; 1L |]
    let theirs () = torch.nn.functional.conv2d (x, kernel, null, ones, ones, ones)
    let own () = DenseConvolution.Of(window, kernel, null, x)
    let slope = torch.ones_like x

    let forward (f: unit -> torch.Tensor) () =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        f () |> ignore

    let step (f: unit -> torch.Tensor) () =
        use _ = torch.NewDisposeScope()
        kernel.grad <- null
        x.grad <- null
        (f ()).backward [| slope |]

    let times = Measure.repeated 5 15 [ forward theirs; forward own; step theirs; step own ] |> List.map snd

    [
        $"{channels}→{channels}, 3×3, {size}×{size}"
        string images
        string threads
        $"{times[0]:F3}"
        $"{times[1] / times[0]:F2}"
        $"{times[2]:F3}"
        $"{times[3] / times[2]:F2}"
        (if Kernels.pays (ConvCall.Dense(images, channels, channels, window)) then "yes" else "no")
    ]

/// Prints the table.
let run () =
    let before = torch.get_num_threads ()

    let rows =
        [
            for threads in [ 1; 2 ] do
                for case in cases -> row threads case
        ]

    torch.set_num_threads before

    Measure.table
        [
            "convolution"
            "images"
            "threads"
            "forward ms"
            "own / libtorch's"
            "step ms"
            "own / libtorch's"
            "used"
        ]
        rows
