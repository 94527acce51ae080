/// What the sensitivity and its gradient cost a training step: against the layer's own forward and backward pass.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.SensitivityTable

open TensorNets
open TorchSharp

let private orStop result =
    match result with
    | Ok value -> value
    | Error errors -> raise (TensorNetException(List.toArray errors))

let private specOf (format: Format) =
    match Format.spec [ 256; 9; 256 ] format with
    | Ok spec -> spec
    | Error errors -> invalidOp $"%A{errors}"

let private formats =
    [
        "CP 200", Format.CP 200, 5
        "Tucker-2 (64, 64)", Format.Tucker2(64, 64), 5
        "tensor chain (8, 8, 8)", Format.TensorChain [ 8; 8; 8 ], 15
        "tensor train (64, 64)", Format.TensorTrain [ 64; 64 ], 15
    ]

let private row (name: string, format: Format, target: int) =
    use _ = torch.NewDisposeScope()
    use conv = torch.nn.Conv2d(256L, 256L, struct (3L, 3L), padding = struct (1L, 1L))
    use network = Network.random torch.float32 1UL (specOf format)
    use layer = Layers.conv2dOf None conv network |> orStop
    use generator = new torch.Generator(1UL)
    let images = torch.randn ([| 8L; 256L; 14L; 14L |], generator = generator)

    let pass () =
        use _ = torch.NewDisposeScope()
        layer.zero_grad ()
        layer.forward(images).square().mean().backward()

    // Into the gradients that the pass has left, as in a training step.
    let sensitivity () =
        use _ = torch.NewDisposeScope()
        layer.Sensitivity().backward()

    let values () =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        layer.Sensitivity() |> ignore

    let measured = Measure.times 61 [ pass; sensitivity; values ]
    let times = measured |> List.map fst
    let least = measured |> List.map snd
    let terms = Spec.sensitivityTerms layer.Spec |> List.map (snd >> Plan.make Order.Auto)
    let steps = terms |> List.collect _.Steps |> List.distinctBy _.Key

    [
        name
        $"{times[0]:F2}"
        $"{times[1]:F3}"
        $"{times[2]:F3}"
        $"{100.0 * times[1] / times[0]:F1} %%"
        $"{100.0 * least[1] / least[0]:F1} %%"
        $"{target} %%"
        $"{steps.Length}"
        $"{(steps |> List.sumBy _.Flops) / 1e6:F2}"
        $"{(steps |> List.map _.Flops |> List.max) / 1e6:F2}"
    ]

/// Prints the table.
let run () =
    torch.set_num_threads 1

    Measure.table
        [
            "256→256, 3×3, batch 8, 14×14"
            "pass ms"
            "S + gradient ms"
            "S alone ms"
            "ratio"
            "of least times"
            "target"
            "steps"
            "MFLOP"
            "largest step MFLOP"
        ]
        (formats |> List.map row)
