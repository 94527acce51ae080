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
                        (RankSelection.truncationError k (ok whole).Network.Spec)
                        (0.5 * k.norm().number())
                        "the truncation misses the bound"

                    for point in 0 .. reports.Length do
                        let result, _ = cancelled point sweeps run
                        Expect.isLessThanOrEqual (ok result).RelativeError (0.5 * (1.0 + 1e-9)) $"error at {point}")
            testCase "the ranks of a tree that is cancelled at any step meet the budget" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = target 1 [ 6L; 4L; 5L; 3L ]

                let spec =
                    FormatFamily.spec [ 6; 4; 5; 3 ] FormatFamily.TensorTrain
                    |> Result.mapError (List.map TensorNetError.Format)
                    |> ok

                let tails = TreeRanks.tails spec k
                let delta = 0.3 * k.norm().number()

                let after steps =
                    let mutable asked = 0

                    let stopped () =
                        asked <- asked + 1
                        asked > steps

                    let found = TreeRanks.ofBudget stopped tails spec (delta * delta)
                    Expect.isLessThanOrEqual (RankSelection.truncationError k found) delta $"error after {steps}"
                    Spec.parameters found

                let sizes = [ for steps in 0..20 -> after steps ]
                Expect.equal sizes (List.sortDescending sizes) "more steps, fewer parameters"
                Expect.isGreaterThan (List.head sizes) (List.last sizes) "steps that drop something")
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
                Expect.isLessThanOrEqual (RankSelection.truncationError k early) delta "error"
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

                let few = { sweeps with MaxSweeps = 10; Tolerance = 1e-9 }
                let reports = corrected few (start.RelativeError * 1.0001) k start.Network
                // Sweeps have half of what is allowed, and do not converge.
                Expect.isTrue (reports |> List.exists (fun report -> report.Sweep > 5)) "there were steps")
        ]

/// A target that noise of rank 8 is far from.
let private far () = target 4 [ 6L; 5L; 6L ]

let private rank8 =
    Format.spec [ 6; 5; 6 ] (Format.CP 8) |> Result.mapError (List.map TensorNetError.Format) |> ok

let private noisy seed = SvdStart.noise seed rank8 (far ()) |> ok

/// Runs to a bound that start above it.
let private runs: (string * (ErrorBound -> torch.Tensor -> SweepOptions -> Result<Fit, TensorNetError list>)) list =
    let options sweeps = { Factorize.defaults with Sweeps = sweeps; Start = Start.Random; Starts = 3 }

    [
        "one start", (fun bound k sweeps -> Correction.epc sweeps bound k (noisy 1UL))
        "several starts", (fun bound k sweeps -> Factorize.stableSpec (options sweeps) (Some bound) rank8 k)
        "given starts", (fun bound k sweeps -> Factorize.stableFrom (options sweeps) bound k [ noisy 1UL; noisy 2UL ])
    ]

let private above =
    let long = { sweeps with MaxSweeps = 20; Tolerance = 1e-4 }

    testList
        "a start above its bound"
        [
            for name, run in runs do
                testCase $"{name}: cancelled at any report the nearest to the bound so far comes back" (fun () ->
                    let bound = 0.1
                    use _ = torch.NewDisposeScope()
                    let k = far ()
                    let run = run (ErrorBound.Relative bound) k
                    let whole, reports = cancelled Int32.MaxValue long run
                    Expect.isTrue (ok whole).MeetsBound "met without cancellation"
                    let mutable met, missed = 0, infinity

                    for point in points reports.Length do
                        let result, until = cancelled point long run
                        let fit = ok result
                        Expect.equal until.Length point $"reports at {point}"

                        if point < reports.Length then
                            Expect.equal fit.Stop Stop.Cancelled $"stop at {point}"

                        if fit.MeetsBound then
                            Expect.isLessThanOrEqual fit.RelativeError (bound * (1.0 + 1e-9)) $"error at {point}"
                            met <- met + 1
                        else
                            Expect.equal met 0 "what was met stays met"
                            Expect.equal fit.Stop Stop.Cancelled $"stop at {point}"
                            Expect.isGreaterThan fit.RelativeError bound $"error at {point}"
                            Expect.isLessThanOrEqual fit.RelativeError (missed * (1.0 + 1e-9)) $"error at {point} and before"
                            missed <- fit.RelativeError

                            match until with
                            | [] -> ()
                            | _ ->
                                let least = until |> List.map _.RelativeError |> List.min
                                Expect.isLessThanOrEqual fit.RelativeError (least * (1.0 + 1e-6)) $"error at {point} and reported"

                    Expect.isLessThan missed infinity "some were cancelled before"
                    Expect.isGreaterThan met 0 "some were cancelled after")
            testCase "a front that is cancelled before its first point has none" (fun () ->
                use _ = torch.NewDisposeScope()
                use source = new CancellationTokenSource()
                source.Cancel()

                use front =
                    ParetoFront.trace { long with Cancellation = source.Token } [ 0.3; 0.05 ] (far ()) (noisy 1UL) |> ok

                Expect.isEmpty front.Points "points"
                Expect.sequenceEqual front.Unreached [ 0.05; 0.3 ] "unreached")
            testCase "the mirror problem says whether the bound on S is met" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = far ()
                let start = Als.run long k (noisy 1UL) |> ok
                let s = 0.5 * Sensitivity.value start.Network
                let run sweeps = LeastError.fit sweeps s k start.Network
                let _, reports = cancelled Int32.MaxValue sweeps run
                let fits = [ for point in points reports.Length -> cancelled point sweeps run |> fst |> ok ]

                for fit in fits do
                    Expect.equal fit.MeetsBound (fit.Sensitivity <= s * (1.0 + 1e-9)) "bound"

                Expect.isTrue (fits |> List.exists (fun fit -> not fit.MeetsBound && fit.Stop = Stop.Cancelled)) "cancelled before"
                Expect.isTrue (fits |> List.exists _.MeetsBound) "met")
            testCase "a layer is not replaced by what misses its bound, and the rest of a model stays" (fun () ->
                use _ = torch.NewDisposeScope()
                use source = new CancellationTokenSource()
                source.Cancel()

                use model =
                    torch.nn.Sequential(
                        struct ("first", torch.nn.Linear(6L, 5L) :> torch.nn.Module<torch.Tensor, torch.Tensor>),
                        struct ("second", torch.nn.Linear(5L, 6L) :> torch.nn.Module<torch.Tensor, torch.Tensor>)
                    )

                let options =
                    { Factorize.defaults with Start = Start.Random; Sweeps = { long with Cancellation = source.Token } }

                match Compress.layer options (Some(ErrorBound.Relative 0.01)) (Format.CP 5) "first" model with
                | Error [ TensorNetError.Cancelled(bound, reached) ] -> Expect.isGreaterThan reached bound "reached"
                | other -> failtestf "%A" other

                let report = ReplaceAll.run options KernelAxes.Fused None (fun _ _ -> Some(Format.CP 5)) model
                Expect.isEmpty report.Replaced "replaced"
                Expect.equal [ for skipped in report.Skipped -> skipped.Path ] [ "first"; "second" ] "skipped")
        ]

let all = testList "cancellation" [ searches; corrections; above ]
