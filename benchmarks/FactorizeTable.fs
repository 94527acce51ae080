/// How fast sweeps of the factorization engine are, against the rate of a matrix product of the same machine in the same run.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.FactorizeTable

open System
open TensorNets
open TorchSharp

let private entries (shape: int list) = shape |> List.fold (fun n d -> n * float d) 1.0

/// Operations counted for a sweep: three products of K with a factor of R columns for CP, two for Tucker-2, whose core reuses one.
let private counted =
    function
    | Format.CP rank -> 3.0 * 2.0 * entries FactorizeCases.shape * float rank
    | _ -> 2.0 * 2.0 * entries FactorizeCases.shape * 64.0

let private speed () =
    let square, squareRun = FactorizeCases.product 1024L 1024L 1024L
    let tall, tallRun = FactorizeCases.product 2304L 256L 200L

    let alsCp, epcCp =
        FactorizeCases.settled 3 FactorizeCases.cp, FactorizeCases.settled 8 FactorizeCases.cp

    let alsTucker, epcTucker =
        FactorizeCases.settled 3 FactorizeCases.tucker2, FactorizeCases.settled 8 FactorizeCases.tucker2

    let balanceTucker, balanceChain =
        FactorizeCases.settled 3 FactorizeCases.tucker2, FactorizeCases.settled 3 FactorizeCases.chain

    let rounds = 15

    FactorizeCases.balance epcCp |> ignore
    FactorizeCases.balance epcTucker |> ignore

    let measured =
        Measure.times
            rounds
            [
                squareRun
                tallRun
                fun () -> FactorizeCases.als alsCp |> ignore
                fun () -> CorrectionSweep.once epcCp |> ignore
                fun () -> FactorizeCases.als alsTucker |> ignore
                fun () -> CorrectionSweep.once epcTucker |> ignore
                FactorizeCases.balanceAgain balanceTucker
                FactorizeCases.balanceAgain balanceChain
                fun () -> FactorizeCases.error alsCp |> ignore
                fun () -> FactorizeCases.error alsTucker |> ignore
            ]
        |> List.toArray

    let time i = fst measured[i]
    let least i = snd measured[i]
    let rate flops i = flops / (1e6 * time i)
    let share flops i = 100.0 * flops / (1e6 * time i) / rate square 0
    let shareLeast flops i = 100.0 * flops / least i / (square / least 0)
    let row name i ratio ratioLeast target = [ name; $"{time i:F1}"; $"{least i:F1}"; ratio; ratioLeast; target ]
    let percent name flops i target = row name i $"{share flops i:F0} %%" $"{shareLeast flops i:F0} %%" target

    let times name i (per: int) target = row name i $"{time i / time per:F2} ×" $"{least i / least per:F2} ×" target

    Measure.table
        [ "256×9×256, float64"; "median ms"; "least ms"; "ratio"; "of least times"; "target" ]
        [
            row "product 1024 × 1024 × 1024" 0 $"{rate square 0:F1} GFLOP/s" "" ""
            row "product 2304 × 256 × 200" 1 $"{rate tall 1:F1} GFLOP/s" "" ""
            percent "ALS sweep, CP 200, of the product" (counted FactorizeCases.cp) 2 "≥ 50 %"
            times "EPC block sweep, CP 200, in ALS sweeps" 3 2 "≤ 2 ×"
            percent "ALS (HOOI) sweep, Tucker-2 (64,64)" (counted FactorizeCases.tucker2) 4 "≥ 40 %"
            times "EPC block sweep, Tucker-2, in its ALS sweeps" 5 4 "≤ 3 ×"
            times "balance of Tucker-2 (64,64), in CP ALS sweeps" 6 2 "≤ 5 ×"
            times "  in its own ALS sweeps" 6 4 "≤ 5 ×"
            times "balance of TC (8,8,8), in CP ALS sweeps" 7 2 "≤ 5 ×"
            times "explicit error, CP, in ALS sweeps" 8 2 ""
            times "explicit error, Tucker-2, in its ALS sweeps" 9 4 ""
        ]

/// S, ‖K − T‖² and their gradients at a point.
let private gradients (case: CorrectionSweep) =
    use _ = torch.NewDisposeScope()
    let objective = Objective.make case.Full.Spec case.Target case.Problem.Bound
    Objective.at objective (CoreVector.ofCores case.Cores) |> ignore

/// One step of truncated Newton from a point.
let private searchStep (case: CorrectionSweep) =
    use _ = torch.NewDisposeScope()
    let objective = Objective.make case.Full.Spec case.Target case.Problem.Bound
    let options = { Bound = case.Problem.Bound; Tolerance = 1e-7; Multiplier = None }

    AugmentedLagrangian.search options objective (fun _ -> false) (fun _ -> Some()) (CoreVector.ofCores case.Cores)
    |> ignore

let private memory () =
    Measure.returnMemory ()

    // Code is compiled and libraries are loaded by small cases of the same kinds.
    for format in [ Format.CP 8; Format.Tucker2(8, 8) ] do
        let case = FactorizeCases.noisy [ 32; 3; 32 ] format

        for _ in 1..3 do
            FactorizeCases.als case |> ignore

        let bounded = { case with Problem = { case.Problem with Bound = FactorizeCases.error case * 1.001 } }
        CorrectionSweep.once bounded |> ignore
        gradients bounded
        searchStep bounded

    let kernel = 8.0 * entries FactorizeCases.shape

    let row name format sweep =
        use _ = torch.NewDisposeScope()
        let case = FactorizeCases.settled 3 format
        let parts = case.Cores |> Array.sumBy (fun core -> 8.0 * float (core.numel ()))
        // What else the process takes, for code and managed memory, only adds.
        let took = List.min [ for _ in 1..7 -> Measure.peak (fun () -> sweep case) ]

        [
            name
            $"{took / 1e6:F1}"
            $"{kernel / 1e6:F1}"
            $"{parts / 1e6:F1}"
            $"{took / kernel:F2}"
            "≤ 4"
        ]

    Measure.table
        [ "peak beyond target and cores"; "MB"; "kernel MB"; "cores MB"; "in kernels"; "target" ]
        [
            row "ALS sweep, CP 200" FactorizeCases.cp (fun case -> FactorizeCases.als case |> ignore)
            row "ALS sweep, Tucker-2 (64,64)" FactorizeCases.tucker2 (fun case -> FactorizeCases.als case |> ignore)
            row "EPC block sweep, Tucker-2 (64,64)" FactorizeCases.tucker2 (fun case -> CorrectionSweep.once case |> ignore)
            for rank in [ 200; 724 ] do
                row $"EPC block sweep, CP {rank}" (Format.CP rank) (fun case -> CorrectionSweep.once case |> ignore)
                row $"S, error and gradients, CP {rank}" (Format.CP rank) gradients
                row $"a step of the search of all cores, CP {rank}" (Format.CP rank) searchStep
        ]

/// Time of an ALS sweep and of an EPC block sweep of CP, per N·R.
let private growth (cases: (int list * int) list) =
    let made =
        [
            for shape, rank in cases ->
                let als, epc = FactorizeCases.noisy shape (Format.CP rank), FactorizeCases.noisy shape (Format.CP rank)

                for _ in 1..3 do
                    FactorizeCases.als epc |> ignore

                let epc = { epc with Problem = { epc.Problem with Bound = FactorizeCases.error epc * 1.0001 } }
                FactorizeCases.balance epc |> ignore
                als, epc
        ]

    let measured =
        Measure.medians
            9
            [
                for als, epc in made do
                    fun () -> FactorizeCases.als als |> ignore
                    fun () -> CorrectionSweep.once epc |> ignore
            ]

    let per (shape, rank) ms = 1e9 * ms / (entries shape * float rank)

    Measure.table
        [ "CP of n×9×n"; "rank"; "N"; "ALS ms"; "EPC ms"; "ALS ps per N·R"; "EPC ps per N·R" ]
        [
            for (shape, rank), times in List.zip cases (List.chunkBySize 2 measured) ->
                [
                    $"n = {shape.Head}"
                    $"{rank}"
                    $"{entries shape:F0}"
                    $"{times[0]:F1}"
                    $"{times[1]:F1}"
                    $"{per (shape, rank) times[0]:F0}"
                    $"{per (shape, rank) times[1]:F0}"
                ]
        ]

/// Prints the tables.
let run () =
    torch.set_num_threads 1
    use _ = torch.no_grad ()
    memory ()
    Measure.keepMemory ()
    speed ()
    growth [ for n in [ 256; 362; 512; 810 ] -> [ n; 9; n ], 32 ]
    growth [ for rank in [ 20; 50; 100; 200 ] -> FactorizeCases.shape, rank ]
