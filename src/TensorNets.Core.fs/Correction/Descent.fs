namespace TensorNets

open System
open TorchSharp

/// The way down to the least S from cores that meet the bound: sweeps, and for small networks all cores together.
[<RequireQualifiedAccess>]
module internal Descent =
    let private feasibility = CorrectionSweeps.feasibility

    /// The share of T up to which directions of bonds are cut where sweeps have ended.
    let private spent = 1e-10

    /// The share by which S may rise where cores become smaller by more than half for it: what is cut is a direction that S hardly feels. One
    /// with the share p of T was seen to be worth about √p of S.
    let private unfelt = 10.0 * sqrt spent

    let private largest (cores: Tensor[]) : float =
        use _ = torch.NewDisposeScope()
        cores |> Array.map (fun core -> core.abs().max().number()) |> Array.max

    /// The bonds of cores without directions that are noise of the target, in place, where the error stays within a limit.
    let withoutNoise (noise: float) (limit: float) (target: Tensor) (spec: Spec) (cores: Tensor[]) : Spec =
        use _ = torch.NewDisposeScope()

        let tensor spec cores =
            Contraction.runMany [ Plan.make Order.Auto spec ] target.dtype target.device (Fit.lookup spec cores)
            |> List.head

        let before: Tensor = tensor spec cores
        let most = noise * target.norm().number()

        let accepts spec cores =
            use _ = torch.NewDisposeScope()
            let after: Tensor = tensor spec cores
            target.minus(after).norm().number() <= limit && before.minus(after).norm().number() <= most

        let exact =
            use best = new Best(cores)
            let smaller = BondTruncation.truncate spec cores

            if smaller = spec || accepts smaller cores then
                smaller
            else
                best.Restore()
                spec

        let struct (left, _) = Redundancy.cut noise accepts exact cores
        left

    /// Balanced in place, unless rounding at a bond without weight raises S by it: S.
    let private balanced (spec: Spec) (cores: Tensor[]) : float =
        use best = new Best(cores)
        let plan = Sensitivity.plan spec
        let before = Sensitivity.numberOf plan torch.float64 cores[0].device (Fit.lookup spec cores)
        let s, _ = Gauge.lenient Gauge.maxCycles (BondGauge.ofSpec spec) plan cores

        // Written so that NaN counts as a failure.
        if s <= before then
            s
        else
            best.Restore()
            before

    /// Where the bound is all but zero: the least S found among the cores of the tensor that they make now, in place; the least S after
    /// every step. `given` holds cores as they were before they were balanced, from where other valleys are reached.
    let private alongLevelSet
        (options: SweepOptions)
        (work: DenseDerivatives)
        norm
        bound
        (given: Tensor list)
        (s: float)
        (cores: Tensor[])
        =
        let goesOn steps = (SweepOptions.ending options steps).IsNone

        if bound >= CorrectionSweeps.jointBelow * norm || not (goesOn 0) then
            []
        else
            use scope = torch.NewDisposeScope()
            let mutable trace = []

            // Where the best path began above the S of the sweeps, the trace does not.
            let listen now =
                trace <- min s now :: trace
                SweepOptions.report options trace.Length (bound / norm) trace.Head
                goesOn trace.Length

            let search () =
                LevelSet.search
                    work
                    (bound * (1.0 + 0.5 * feasibility))
                    options.MaxSweeps
                    options.Tolerance
                    listen
                    (CoreVector.ofCores cores :: given)

            match ConstrainedQuadratics.guarded search with
            | Some(point, _) when not trace.IsEmpty -> CoreVector.put scope cores.Length cores point
            | _ -> ()

            List.rev trace

    /// All cores together, in place, from where sweeps of blocks have ended: the least S after each step, and why they ended.
    let private together (options: SweepOptions) (spec: Spec) (k: Tensor) bound norm given s (cores: Tensor[]) : float list * Stop =
        let work = DenseDerivatives(spec, k)
        let found = alongLevelSet options work norm bound given s cores
        let s = List.last (s :: found)
        let rest = SweepOptions.part found.Length options.MaxSweeps options

        let steps, stop =
            ConstrainedQuadratics.guarded (fun () -> DenseSqp.run rest work bound feasibility norm s cores)
            |> Option.defaultValue ([], Stop.Rounding)

        found @ steps, stop

    /// From cores that meet the bound, in place: the spec of what is left, and how that went. Of a small network sweeps have half of the
    /// sweeps of the options; where they crawl, or the bound is all but zero, all cores together follow, and then sweeps with what is left.
    let run (options: SweepOptions) (spec: Spec) (k: Tensor) bound norm (cores: Tensor[]) : Spec * FitHistory =
        use given = CoreVector.ofCores cores
        let s = balanced spec cores
        let most = options.MaxSweeps
        let movesTogether spec = CorrectionSweeps.hasAllFree spec && Spec.parameters spec <= DenseSqp.limit
        let share = if movesTogether spec then (most + 1) / 2 else most

        let smaller, n, ended, trace =
            CorrectionSweeps.run (SweepOptions.part 0 share options) spec k bound norm s cores

        let finite =
            Double.IsFinite(Fit.explicitError (Plan.make Order.Auto smaller) k (Fit.lookup smaller cores))

        let crawls = ended <> Stop.Converged || bound < CorrectionSweeps.jointBelow * norm

        let left, n, stop, trace =
            if not (crawls && finite && movesTogether smaller) || ended = Stop.Cancelled then
                smaller, n, ended, trace
            else
                let given = if smaller = spec then [ given ] else []

                let steps, stop =
                    together (SweepOptions.part n most options) smaller k bound norm given (List.last trace) cores

                let n, trace = n + steps.Length, trace @ steps

                match stop with
                | Stop.MaxSweeps
                | Stop.Cancelled -> smaller, n, stop, trace
                | Stop.Converged when ended = Stop.MaxSweeps ->
                    let rest = SweepOptions.part n most options
                    let spec, more, stop, last = CorrectionSweeps.run rest smaller k bound norm (List.last trace) cores
                    spec, n + more, stop, trace @ List.tail last
                | _ -> smaller, n, ended, trace

        // Sweeps that were broken off leave directions without weight, along which cores may be of any size.
        let limit = bound * (1.0 + feasibility)
        use reached = new Best(cores)
        let before = largest cores
        let cut = if finite then withoutNoise spent limit k left cores else left

        // A bond that is cut is no longer balanced, and the last sweep has one cycle behind it, which leaves directions that S does not feel
        // where they are.
        let isBalanced () =
            let s, _ = Gauge.lenient Gauge.maxCycles (BondGauge.ofSpec cut) (Sensitivity.plan cut) cores
            let share = if largest cores < 0.5 * before then unfelt else feasibility

            s <= List.last trace * (1.0 + share)
            && s <= trace.Head * (1.0 + feasibility)
            && Fit.explicitError (Plan.make Order.Auto cut) k (Fit.lookup cut cores) <= limit

        if not finite || isBalanced () then
            cut, FitHistory.make n stop trace
        else
            reached.Restore()
            left, FitHistory.make n stop trace
