/// Laws of every way to a factorization: scale, order of modes, dtype, exact ranks, inputs that stay, cancellation, numbers that fail on
/// the way.
module FactorizationLaws

open System
open System.Threading
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

let private sweeps n = { SweepOptions.defaults with MaxSweeps = n; Tolerance = 1e-9 }

let private noisy (case: FormatCase) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
    let rough = noise (case.Seed + 1) clean.shape
    clean.plus (rough.mul (clean.norm().div(rough.norm ()).mul(Num.tensor 0.3)))

let private startOf (case: FormatCase) (k: torch.Tensor) =
    (Factorize.runSpec { Factorize.defaults with Sweeps = sweeps 3 } case.Spec k |> ok).Network

/// Both corrections, where both have one: a bond may be rank deficient to rounding in one of two equal problems.
let private bothCorrected (a: Result<Fit, TensorNetError list>) (b: Result<Fit, TensorNetError list>) (check: Fit -> Fit -> unit) =
    match a, b with
    | Ok a, Ok b -> check a b
    | Error [ TensorNetError.RankDeficientBond _ ], _
    | _, Error [ TensorNetError.RankDeficientBond _ ]
    | Error [ TensorNetError.Unreachable _ ], Error [ TensorNetError.Unreachable _ ] -> ()
    | Error errors, _
    | _, Error errors -> failtestf "%A" (errors |> List.map _.Message)

let private invariance =
    testList
        "invariance"
        [
            costlyLaw "the order of the modes changes neither error nor S" (fun (case: FormatCase) ->
                let k = noisy case
                let first = startOf case k
                let order = List.rev [ 0 .. case.Spec.Output.Length - 1 ]
                let turned = NetworkRewrite.permute (order |> List.map (fun i -> case.Spec.Output[i])) first |> ok
                let kTurned = k.permute([| for i in order -> int64 i |]).contiguous()
                let a, b = Als.run (sweeps 5) k first |> ok, Als.run (sweeps 5) kTurned turned |> ok
                // Of an exact fit both errors are rounding, told apart to 1e-10 of the target.
                let floor = 1e-4 * k.norm().number()

                // More entries than the target has leave singular systems, of which rounding chooses a solution.
                let tolerance = if Spec.parameters case.Spec <= k.numel () then 1e-6 else 1e-2
                near tolerance (b.Error + floor) (a.Error + floor) "error"

                if a.RelativeError > 1e-3 && a.RelativeError < 0.8 then
                    let bound = ErrorBound.Relative(1.2 * a.RelativeError)

                    bothCorrected (Correction.epc (sweeps 5) bound k first) (Correction.epc (sweeps 5) bound kTurned turned) (fun a b ->
                        near 1e-4 b.Sensitivity a.Sensitivity "S"))
            testCase "a ring closed by a bond of dimension 1 goes the way of the train that it is" (fun () ->
                use _ = torch.NewDisposeScope()
                let named format = Format.spec [ 6; 5; 7 ] format |> Result.defaultWith (failwithf "%A")
                let ring, train = named (Format.TensorChain [ 1; 3; 4 ]), named (Format.TensorTrain [ 3; 4 ])
                let first = randomNetwork 1 ring

                let cut =
                    networkOf
                        train
                        (List.map2
                            (fun (core: torch.Tensor) shape -> core.reshape (Array.ofList shape))
                            (List.ofSeq first.Cores)
                            [ [ 6L; 3L ]; [ 3L; 5L; 4L ]; [ 4L; 7L ] ])

                close 1e-12 (Contraction.reconstruct cut) (Contraction.reconstruct first) "T"
                Expect.equal (LocalProblem.block ring ring.Cores[1]).Branches.Length 2 "branches of the middle core"
                let k = noise 2 [ 6L; 5L; 7L ]
                let a, b = Als.run (sweeps 5) k first |> ok, Als.run (sweeps 5) k cut |> ok
                near 1e-9 a.Error b.Error "error"
                let bound = ErrorBound.Absolute(1.1 * b.Error)

                let a, b =
                    Correction.epc (sweeps 300) bound k a.Network |> ok, Correction.epc (sweeps 300) bound k b.Network |> ok

                near 1e-6 a.Sensitivity b.Sensitivity "S")
            costlyLaw "S of (cK, cδ) is c^(2 - 2/N) that of (K, δ)" (fun (case: FormatCase) ->
                let k = noisy case
                let first = startOf case k
                let n = float case.Spec.Cores.Length
                // Powers of two scale without rounding, which sweeps from an ill-conditioned start would amplify.
                let factor = Math.Pow(2.0, float (case.Seed % 9 - 4))
                let c, share = Math.Pow(factor, n), Num.tensor factor
                let scaled = networkOf case.Spec [ for core in first.Cores -> core.mul share ]
                let bound = ErrorBound.Relative 0.7

                bothCorrected
                    (Correction.epc (sweeps 5) bound k first)
                    (Correction.epc (sweeps 5) bound (k.mul (Num.tensor c)) scaled)
                    (fun a b ->
                        if a.Error > 1e-3 * k.norm().number() then
                            near 1e-9 b.Sensitivity (a.Sensitivity * Math.Pow(c, 2.0 - 2.0 / n)) "S"))
            costlyLaw "float32 gives the rounded cores of the same numbers in float64" (fun (case: FormatCase) ->
                let single = (noisy case).``to`` torch.float32
                let options = { Factorize.defaults with Sweeps = sweeps 5; Seed = uint64 case.Seed }
                let a = Factorize.runSpec options case.Spec single |> ok
                let b = Factorize.runSpec options case.Spec (single.``to`` torch.float64) |> ok

                Seq.iter2
                    (fun (a: torch.Tensor) (b: torch.Tensor) -> Expect.isTrue (identical a (b.``to`` torch.float32)) "core")
                    a.Network.Cores
                    b.Network.Cores)
            for format, shape in
                [
                    Format.CP 3, [ 5; 4; 6 ]
                    Format.Tucker [ 2; 3; 2 ], [ 5; 4; 6 ]
                    Format.Tucker2(3, 2), [ 5; 4; 6 ]
                    Format.TensorTrain [ 2; 3; 2 ], [ 4; 3; 4; 3 ]
                    Format.TensorChain [ 2; 2; 2 ], [ 5; 6; 5 ]
                    Format.BlockTerm(2, [ 2; 2; 2 ]), [ 6; 5; 6 ]
                    Format.HierarchicalTucker(
                        DimTree.Split
                            [
                                2, DimTree.Split [ 2, DimTree.Mode 0; 2, DimTree.Mode 1 ]
                                2, DimTree.Split [ 2, DimTree.Mode 2; 2, DimTree.Mode 3 ]
                            ]
                    ),
                    [ 4; 3; 4; 3 ]
                ] do
                testCase $"a tensor of exact rank is found at that rank: {Format.name format}" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let spec = Format.spec shape format |> Result.mapError (List.map TensorNetError.Format) |> ok
                    let k = Contraction.reconstruct (randomNetwork 3 spec)
                    let options = { Factorize.defaults with Sweeps = sweeps 500; Starts = 6 }
                    let fit = Factorize.run options format k |> ok
                    // Swamps of CP and block-term end slowly: four digits.
                    Expect.isLessThan fit.RelativeError 1e-4 "relative error")
        ]

/// Every entry point on a target and a start: its fits, or its errors.
let private entries
    (options: SweepOptions)
    (k: torch.Tensor)
    (first: Network)
    : (string * (unit -> Result<Fit list, TensorNetError list>)) list =
    let one run = fun () -> run () |> Result.map (fun (fit: Fit) -> [ fit ])
    let all = { Factorize.defaults with Sweeps = options; Starts = 2 }
    let bound = ErrorBound.Relative 0.8

    [
        "run", one (fun () -> Factorize.runSpec all first.Spec k)
        "stable", one (fun () -> Factorize.stableSpec all None first.Spec k)
        "stable within a bound", one (fun () -> Factorize.stableSpec all (Some bound) first.Spec k)
        "stableFrom", one (fun () -> Factorize.stableFrom all bound k [ first ])
        "least squares", one (fun () -> Als.run options k first)
        "correction", one (fun () -> Correction.epc options bound k first)
        "mirror", one (fun () -> LeastError.fit options (0.9 * Sensitivity.value first) k first)
        "front",
        (fun () ->
            ParetoFront.trace options [ 0.7; 0.8 ] k first
            |> Result.map (fun front -> [ for point in front.Points -> point.Fit ]))
        if k.dim () = 3L then
            for family in [ FormatFamily.CP; FormatFamily.Tucker2; FormatFamily.TensorChain ] do
                $"to a bound, %A{family}", one (fun () -> Factorize.toBound all bound family k)
                $"stable to a bound, %A{family}", one (fun () -> Factorize.stableToBound all bound family k)
    ]

/// What calls back at every sweep.
type private Callback(act: int -> unit) =
    let mutable count = 0

    interface IProgress<FitProgress> with
        member _.Report _ =
            count <- count + 1
            act count

let private isFinite (network: Network) = network.Cores |> Seq.forall (fun core -> core.isfinite().all().truth())

let private inputs =
    testList
        "inputs"
        [
            costlyLaw "no entry point changes the target or the given network" (fun (case: FormatCase) ->
                let k = noisy case
                let first = startOf case k
                let before = [ for tensor in k :: List.ofSeq first.Cores -> tensor.clone () ]

                for name, run in entries (sweeps 2) k first do
                    run () |> ignore
                    List.iter2 (fun (a: torch.Tensor) b -> Expect.isTrue (identical a b) name) before (k :: List.ofSeq first.Cores))
            costlyLaw "cancelled at any sweep the best so far comes back" (fun (case: FormatCase) ->
                let k = noisy case
                let first = startOf case k
                let names = entries (sweeps 2) k first |> List.map fst

                for at in [ 0; 1; 2; 3 + case.Seed % 20 ] do
                    for name in names do
                        use source = new CancellationTokenSource()

                        if at = 0 then
                            source.Cancel()

                        let progress =
                            Callback(fun count ->
                                if count >= at then
                                    source.Cancel())

                        let options = { sweeps 8 with Cancellation = source.Token; Progress = Some progress }
                        let _, run = entries options k first |> List.find (fun (other, _) -> other = name)

                        match run () with
                        | Ok fits ->
                            for fit in fits do
                                Expect.isTrue (isFinite fit.Network) $"{name}, at {at}: finite"

                                near
                                    1e-6
                                    (k.minus((Contraction.reconstruct fit.Network).reshape k.shape).norm().number() + 1e-6)
                                    (fit.Error + 1e-6)
                                    name

                                if not fit.MeetsBound then
                                    Expect.equal fit.Stop Stop.Cancelled $"{name}, at {at}: stop"
                                elif name = "mirror" then
                                    let s = 0.9 * Sensitivity.value first
                                    Expect.isLessThanOrEqual fit.Sensitivity (s * (1.0 + 1e-9)) $"{name}, at {at}: the bound"
                                elif name <> "run" && name <> "least squares" && name <> "stable" then
                                    Expect.isLessThanOrEqual fit.RelativeError (0.8 * (1.0 + 1e-9)) $"{name}, at {at}: the bound"
                        // What ended before it was cancelled, or a deficient bond as without cancellation.
                        | Error [ TensorNetError.Unreachable _ ] when not source.IsCancellationRequested -> ()
                        // S that no error lowers, as that of one core.
                        | Error [ TensorNetError.Unsupported _ ] when name = "mirror" && not source.IsCancellationRequested -> ()
                        | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                        | Error errors -> failtestf "%s, at %d: %A" name at (errors |> List.map _.Message))
            costlyLaw "where NaN appears on the way the last good iterate comes back and says so" (fun (case: FormatCase) ->
                for correcting in [ false; true ] do
                    use _ = torch.NewDisposeScope()
                    // What a caller hands in is copied, so the iterations are called from inside, on a target that is spoilt between two sweeps.
                    let k = (noisy case).contiguous()
                    use first = startOf case k
                    let cores = [| for core in first.Cores -> core.clone () |]
                    let norm = k.norm().number()
                    let error = Fit.explicitError (Plan.make Order.Auto case.Spec) k (CoreArray.Lookup case.Spec cores)

                    let spoil =
                        Callback(fun count ->
                            if count = 1 then
                                k.mul_ (torch.tensor nan) |> ignore)
                    // No sweep converges before the spoilt one, not even of an exact fit, whose error is rounding and may double.
                    let options = { sweeps 20 with Tolerance = -infinity; Progress = Some spoil }

                    let n, stop =
                        if correcting then
                            let s = (Sensitivity.total first).number()
                            let bound = max error (0.8 * norm)
                            let problem = { Options = options; Spec = case.Spec; Target = k; Norm = norm; Bound = bound }
                            let _, n, stop, _ = CorrectionSweeps.run problem s cores
                            n, stop
                        else
                            let n, stop, _ = Als.sweepUntil options (fun _ _ -> false) case.Spec k cores
                            n, stop

                    for core in cores do
                        Expect.isTrue (core.isfinite().all().truth()) "finite"

                    if n > 0 && k.isnan().any().truth() then
                        Expect.equal stop Stop.Rounding "stop")
            for name, make in
                [
                    "with a slice of zeros",
                    (fun () ->
                        let k = noise 1 [ 4L; 3L; 4L ]
                        k[1L] <- torch.zeros (3L, 4L, dtype = torch.float64)
                        k)
                    "with equal slices",
                    (fun () ->
                        let slice = noise 1 [ 1L; 3L; 4L ]
                        slice.expand([| 4L; 3L; 4L |]).contiguous())
                    "of a single entry",
                    (fun () ->
                        let k: torch.Tensor = torch.zeros (4L, 3L, 4L, dtype = torch.float64)
                        k[1L, 2L, 3L] <- torch.tensor 2.0
                        k)
                    "of entries near 1e150", (fun () -> (noise 1 [ 4L; 3L; 4L ]).mul(Num.tensor 1e150))
                ] do
                testCase $"a target {name} is factorized in every format" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let k = make ()

                    for format in
                        [
                            Format.CP 3
                            Format.Tucker [ 3; 2; 3 ]
                            Format.Tucker2(3, 3)
                            Format.TensorTrain [ 3; 3 ]
                            Format.TensorChain [ 2; 2; 2 ]
                            Format.BlockTerm(2, [ 2; 1; 2 ])
                        ] do
                        let options = { Factorize.defaults with Sweeps = sweeps 20 }
                        let fit = Factorize.run options format k |> ok
                        Expect.isTrue (isFinite fit.Network) $"{Format.name format}: finite"
                        Expect.isLessThanOrEqual fit.RelativeError (1.0 + 1e-9) $"{Format.name format}: error")
            testCase "an empty target is named in every format" (fun () ->
                use _ = torch.NewDisposeScope()

                for format in [ Format.CP 1; Format.Tucker2(1, 1); Format.TensorTrain [ 1; 1 ]; Format.TensorChain [ 1; 1; 1 ] ] do
                    Expect.isTrue
                        (Factorize.run Factorize.defaults format (torch.zeros (4L, 0L, 4L, dtype = torch.float64))).IsError
                        (Format.name format))
            testCase "at δ = 0 an exact network is corrected and another refused with what it reached" (fun () ->
                use _ = torch.NewDisposeScope()

                let spec =
                    Format.spec [ 4; 3; 4 ] (Format.Tucker2(2, 2))
                    |> Result.mapError (List.map TensorNetError.Format)
                    |> ok

                let k = noise 1 [ 4L; 3L; 4L ]

                match Correction.epc (sweeps 5) (ErrorBound.Absolute 0.0) k (randomNetwork 2 spec) with
                | Error [ TensorNetError.Unreachable(0.0, reached) ] -> Expect.isGreaterThan reached 0.0 "reached"
                | other -> failtestf "%A" other)
            testCase "more cores than modes are one network like any other" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = Spec.parse [] "sa, ab, bc, ct -> st | s=5 a=2 b=2 c=2 t=5" |> specOk
                let k = noise 1 [ 5L; 5L ]
                let fit = Factorize.stableSpec { Factorize.defaults with Sweeps = sweeps 40 } None spec k |> ok

                let best =
                    (Factorize.run { Factorize.defaults with Sweeps = sweeps 40 } (Format.TensorTrain [ 2 ]) k |> ok).Error

                near 1e-5 fit.Error best "error")
        ]

/// Libraries that read memory nobody wrote give other digits where other values lie there.
let private memory =
    testList
        "memory"
        [
            onOneThread "the same bits whatever lay in memory before" (fun () ->
                let k = noise 3 [ 16L; 9L; 16L ]
                let spec = Format.spec [ 16; 9; 16 ] (Format.CP 24) |> Result.defaultWith (failwithf "%A")
                let start = (Als.run (sweeps 10) k (randomNetwork 4 spec) |> ok).Network

                let corrected round =
                    use scope = torch.NewDisposeScope()

                    for n in 1..40 do
                        let rest: torch.Tensor = (noise (100 * round + n) [ int64 (n * n) ]).mul(Num.tensor 1e9)
                        rest.``to``(torch.int32).Dispose()
                        rest.Dispose()

                    (Correction.epc (sweeps 25) (ErrorBound.Relative 0.6) k start |> ok).Network.Cores
                    |> Seq.map scope.MoveToOuter
                    |> List.ofSeq

                let first = corrected 0

                for round in 1..6 do
                    List.iter2 (fun a b -> Expect.isTrue (identical a b) $"core, round {round}") first (corrected round))
        ]

let all = testList "engine" [ invariance; inputs; memory ]
