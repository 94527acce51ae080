/// How long plans take to find, and what they find.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.PlannerTable

open TensorNets

let private spec (shape: int list) (format: Format) =
    match Format.spec shape format with
    | Ok spec -> spec
    | Error errors -> invalidOp $"%A{errors}"

/// A ring of ten cores in which every core has a bond with the one across as well: 25 axes.
let private wheel =
    let n = 10

    let bonds =
        [ for i in 0 .. n - 1 -> $"r{i}", [ i; (i + 1) % n ] ]
        @ [ for i in 0 .. n / 2 - 1 -> $"x{i}", [ i; i + n / 2 ] ]

    let open' = [ for i in 0 .. n - 1 -> $"i{i}", [ i ] ]
    let axes = bonds @ open'

    Spec.create
        (axes |> List.mapi (fun i (name, _) -> Axis name, 2 + i % 7))
        [
            for core in 0 .. n - 1 ->
                {
                    Name = Spec.positionName core
                    Axes = axes |> List.filter (snd >> List.contains core) |> List.map (fst >> Axis)
                }
        ]
        (open' |> List.map (fst >> Axis))
    |> function
        | Ok spec -> spec
        | Error errors -> invalidOp $"%A{errors}"

let private row (name: string) (specs: Spec list) =
    let plans () = specs |> List.map (Plan.make Order.Auto)
    let ms = Measure.medians 11 [ fun () -> plans () |> ignore ]
    let found = plans ()

    [
        name
        $"{specs |> List.sumBy _.Cores.Length}"
        $"{ms.Head:F2}"
        $"{found |> List.sumBy _.Flops:G4}"
        $"{found |> List.map Plan.peakEntries |> List.max:G4}"
    ]

/// Prints the table.
let run () =
    let terms format = Spec.sensitivityTerms (spec [ 256; 9; 256 ] format) |> List.map snd

    Measure.table
        [ "plan of"; "cores"; "ms"; "FLOPs"; "peak entries" ]
        [
            row "S, CP 200" (terms (Format.CP 200))
            row "S, Tucker-2 (64, 64)" (terms (Format.Tucker2(64, 64)))
            row "S, tensor chain (8, 8, 8)" (terms (Format.TensorChain [ 8; 8; 8 ]))
            row "S, tensor train (64, 64)" (terms (Format.TensorTrain [ 64; 64 ]))
            row "a wheel of 10 cores, exact" [ wheel ]
            row "its squared norm, greedy" [ Spec.normSq wheel ]
            row "a train of 100 cores" [ Chains.spec false 100 ]
            row "its squared norm" [ Spec.normSq (Chains.spec false 100) ]
            row "a ring of 100 cores" [ Chains.spec true 100 ]
            row "its squared norm" [ Spec.normSq (Chains.spec true 100) ]
        ]
