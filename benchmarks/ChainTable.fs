/// What S costs for long chains: the FLOPs of the plans of its terms, the time of planning, and the times of the functions of
/// `Sensitivity`, which plan at each call (a layer plans once).
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.ChainTable

open TensorNets
open TorchSharp

let private row (closed: bool) (cores: int) =
    use _ = torch.NewDisposeScope()
    let spec = Chains.spec closed cores
    use network = Network.random torch.float32 1UL spec
    let terms = Spec.sensitivityTerms spec |> List.map (snd >> Plan.make Order.Auto)

    let distinct = terms |> List.collect _.Steps |> List.distinctBy _.Key |> List.sumBy _.Flops

    for core in network.Cores do
        // So that S of many cores stays in the range of float32: T of norm one.
        core.mul_ (torch.tensor (0.5f, dtype = torch.float32)) |> ignore
        core.requires_grad_ true |> ignore

    let plan () = Sensitivity.plan spec |> ignore
    let bonds () = FreeBonds.ofSpec spec |> ignore
    let value () = Sensitivity.value network |> ignore

    let gradient () =
        use _ = torch.NewDisposeScope()
        (Sensitivity.total network).backward()

    let times = Measure.medians (if cores > 16 then 7 else 21) [ plan; value; gradient; bonds ]

    [
        (if closed then "chain" else "train") + $" of {cores}"
        $"{(terms |> List.sumBy _.Flops) / 1e6:F2}"
        $"{distinct / 1e6:F2}"
        $"{(Sensitivity.plan spec).Flops / 1e6:F3}"
        yield! times |> List.map (fun t -> $"{t:F2}")
    ]

/// Prints the table.
let run () =
    torch.set_num_threads 1

    for closed in [ false; true ] do
        Measure.table
            [
                "S of a tensor"
                "MFLOP, terms one by one"
                "steps in common once"
                "as planned"
                "plan ms"
                "plan, value ms"
                "plan, value, gradient ms"
                "bonds planned ms"
            ]
            [ for cores in [ 4; 8; 16; 32; 64 ] -> row closed cores ]
