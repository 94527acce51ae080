namespace TensorNets.Benchmarks

open BenchmarkDotNet.Attributes
open TensorNets
open TorchSharp

/// Sweeps of the factorisation engine on 256×9×256 in float64, on one thread, as ratios to a float64 product of 1024³ in the same run. A CP-ALS sweep counts a third of that
/// product's operations (3·2·N·R), a Tucker-2 sweep a fourteenth (2·2·N·64): half the product's rate is a ratio of .66 for CP, two fifths are .18 for Tucker-2.
[<WarmupCount(3); IterationCount(15); MedianColumn>]
type FactoriseSweeps() =
    let mutable acts: Map<string, unit -> unit> = Map.empty
    let run name = acts[name]()

    [<GlobalSetup>]
    member _.Setup() =
        torch.set_num_threads 1
        Measure.keepMemory ()
        let least format = FactoriseCases.settled 3 format

        let bounded format =
            let case = FactoriseCases.settled 8 format
            FactoriseCases.balance case |> ignore
            case

        let alsCp, alsTucker = least FactoriseCases.cp, least FactoriseCases.tucker2
        let epcCp, epcTucker = bounded FactoriseCases.cp, bounded FactoriseCases.tucker2

        acts <-
            Map
                [
                    "product", FactoriseCases.product 1024L 1024L 1024L |> snd
                    "als cp", (fun () -> FactoriseCases.als alsCp |> ignore)
                    "epc cp", (fun () -> Sweeping.once epcCp |> ignore)
                    "als tucker2", (fun () -> FactoriseCases.als alsTucker |> ignore)
                    "epc tucker2", (fun () -> Sweeping.once epcTucker |> ignore)
                    "balance tucker2", FactoriseCases.balanceAgain (least FactoriseCases.tucker2)
                    "balance chain", FactoriseCases.balanceAgain (least FactoriseCases.chain)
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
