/// What is cancelled at any report returns the best so far.
module CancellationLaws

open System
open System.Threading
open Expecto
open TorchSharp
open TensorNets
open Generators

/// Keeps the reports and cancels at the k-th; 0: before the first.
type private Canceller(k: int) =
    let source = new CancellationTokenSource()

    do
        if k = 0 then
            source.Cancel()

    member val Reports: FitProgress list = [] with get, set
    member _.Token = source.Token

    interface IProgress<FitProgress> with
        member this.Report progress =
            this.Reports <- progress :: this.Reports

            if this.Reports.Length = k then
                source.Cancel()

    interface IDisposable with
        member _.Dispose() = source.Dispose()

/// A run with the options given, told to stop at the k-th report.
let private cancelled (k: int) (sweeps: SweepOptions) (run: SweepOptions -> Result<Fit, TensorNetError list>) =
    use canceller = new Canceller(k)
    let result = run { sweeps with Progress = Some canceller; Cancellation = canceller.Token }
    result, List.rev canceller.Reports

/// The reports to cancel at: all of a short run, of a long one the first, the last, and a few between.
let private points (count: int) =
    if count <= 12 then
        [ 0..count ]
    else
        [ 0; 1; 2; 3 ] @ [ for i in 1..5 -> 3 + i * (count - 6) / 6 ] @ [ count - 1; count ]
    |> List.distinct

/// Noise that decays along every mode.
let private target (seed: int) (shape: int64 list) =
    shape
    |> List.indexed
    |> List.fold
        (fun (k: torch.Tensor) (mode, n) ->
            let place = Array.create shape.Length 1L
            place[mode] <- n

            let weights =
                torch.tensor ([| for i in 0 .. int n - 1 -> exp (-0.5 * float i) |], dtype = torch.float64)

            k.mul (weights.reshape place))
        (noise seed shape)

let private families =
    [
        FormatFamily.CP
        FormatFamily.Tucker
        FormatFamily.Tucker2
        FormatFamily.TensorTrain
        FormatFamily.TensorChain
        FormatFamily.HierarchicalTucker(ModeTree.Split [ ModeTree.Split [ ModeTree.Mode 0; ModeTree.Mode 1 ]; ModeTree.Mode 2 ])
    ]

let private sweeps = { SweepOptions.defaults with MaxSweeps = 15; Tolerance = 1e-6 }

let private searches =
    testList
        "the smallest ranks that meet a bound"
        [
            for family in families do
                for extrapolation in [ Extrapolation.Off; Extrapolation.Anderson 4 ] do
                    testCase
                        $"%A{family}, %A{extrapolation}: cancelled at any report the bound is met and nothing more is reported"
                        (fun () ->
                            for seed in 1..3 do
                                for bound in [ 0.4; 0.1 ] do
                                    use _ = torch.NewDisposeScope()
                                    let k = target seed [ 6L; 4L; 5L ]
                                    let sweeps = { sweeps with Extrapolation = extrapolation }

                                    let run sweeps =
                                        Factorize.toBound
                                            { Factorize.defaults with Sweeps = sweeps; Starts = 2 }
                                            (ErrorBound.Relative bound)
                                            family
                                            k

                                    let whole, reports = cancelled Int32.MaxValue sweeps run
                                    let size = Spec.parameters (ok whole).Network.Spec

                                    for point in points reports.Length do
                                        let result, until = cancelled point sweeps run
                                        let fit = ok result
                                        Expect.isLessThanOrEqual fit.RelativeError (bound * (1.0 + 1e-9)) $"error at {point}"
                                        Expect.equal until.Length point $"reports at {point}"
                                        Expect.isGreaterThanOrEqual (Spec.parameters fit.Network.Spec) size $"parameters at {point}"

                                        if point < reports.Length then
                                            Expect.equal fit.Stop Stop.Cancelled $"stop at {point}")
            for family in families do
                testCase $"%A{family}, corrected: cancelled at any report the bound is met" (fun () ->
                    for seed in 1..2 do
                        use _ = torch.NewDisposeScope()
                        let k = target seed [ 6L; 4L; 5L ]

                        let run sweeps =
                            Factorize.stableToBound { Factorize.defaults with Sweeps = sweeps } (ErrorBound.Relative 0.3) family k

                        let _, reports = cancelled Int32.MaxValue sweeps run

                        for point in points reports.Length do
                            let result, until = cancelled point sweeps run
                            Expect.isLessThanOrEqual (ok result).RelativeError (0.3 * (1.0 + 1e-9)) $"error at {point}"
                            Expect.equal until.Length point $"reports at {point}")
            testCase "a ring whose bound only least squares meet keeps it wherever they are cancelled" (fun () ->
                use _ = torch.NewDisposeScope()

                for seed, shape in [ 1, [ 4L; 4L; 4L; 4L ]; 3, [ 6L; 6L; 6L ] ] do
                    let k = noise seed shape

                    let run sweeps =
                        Factorize.toBound { Factorize.defaults with Sweeps = sweeps } (ErrorBound.Relative 0.5) FormatFamily.TensorChain k

                    let whole, reports = cancelled Int32.MaxValue sweeps run

                    Expect.isGreaterThan
                        (Selection.truncationError k (ok whole).Network.Spec)
                        (0.5 * k.norm().number())
                        "the truncation misses the bound"

                    for point in 0 .. reports.Length do
                        let result, _ = cancelled point sweeps run
                        Expect.isLessThanOrEqual (ok result).RelativeError (0.5 * (1.0 + 1e-9)) $"error at {point}")
            testCase "the ranks of a ring that is cancelled meet the budget" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = target 1 [ 6L; 4L; 5L ]

                let spec =
                    FormatFamily.spec [ 6; 4; 5 ] FormatFamily.TensorChain
                    |> Result.mapError (List.map TensorNetError.Format)
                    |> ok

                let first = RingRanks.first k
                let delta = 0.2 * k.norm().number()
                let whole = RingRanks.ofBudget (fun () -> false) spec k first (delta * delta)
                let early = RingRanks.ofBudget (fun () -> true) spec k first (delta * delta)
                Expect.isLessThanOrEqual (Selection.truncationError k early) delta "error"
                Expect.isGreaterThanOrEqual (Spec.parameters early) (Spec.parameters whole) "parameters")
        ]

/// A correction from a start that meets the bound, cancelled at every point: within the bound, and S no greater than at the start.
let private corrected (sweeps: SweepOptions) (bound: float) (k: torch.Tensor) (start: Network) =
    let run sweeps = Correction.epc sweeps (ErrorBound.Relative bound) k start
    let s = Sensitivity.value start
    let _, reports = cancelled Int32.MaxValue sweeps run

    for point in points reports.Length do
        let result, until = cancelled point sweeps run
        let fit = ok result
        Expect.isLessThanOrEqual fit.RelativeError (bound * (1.0 + 1e-9)) $"error at {point}"
        Expect.isLessThanOrEqual fit.Sensitivity (s * (1.0 + 1e-9)) $"S at {point}"
        Expect.equal until.Length point $"reports at {point}"

        if point < reports.Length then
            Expect.equal fit.Stop Stop.Cancelled $"stop at {point}"

    reports

let private corrections =
    testList
        "correction"
        [
            testCase "cancelled within the search of all cores, the bound is kept and S is no greater" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 5 [ 12L; 9L; 12L ]

                let start =
                    (Factorize.run { Factorize.defaults with Sweeps = { sweeps with MaxSweeps = 60 } } (Format.CP 14) k
                     |> ok)

                let bound = start.RelativeError * 1.0001
                let reports = corrected { sweeps with MaxSweeps = 60; Tolerance = 1e-9 } bound k start.Network
                // The search goes by points that miss the bound.
                Expect.isTrue (reports |> List.exists (fun report -> report.RelativeError > bound * (1.0 + 1e-6))) "there was a search")
            testCase "cancelled within the steps of all cores at once, the bound is kept and S is no greater" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 6 [ 6L; 4L; 6L ]

                let start =
                    (Factorize.run { Factorize.defaults with Sweeps = { sweeps with MaxSweeps = 60 } } (Format.CP 6) k
                     |> ok)

                let few = { sweeps with MaxSweeps = 5; Tolerance = 1e-9 }
                let reports = corrected few (start.RelativeError * 1.0001) k start.Network
                Expect.isTrue (reports |> List.exists (fun report -> report.Sweep > 5)) "there were steps")
        ]

let all = testList "cancellation" [ searches; corrections ]
