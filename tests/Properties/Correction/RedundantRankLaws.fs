/// Targets of low rank by networks with more ranks than they need, at loose bounds: as pruned and trained kernels are. `LAW_CASES` raises
/// the number of cases, of which each law here takes a fifth.
module RedundantRankLaws

open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

/// The format of the target, and the one that is asked for, over a shape.
type private Pair = { Shape: int list; Low: Format; High: Format }

let private tree r s =
    let pair a b = DimTree.Split [ r, DimTree.Mode a; r, DimTree.Mode b ]
    DimTree.Split [ s, pair 0 1; s, pair 2 3 ]

let private pairs =
    let kernel low high = { Shape = [ 6; 9; 8 ]; Low = low; High = high }
    let four low high = { Shape = [ 4; 5; 3; 6 ]; Low = low; High = high }

    [
        kernel (Format.TensorTrain [ 2; 2 ]) (Format.TensorTrain [ 6; 8 ])
        kernel (Format.TensorTrain [ 1; 2 ]) (Format.TensorTrain [ 4; 5 ])
        kernel (Format.TensorChain [ 2; 2; 2 ]) (Format.TensorChain [ 3; 3; 3 ])
        kernel (Format.Tucker [ 2; 2; 2 ]) (Format.Tucker [ 5; 6; 5 ])
        kernel (Format.Tucker2(2, 2)) (Format.Tucker2(6, 6))
        kernel (Format.CP 2) (Format.CP 5)
        kernel (Format.BlockTerm(2, [ 1; 2; 2 ])) (Format.BlockTerm(2, [ 3; 3; 3 ]))
        four (Format.TensorTrain [ 2; 2; 2 ]) (Format.TensorTrain [ 4; 6; 5 ])
        four (Format.HierarchicalTucker(tree 2 2)) (Format.HierarchicalTucker(tree 2 3))
    ]

type private Case = { Pair: Pair; Bound: float; Noise: float; Seed: int }

let private drawn =
    Arb.fromGen (
        gen {
            let! pair = Gen.elements pairs
            let! bound = Gen.elements [ 0.1; 0.2; 0.3; 0.5; 0.7; 0.8; 0.9; 0.95 ]
            let! noise = Gen.elements [ 1e-8; 1e-7; 1e-6; 1e-5; 1e-4; 1e-3; 1e-2 ]
            let! seed = Gen.choose (1, 100000)
            return { Pair = pair; Bound = bound; Noise = noise; Seed = seed }
        }
    )

let private specOf shape format =
    match Format.spec shape format with
    | Ok spec -> spec
    | Error errors -> failtestf "%A" errors

/// Formats that hold any tensor over a shape, a bound and a seed.
let private rounded =
    Arb.fromGen (
        gen {
            let! format =
                Gen.elements [ Format.TensorTrain [ 6; 8 ]; Format.Tucker2(6, 8); Format.Tucker [ 6; 9; 8 ] ]

            let! bound = Gen.elements [ 1e-8; 1e-7; 1e-6; 1e-5; 1e-4; 1e-3; 1e-2; 0.1; 0.5; 0.9 ]
            let! seed = Gen.choose (1, 100000)
            return format, bound, seed
        }
    )

let private target (case: Case) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed (specOf case.Pair.Shape case.Pair.Low))

    clean.plus ((noise (case.Seed + 1) clean.shape).mul(clean.abs().mean().mul(Num.tensor case.Noise)))

let private sweeps = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 100 } }

/// How much larger than the size that S says an entry of a core may be. A direction that carries the share p of T and meets three cores is
/// balanced where its entry in the core between them is 1/√p; those below 1e-10 are cut. Where they were not, entries of 1e10 and more were
/// seen.
let private multiple = 1e5

let private meetsEverything (k: torch.Tensor) (delta: float) (start: float) (fit: Fit) =
    let s = Sensitivity.value fit.Network
    let error = k.minus(Contraction.reconstruct fit.Network).norm().number()
    Expect.isTrue fit.MeetsBound "meets the bound"
    Expect.isLessThanOrEqual error (delta * (1.0 + 1e-9)) "the error"
    near 1e-9 s fit.Sensitivity "S is that of the network"
    Expect.isLessThanOrEqual s (start * (1.0 + 1e-9)) "S is not above that of the balanced start"

    for before, after in Seq.pairwise fit.Trace do
        Expect.isLessThanOrEqual after (before * (1.0 + 1e-12)) "S of a sweep"

    let size = System.Math.Pow(s, 1.0 / (2.0 * float (fit.Network.Cores.Count - 1)))

    for core in fit.Network.Cores do
        Expect.isLessThanOrEqual (core.abs().max().number()) (multiple * size) "entries"

let all =
    testList
        "redundant ranks"
        [
            costlyLawOver
                drawn
                "the correction at a loose bound meets it, with an S no larger than at its start and cores no larger than S says"
                (fun case ->
                    let k = target case
                    let spec = specOf case.Pair.Shape case.Pair.High
                    let fit = Factorize.runSpec sweeps spec k |> ok
                    let delta = case.Bound * k.norm().number()

                    if fit.Error <= delta then
                        let start =
                            match Gauge.truncate fit.Network |> Gauge.balance with
                            | Ok balanced -> min fit.Sensitivity (Sensitivity.value balanced)
                            | Error _ -> fit.Sensitivity

                        Factorize.stable sweeps (Some(ErrorBound.Relative case.Bound)) case.Pair.High k
                        |> ok
                        |> meetsEverything k delta start

                        Correction.epc sweeps.Sweeps (ErrorBound.Absolute delta) k fit.Network
                        |> ok
                        |> meetsEverything k delta start)
            costlyLawOver
                rounded
                "a float32 result that says that it meets its bound does, measured in float64, and an error says that float32 cannot"
                (fun (format, bound, seed) ->
                    let k = (noise seed [ 6L; 9L; 8L ]).``to`` torch.float32
                    let wide = k.``to`` torch.float64
                    let delta = bound * wide.norm().number()

                    match Factorize.stable sweeps (Some(ErrorBound.Relative bound)) format k with
                    | Ok fit ->
                        Expect.isTrue fit.MeetsBound "meets the bound"
                        use found = Network.copyAs torch.float64 fit.Network
                        let error = wide.minus(Contraction.reconstruct found).norm().number()
                        Expect.isLessThanOrEqual error (delta * (1.0 + 1e-9)) "the error"
                    | Error [ TensorNetError.Unreachable(asked, reached) ] ->
                        near 1e-6 delta asked "the bound that the error names"
                        Expect.isGreaterThan reached delta "the error that it names"
                        Expect.isLessThan bound 1e-6 "only what rounding forbids is refused"
                    | Error errors -> failtestf "%A" errors)
            testCase "a listener that throws leaves no tensor behind, whenever it does" (fun () ->
                use scope = torch.NewDisposeScope()
                let k = noise 3 [ 6L; 9L; 8L ]
                let bound = ErrorBound.Relative 0.3
                let before = scope.DisposablesCount

                for last in 1..12 do
                    let reports = ref 0

                    let listener =
                        { new System.IProgress<FitProgress> with
                            member _.Report _ =
                                reports.Value <- reports.Value + 1

                                if reports.Value >= last then
                                    raise (System.TimeoutException())
                        }

                    let options =
                        { Factorize.defaults with
                            Starts = 2
                            Sweeps = { SweepOptions.defaults with Progress = Some listener; MaxSweeps = 5 }
                        }

                    let calls =
                        [
                            fun () -> Factorize.stableToBound options bound FormatFamily.TensorTrain k
                            fun () -> Factorize.stable options (Some bound) (Format.TensorTrain [ 6; 8 ]) k
                            fun () -> Factorize.run options (Format.CP 4) k
                        ]

                    for call in calls do
                        reports.Value <- 0

                        try
                            match call () with
                            | Ok fit -> (fit :> System.IDisposable).Dispose()
                            | Error _ -> ()
                        with :? System.TimeoutException ->
                            ()

                    Expect.equal scope.DisposablesCount before $"tensors of the caller after report {last}")
        ]
