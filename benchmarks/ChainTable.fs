/// What S costs for long chains: time of planning, FLOPs, time of a run and of a run with its gradient.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.ChainTable

open TensorNets
open TorchSharp

let private row (closed: bool) (cores: int) =
    use _ = torch.NewDisposeScope()
    let spec = Chains.spec closed cores
    use network = Network.random torch.float32 1UL spec
    let flops () = Spec.sensitivityTerms spec |> List.sumBy (fun (_, term) -> (Plan.make Order.Auto term).Flops)
    let rounds = if cores > 16 then 5 else 11

    let value () = Sensitivity.value network |> ignore

    let gradient () =
        use _ = torch.NewDisposeScope()
        (Sensitivity.total network).backward()

    let planning = Measure.medians rounds [ fun () -> Sensitivity.plan spec |> ignore ]

    // The functions of `Sensitivity` plan at each call; a layer plans once. What planning takes is subtracted.
    let values = Measure.medians rounds [ value ]

    for core in network.Cores do
        core.requires_grad_ true |> ignore

    let gradients = Measure.medians rounds [ gradient ]
    let plan = planning.Head

    [
        (if closed then "chain" else "train") + $" of {cores}"
        $"{plan:F2}"
        $"{flops () / 1e6:F2}"
        $"{max 0.0 (values.Head - plan):F2}"
        $"{max 0.0 (gradients.Head - plan):F2}"
    ]

/// Prints the table.
let run () =
    torch.set_num_threads 1

    for closed in [ false; true ] do
        Measure.table
            [ "S of a tensor"; "plan ms"; "MFLOP, terms one by one"; "run ms"; "with gradient ms" ]
            [ for cores in [ 4; 8; 16; 32; 64 ] -> row closed cores ]
