namespace TensorNets.Benchmarks

open BenchmarkDotNet.Attributes
open TensorNets
open TorchSharp

/// Sweeps of the factorization engine on 256×9×256 in float64, on one thread, as ratios to a float64 product of 1024³ in the same run. A
/// CP-ALS sweep counts a third of that product's operations (3·2·N·R), a Tucker-2 sweep a fourteenth (2·2·N·64): half the product's rate is
/// a ratio of .66 for CP, two fifths are .18 for Tucker-2.
[<WarmupCount(3); IterationCount(15); MedianColumn>]
type FactorizeSweeps() =
    let mutable acts: Map<string, unit -> unit> = Map.empty
    let run name = acts[name]()

    [<GlobalSetup>]
    member _.Setup() =
        torch.set_num_threads 1
        Measure.keepMemory ()
        let least format = FactorizeCases.settled 3 format

        let bounded format =
            let case = FactorizeCases.settled 8 format
            FactorizeCases.balance case |> ignore
            case

        let alsCp, alsTucker = least FactorizeCases.cp, least FactorizeCases.tucker2
        let epcCp, epcTucker = bounded FactorizeCases.cp, bounded FactorizeCases.tucker2

        acts <-
            Map
                [
                    "product", FactorizeCases.product 1024L 1024L 1024L |> snd
                    "als cp", (fun () -> FactorizeCases.als alsCp |> ignore)
                    "epc cp", (fun () -> CorrectionSweep.once epcCp |> ignore)
                    "als tucker2", (fun () -> FactorizeCases.als alsTucker |> ignore)
                    "epc tucker2", (fun () -> CorrectionSweep.once epcTucker |> ignore)
                    "balance tucker2", FactorizeCases.balanceAgain (least FactorizeCases.tucker2)
                    "balance chain", FactorizeCases.balanceAgain (least FactorizeCases.chain)
                ]

    [<Benchmark(Baseline = true, Description = "product 1024 x 1024 x 1024")>]
    member _.Product() = run "product"

    [<Benchmark(Description = "ALS sweep, CP 200")>]
    member _.CpLeastSquares() = run "als cp"

    [<Benchmark(Description = "EPC block sweep, CP 200")>]
    member _.CpCorrection() = run "epc cp"

    [<Benchmark(Description = "ALS (HOOI) sweep, Tucker-2 (64, 64)")>]
    member _.TuckerLeastSquares() = run "als tucker2"

    [<Benchmark(Description = "EPC block sweep, Tucker-2 (64, 64)")>]
    member _.TuckerCorrection() = run "epc tucker2"

    [<Benchmark(Description = "balance of Tucker-2 (64, 64)")>]
    member _.TuckerBalance() = run "balance tucker2"

    [<Benchmark(Description = "balance of TC (8, 8, 8)")>]
    member _.ChainBalance() = run "balance chain"
