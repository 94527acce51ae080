namespace TensorNets

open System
open TorchSharp

/// What sweeps of blocks work on.
[<NoEquality; NoComparison>]
type internal Sweeping =
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
        Gauge: Bonds.Bond list
        Sensitivity: SensitivityPlan
        /// The multiplier of each block in the last sweep.
        Lambdas: float option[]
        /// The reach of each block when it was last solved; 0 before.
        Reaches: float[]
        Cache: IntermediateCache
        /// Sweeps that the last attempt took.
        mutable Taken: int
    }

    interface IDisposable with
        member this.Dispose() = (this.Cache :> IDisposable).Dispose()

/// Sweeps of the correction over all cores, and searches for all of them together where sweeps crawl.
[<RequireQualifiedAccess>]
module internal Sweeping =
    /// The relative error in ‖K − T‖ that counts as meeting the bound.
    let feasibility = 1e-9

    /// Below this δ/‖K‖ a core is all but determined by the others, so that blocks stand still far from the least S.
    let jointBelow = 1e-3

    let make (spec: Spec) (target: Tensor) (bound: float) (norm: float) (cores: Tensor[]) : Sweeping =
        let blocks = Environment.blocks spec

        {
            Cores = cores
            Lookup = Fit.lookup spec cores
            Target = target
            Norm2 = norm * norm
            Bound = bound
            Blocks = blocks
            Full = Plan.make Order.Auto spec
            Gauge = Bonds.ofSpec spec
            Sensitivity = Sensitivity.plan spec
            Lambdas = Array.create cores.Length None
            Reaches = Array.zeroCreate cores.Length
            Cache = Environment.keeping blocks
            Taken = 0
        }

    /// One sweep in place: every block, then one cycle of the gauge. The error and S after it; NaN where a block is not finite.
    let once (work: Sweeping) : float * float =
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
                    CorrectionBlock.solveKeeping
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

        // A bond that has become rank deficient on the way is left as the blocks made it.
        let s =
            match Gauge.cycles 1 work.Gauge work.Sensitivity work.Cores with
            | Ok(s, _) -> s
            | Error _ -> (Sensitivity.totalOf work.Sensitivity work.Target.dtype work.Target.device work.Lookup).number()

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

    /// Sweeps of blocks in place from a feasible, balanced start; ends with the last iterate that kept the bound and did not raise S.
    let run (options: SweepOptions) (spec: Spec) (target: Tensor) (bound: float) (norm: float) (s0: float) (cores: Tensor[]) =
        use work = make spec target bound norm cores
        let blocks, lambdas = work.Blocks, work.Lambdas

        use point = new Extrapolated(accelerationDepth, blocks.Length, cores, ignore)

        /// Sweeps from the current point, which may be an extrapolated one, until the bound is met, at most so many: kept where that does not raise S, undone
        /// otherwise; then the next extrapolated point. Written so that NaN counts as a failure, and an S below zero, which is rounding alone.
        let attempt most s =
            point.Attempt(fun () ->
                let rec land count before =
                    let error, next = once work
                    work.Taken <- count

                    if error <= bound * (1.0 + feasibility) then
                        if next >= 0.0 && next <= s * (1.0 + 1e-12) then Some(error, next) else None
                    // At the pace of the last sweep the bound must be within reach.
                    elif error - bound < float (most - count) * (before - error) then
                        land (count + 1) error
                    else
                        None

                land 1 infinity)

        let land = lazy Landscape.make spec target bound

        let searchable =
            hasAllFree spec
            && Spec.parameters spec > Joint.limit
            && spec.Cores.Length > 1
            && bound >= jointBelow * norm

        /// All cores moved together, and brought to the bound by sweeps: the steps that took, and what has been reached, or None where that is not below S.
        let search n again s =
            use _ = torch.NewDisposeScope()
            point.Undo()
            let mutable steps = 0

            let listen (ground: Ground) =
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
                    attempt most s

            let result = Newton.search land.Value bound multiplier options.Tolerance listen lands (point.Vector())
            (if result.IsSome then steps + work.Taken else steps), result

        /// When to search next: the sweep, S at the last search.
        let mutable nextSearch, searchedAt = searchAfter, infinity

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

                    let goesOn = n + 2 < options.MaxSweeps && not options.Cancellation.IsCancellationRequested

                    if searchable && n + 1 >= nextSearch && crawls && goesOn then
                        let steps, result = search (n + 1) (searchedAt < infinity) next
                        let found = result |> Option.map snd |> Option.defaultValue next
                        searchedAt <- next
                        nextSearch <- n + 1 + steps + searchAfter

                        result
                        |> Option.iter (fun (error, s) -> SweepOptions.report options (n + 1 + steps) (error / norm) s)

                        loop (n + 1 + steps) found true (List.replicate steps found @ next :: trace)
                    elif plain && s - next <= options.Tolerance * s then
                        n + 1, Stop.Converged, next :: trace
                    else
                        // After too small a gain by an extrapolated point, a plain sweep decides whether that was all.
                        let small = s - next <= options.Tolerance * s

                        if small then
                            point.Undo()

                        loop (n + 1) next (small || point.IsPlain) (next :: trace)

        let n, stop, trace = loop 0 s0 true [ s0 ]
        point.Undo()
        n, stop, List.rev trace
