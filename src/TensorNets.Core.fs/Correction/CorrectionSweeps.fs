namespace TensorNets

open System
open TorchSharp

/// What sweeps of blocks work on.
[<NoEquality; NoComparison>]
type internal CorrectionSweeps =
    {
        Cores: Tensor[]
        Lookup: string -> Tensor
        Target: Tensor
        /// ‖K‖².
        Norm2: float
        /// δ.
        Bound: float
        Blocks: Block list
        /// The plan of T.
        Full: Plan
        Gauge: BondGauge.Bond list
        Sensitivity: SensitivityPlan
        /// The multiplier of each block in the last sweep.
        Lambdas: float option[]
        /// The reach of each block when it was last solved; 0 before.
        Reaches: float[]
        Cache: IntermediateCache
        /// Sweeps that the last attempt took, whatever came of it.
        mutable Taken: int
        /// Whether a bond had directions without weight after the last sweep.
        mutable Deficient: bool
    }

    interface IDisposable with
        member this.Dispose() = (this.Cache :> IDisposable).Dispose()

/// Sweeps of the correction over all cores, and searches for all of them together where sweeps crawl.
[<RequireQualifiedAccess>]
module internal CorrectionSweeps =
    /// The relative error in ‖K − T‖ that counts as meeting the bound.
    let feasibility = 1e-9

    /// Below this δ/‖K‖ a core is all but determined by the others, so that blocks stand still far from the least S.
    let jointBelow = 1e-3

    let make (spec: Spec) (target: Tensor) (bound: float) (norm: float) (cores: Tensor[]) : CorrectionSweeps =
        let blocks = LocalProblem.blocks spec

        {
            Cores = cores
            Lookup = Fit.lookup spec cores
            Target = target
            Norm2 = norm * norm
            Bound = bound
            Blocks = blocks
            Full = Plan.make Order.Auto spec
            Gauge = BondGauge.ofSpec spec
            Sensitivity = Sensitivity.plan spec
            Lambdas = Array.create cores.Length None
            Reaches = Array.zeroCreate cores.Length
            Cache = LocalProblem.keeping blocks
            Taken = 0
            Deficient = false
        }

    /// One sweep in place: every block, then one cycle of the gauge. The error and S after it; NaN where a block is not finite.
    let once (work: CorrectionSweeps) : float * float =
        use scope = torch.NewDisposeScope()
        let explicitly () = Fit.explicitError work.Full work.Target work.Lookup
        work.Cache.Clear()
        // An extrapolated point may miss the bound: then blocks are least squares until it is met.
        let mutable current = Lazy<float> explicitly
        let mutable finite = work.Cores |> Array.forall _.isfinite().all().truth()
        let mutable after = None

        work.Blocks
        |> List.iteri (fun i block ->
            if finite then
                let outcome =
                    LocalCorrection.solveKeeping
                        (Some work.Cache)
                        work.Full
                        block
                        work.Lookup
                        work.Target
                        work.Norm2
                        work.Bound
                        current
                        (Array.max work.Reaches)
                        work.Lambdas[i]

                outcome.Reach |> Option.iter (fun reach -> work.Reaches[i] <- reach)

                match outcome.Result with
                | BlockResult.Moved(core, _)
                | BlockResult.LeastSquares core when not (core.isfinite().all().truth()) -> finite <- false
                | BlockResult.Moved(core, lambda) ->
                    work.Lambdas[i] <- Some lambda
                    current <- lazy work.Bound
                    after <- outcome.Residual
                    Fit.replace scope work.Cores i core
                | BlockResult.LeastSquares core ->
                    after <- None
                    Fit.replace scope work.Cores i core
                | BlockResult.Kept -> ()

                work.Cache.Forget block.Core.Name)

        let s, deficient = Gauge.lenient 1 work.Gauge work.Sensitivity work.Cores
        work.Deficient <- deficient

        let error =
            match after with
            | _ when not finite -> nan
            | Some residual -> sqrt residual
            | None -> explicitly ()

        error, s

    /// Sweeps after which all cores are searched together, and the share of S that sweeps must still gain for that.
    let private searchAfter, private crawl = 2, 1e-4

    /// The share of S that a search must have gained for another one.
    let private worthAnother = 2e-3

    /// Whether no core is fixed, which the joint methods cannot do.
    let hasAllFree (spec: Spec) = (Spec.freeCores spec).Length = spec.Cores.Length

    /// The most sweeps that bring the point that a search found to the bound.
    let private landing = 8

    /// How many sweeps are combined into an extrapolated point.
    let private accelerationDepth = 8

    /// Whether S and the error of a sweep are better than S before, within the bound. Written so that NaN counts as a failure, and an S
    /// below zero, which is rounding alone.
    let private isBetter bound s (error, next) = error <= bound * (1.0 + feasibility) && next >= 0.0 && next <= s * (1.0 + 1e-12)

    /// Sweeps of blocks in place from a feasible, balanced start, of which n0 have been before; ends with the last iterate that kept the
    /// bound and did not raise S, or, if `heeds`, where a bond has directions without weight, which is said too.
    let private runOn (options: SweepOptions) (heeds: bool) (n0: int) (s0: float) (work: CorrectionSweeps) =
        let spec, target, bound, norm, cores =
            work.Full.Spec, work.Target, work.Bound, sqrt work.Norm2, work.Cores

        let blocks, lambdas = work.Blocks, work.Lambdas

        use point = new Extrapolated(accelerationDepth, blocks.Length, cores, ignore)

        /// Sweeps from the current point, which may be an extrapolated one, until the bound is met, at most so many: kept where that does
        /// not raise S, undone otherwise; then the next extrapolated point.
        let attempt most s =
            point.Attempt(fun () ->
                let rec land count before =
                    work.Taken <- count
                    let error, next = once work

                    if error <= bound * (1.0 + feasibility) then
                        if isBetter bound s (error, next) then Some(error, next) else None
                    // At the pace of the last sweep the bound must be within reach.
                    elif error - bound < float (most - count) * (before - error) then
                        land (count + 1) error
                    else
                        None

                ConstrainedQuadratics.guarded (fun () -> land 1 infinity) |> Option.flatten)

        let land = lazy Objective.make spec target bound

        let searchable =
            hasAllFree spec
            && Spec.parameters spec > DenseSqp.limit
            && spec.Cores.Length > 1
            && bound >= jointBelow * norm

        /// All cores moved together, and brought to the bound by sweeps: the steps and sweeps that took, and what has been reached, or None
        /// where that is not below S.
        let search n again s =
            use _ = torch.NewDisposeScope()
            point.Undo()
            let mutable steps = 0

            let listen (ground: Evaluation) =
                steps <- steps + 1
                SweepOptions.report options (n + steps) (sqrt (max 0.0 ground.Residual) / norm) ground.S
                n + steps < options.MaxSweeps - 1 && not options.Cancellation.IsCancellationRequested

            let multiplier =
                if again then
                    lambdas |> Array.choose id |> Array.tryLast |> Option.map (fun lambda -> 1.0 / lambda)
                else
                    None

            let lands found =
                let most = min landing (options.MaxSweeps - n - steps)

                if most < 1 || options.Cancellation.IsCancellationRequested then
                    None
                else
                    point.Put found
                    let landed = attempt most s
                    steps <- steps + work.Taken
                    landed

            let result =
                AugmentedLagrangian.search land.Value bound multiplier options.Tolerance listen lands (point.Vector())

            steps, result

        /// When to search next: the sweep, S at the last search.
        let mutable nextSearch, searchedAt = n0 + searchAfter, infinity

        let rec loop n s plain trace =
            match SweepOptions.ending options n with
            | Some stop -> n, stop, trace
            | None ->
                match attempt 1 s with
                | None when plain -> n, Stop.Rounding, trace
                | None -> loop (n + 1) s true (s :: trace)
                | Some(error, next) ->
                    SweepOptions.report options (n + 1) (error / norm) next

                    let crawls = s - next > crawl * s && next < (1.0 - worthAnother) * searchedAt

                    let goesOn =
                        not (heeds && work.Deficient)
                        && n + 2 < options.MaxSweeps
                        && not options.Cancellation.IsCancellationRequested

                    if searchable && n + 1 >= nextSearch && crawls && goesOn then
                        let steps, result = search (n + 1) (searchedAt < infinity) next
                        let found = result |> Option.map snd |> Option.defaultValue next
                        searchedAt <- next
                        nextSearch <- n + 1 + steps + searchAfter

                        result
                        |> Option.iter (fun (error, s) -> SweepOptions.report options (n + 1 + steps) (error / norm) s)

                        loop (n + 1 + steps) found true (List.replicate steps found @ next :: trace)
                    elif heeds && work.Deficient then
                        n + 1, Stop.Rounding, next :: trace
                    elif plain && s - next <= options.Tolerance * s then
                        n + 1, Stop.Converged, next :: trace
                    else
                        // After too small a gain by an extrapolated point, a plain sweep decides whether that was all.
                        let small = s - next <= options.Tolerance * s

                        if small then
                            point.Undo()

                        loop (n + 1) next (small || point.IsPlain) (next :: trace)

        let n, stop, trace = loop n0 s0 true []
        point.Undo()
        n, stop, List.rev trace

    /// Shares of T up to which directions of bonds are tried to do without, the largest first; and the sweeps that each gets to meet the
    /// bound again.
    let private redundant, private recovery = [ 1e-5; 1e-8; 1e-12 ], 3

    /// The cores, in place, without directions of bonds that they do not need, within the bound and at no larger S: the spec, the error and
    /// S. None where there is none such; then the cores are as they were. Also the sweeps that took, at most so many.
    let private pruned (most: int) (spec: Spec) (target: Tensor) bound norm s (cores: Tensor[]) : int * (Spec * float * float) option =
        let before = [| for core in cores -> core.clone().DetachFromDisposeScope() |]
        let mutable taken = 0

        let tryShare share =
            let left = min recovery (most - taken)

            let struct (smaller, changed) =
                if left < 1 then struct (spec, false) else Redundancy.cut share (fun _ _ -> true) spec cores

            let result =
                if not changed then
                    None
                else
                    use work = make smaller target bound norm cores
                    Gauge.lenient Gauge.maxCycles work.Gauge work.Sensitivity cores |> ignore

                    let rec land count =
                        taken <- taken + 1
                        let found = once work

                        if isBetter bound s found then Some(smaller, fst found, snd found)
                        elif count < left then land (count + 1)
                        else None

                    ConstrainedQuadratics.guarded (fun () -> land 1) |> Option.flatten

            if result.IsNone && changed then
                for i in 0 .. cores.Length - 1 do
                    cores[i].Dispose()
                    cores[i] <- before[i].clone().DetachFromDisposeScope()

            result

        try
            let result = redundant |> List.tryPick tryShare
            taken, result
        finally
            for core in before do
                core.Dispose()

    /// Sweeps of blocks in place from a feasible, balanced start until they end and no bond has a direction that can be spared: the spec of
    /// what is left, the sweeps, why they ended, and S at the start and after each.
    let run (options: SweepOptions) (spec: Spec) (target: Tensor) (bound: float) (norm: float) (s0: float) (cores: Tensor[]) =
        let rec goOn heeds (spec: Spec) n s trace =
            use work = make spec target bound norm cores
            let n, stop, more = runOn options heeds n s work
            let trace = trace @ more
            let s = List.last (s :: more)

            if stop <> Stop.Rounding && stop <> Stop.Converged then
                spec, n, stop, trace
            else
                let taken, result = pruned (options.MaxSweeps - n) spec target bound norm s cores
                let n = n + taken
                let s = result |> Option.map (fun (_, _, s) -> s) |> Option.defaultValue s
                let trace = trace @ List.replicate taken s

                match result with
                | Some(smaller, error, _) ->
                    SweepOptions.report options n (error / norm) s

                    if n < options.MaxSweeps then goOn true smaller n s trace else smaller, n, Stop.MaxSweeps, trace
                | None when heeds && work.Deficient -> goOn false spec n s trace
                | None -> spec, n, stop, trace

        goOn true spec 0 s0 [ s0 ]
