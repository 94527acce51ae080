/// Layers against TorchSharp's own Conv2d and against the same stages written by hand as a Sequential of TorchSharp's convolutions.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.LayerTable

open TensorNets
open TorchSharp

type private Dense = torch.nn.Module<torch.Tensor, torch.Tensor>

let private orStop result =
    match result with
    | Ok value -> value
    | Error errors -> raise (TensorNetException(List.toArray errors))

let private formats =
    [
        "Tucker-2 (64, 64)", Format.Tucker2(64, 64)
        "CP 64", Format.CP 64
        "CP 200", Format.CP 200
        "tensor chain (8, 8, 8)", Format.TensorChain [ 8; 8; 8 ]
    ]

let private sizes = [ 256L, 14L; 64L, 56L; 512L, 7L ]

let private conv (s: int64) (t: int64) (k: int64) (groups: int64) (bias: bool) : Dense =
    torch.nn.Conv2d(s, t, k, padding = k / 2L, groups = groups, bias = bias)

/// Channels in the middle and groups of the stages written by hand.
let private middle (format: Format) =
    match format with
    | Format.CP rank -> int64 rank, int64 rank
    | Format.Tucker2(rank, _) -> int64 rank, 1L
    | Format.TensorChain ranks -> int64 (ranks[0] * ranks[1]), int64 ranks[0]
    | other -> invalidArg (nameof format) $"{other} has no stages written by hand."

/// Three convolutions: 1×1, the kernel's in groups, 1×1.
let private byHand (channels: int64) (format: Format) : Dense =
    let rank, groups = middle format
    torch.nn.Sequential(conv channels rank 1L 1L false, conv rank rank 3L groups false, conv rank channels 1L 1L true)

/// Multiplications of the dense layer over those of the stages written by hand.
let private flopRatio (channels: int64) (format: Format) =
    let rank, groups = middle format
    float (9L * channels * channels) / float (2L * channels * rank + 9L * rank * rank / groups)

let private inference (layer: Dense) (x: torch.Tensor) () =
    use _ = torch.no_grad ()
    use _ = torch.NewDisposeScope()
    layer.call x |> ignore

let private step (layer: Dense) (x: torch.Tensor) () =
    use _ = torch.NewDisposeScope()
    layer.zero_grad ()
    layer.call(x).sum().backward()

/// Calls of a layer in its turn, for the columns of a layer that is called again; the last three are of single calls, each after those of
/// the other layers.
let private calls = 5

let private row rounds threads training images (channels: int64, size: int64) (name: string, format: Format) =
    use _ = torch.NewDisposeScope()
    torch.set_num_threads threads
    use generator = new torch.Generator(1UL)

    let x = torch.randn([| images; channels; size; size |], generator = generator).requires_grad_ training

    use dense = torch.nn.Conv2d(channels, channels, 3L, padding = 1L)
    use hand = byHand channels format
    use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 format dense |> orStop
    let act layer = if training then step layer x else inference layer x

    // Least times: what else the machine does only adds.
    let acts = [ act dense; act hand; act layer ]
    let times = Measure.repeated calls rounds acts |> List.map snd
    let single = Measure.times rounds acts |> List.map snd

    let lowering () =
        use _ = torch.set_grad_enabled training
        layer.LoweringFor(images, channels, size, size)

    let ratio = flopRatio channels format

    [
        $"{channels}→{channels}, {size}×{size}"
        name
        string images
        string threads
        (if training then "step" else "forward")
        $"{times[0]:F3}"
        $"{times[1] / times[0]:F2}"
        $"{times[2] / times[0]:F2}"
        $"{times[2] / times[1]:F2}"
        string (lowering ())
        $"{ratio:F1}"
        $"{100.0 * times[0] / times[2] / ratio:F0} %%"
        $"{single[2] / single[0]:F2}"
        $"{single[2] / single[1]:F2}"
        $"{100.0 * single[0] / single[2] / ratio:F0} %%"
    ]

/// Prints the table; of given channels and images only, unless they are 0.
let run (channels: int64) (images: int64) =
    let threads = torch.get_num_threads ()
    let wanted asked value = asked = 0L || asked = value

    Measure.table
        [
            "convolution 3×3"
            "format"
            "images"
            "threads"
            "pass"
            "dense ms"
            "by hand / dense"
            "layer / dense"
            "layer / by hand"
            "lowering"
            "FLOP ratio"
            "share reached"
            "single: layer / dense"
            "layer / by hand"
            "share"
        ]
        [
            for threads in [ 1; 2 ] do
                for training in [ false; true ] do
                    for size in sizes |> List.filter (fst >> wanted channels) do
                        for images in [ 1L; 8L ] |> List.filter (wanted images) do
                            for format in formats -> row 25 threads training images size format
        ]

    torch.set_num_threads threads
