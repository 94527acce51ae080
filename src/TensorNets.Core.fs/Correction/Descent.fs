namespace TensorNets

open System
open TorchSharp

/// The way down to the least S from cores that meet the bound: sweeps, and for small networks all cores together.
[<RequireQualifiedAccess>]
module internal Descent =
    let private feasibility = CorrectionProblem.feasibility

    /// The share of T up to which directions of bonds are cut where sweeps have ended.
    let private spent = 1e-10

    /// The share by which S may rise where cores become smaller by more than half for it: what is cut is a direction that S hardly feels.
    /// One with the share p of T was seen to be worth about √p of S.
    let private unfelt = 10.0 * sqrt spent

    let private largest (cores: Tensor[]) : float =
        use _ = torch.NewDisposeScope()
        cores |> Array.map (fun core -> core.abs().max().number()) |> Array.max

    /// The bonds of cores without directions that are noise of the target, in place, where the error stays within a limit.
    let withoutNoise (noise: float) (limit: float) (target: Tensor) (spec: Spec) (cores: Tensor[]) : Spec =
        use _ = torch.NewDisposeScope()

        let tensor spec cores =
            Contraction.runMany [ Plan.make Order.Auto spec ] target.dtype target.device (CoreArray.Lookup spec cores)
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
        let before = Sensitivity.numberOf plan torch.float64 cores[0].device (CoreArray.Lookup spec cores)
        let s, _, _ = Gauge.lenient Gauge.maxCycles (FreeBonds.ofSpec spec) plan cores

        // Written so that NaN counts as a failure.
        if s <= before then
            s
        else
            best.Restore()
            before

    /// Where the bound is all but zero: the least S found among the cores of the tensor that they make now, in place; the least S after
    /// every step. `given` holds cores as they were before they were balanced, from where other valleys are reached.
    let private alongLevelSet (problem: CorrectionProblem) (work: DenseDerivatives) (given: Tensor list) (s: float) (cores: Tensor[]) =
        let goesOn steps = (CorrectionProblem.ending problem steps).IsNone

        if not (CorrectionProblem.isTight problem) || not (goesOn 0) then
            []
        else
            use scope = torch.NewDisposeScope()
            let mutable trace = []

            // Where the best path began above the S of the sweeps, the trace does not.
            let listen now =
                trace <- min s now :: trace
                CorrectionProblem.report problem trace.Length problem.Bound trace.Head
                goesOn trace.Length

            let search () =
                LevelSet.search
                    work
                    (problem.Bound * (1.0 + 0.5 * feasibility))
                    problem.Options.MaxSweeps
                    problem.Options.Tolerance
                    listen
                    (CoreVector.ofCores cores :: given)

            match Decompose.attempt search with
            | Some(point, _) when not trace.IsEmpty -> CoreVector.put scope cores.Length cores point
            | _ -> ()

            List.rev trace

    /// All cores together, in place, from where sweeps of blocks have ended with a sensitivity of s: the least S after each step, and why
    /// they ended.
    let private together (problem: CorrectionProblem) given s (cores: Tensor[]) : float list * Stop =
        let work = DenseDerivatives(problem.Spec, problem.Target)
        let found = alongLevelSet problem work given s cores
        let s = List.last (s :: found)
        let rest = CorrectionProblem.part found.Length problem.Options.MaxSweeps problem

        let steps, stop =
            Decompose.attempt (fun () -> DenseSqp.run rest work s cores)
            |> Option.defaultValue ([], Stop.Rounding)

        found @ steps, stop

    let private movesTogether (spec: Spec) = CorrectionProblem.hasAllFree spec && Spec.parameters spec <= DenseSqp.limit

    /// All cores of a small network together, in place, where sweeps crawled, and then sweeps with what is left.
    let private continued (problem: CorrectionProblem) (swept: FitHistory) (given: Tensor list) (cores: Tensor[]) : Spec * FitHistory =
        let most, spec = problem.Options.MaxSweeps, problem.Spec

        let steps, stop =
            together (CorrectionProblem.part swept.Sweeps most problem) given (List.last swept.Trace) cores

        let n, trace = swept.Sweeps + steps.Length, swept.Trace @ steps

        match stop with
        | Stop.MaxSweeps
        | Stop.Cancelled -> spec, FitHistory.make n stop trace
        | Stop.Converged when swept.Stop = Stop.MaxSweeps ->
            let spec, more, stop, last =
                CorrectionSweeps.run (CorrectionProblem.part n most problem) (List.last trace) cores

            spec, FitHistory.make (n + more) stop (trace @ List.tail last)
        | _ -> spec, FitHistory.make n swept.Stop trace

    /// The cores, in place, without directions that hold next to nothing of T, balanced again; or as they were, where that raises S or the
    /// error. Sweeps that were broken off leave directions without weight, along which cores may be of any size.
    let private trimmed (problem: CorrectionProblem) (trace: float list) (cores: Tensor[]) : Spec =
        let limit = problem.Bound * (1.0 + feasibility)
        use reached = new Best(cores)
        let before = largest cores
        let cut = withoutNoise spent limit problem.Target problem.Spec cores

        // A bond that is cut is no longer balanced, and the last sweep has one cycle behind it, which leaves directions that S does not
        // feel where they are.
        let s, _, _ = Gauge.lenient Gauge.maxCycles (FreeBonds.ofSpec cut) (Sensitivity.plan cut) cores
        let share = if largest cores < 0.5 * before then unfelt else feasibility

        if
            s <= List.last trace * (1.0 + share)
            && s <= trace.Head * (1.0 + feasibility)
            && CorrectionProblem.error { problem with Spec = cut } cores <= limit
        then
            cut
        else
            reached.Restore()
            problem.Spec

    /// From cores that meet the bound, in place: the spec of what is left, and how that went. Of a small network sweeps have half of the
    /// sweeps of the options; where they crawl, or the bound is all but zero, all cores together follow, and then sweeps with what is left.
    let run (problem: CorrectionProblem) (cores: Tensor[]) : Spec * FitHistory =
        use given = CoreVector.ofCores cores
        let s = balanced problem.Spec cores
        let most = problem.Options.MaxSweeps
        let share = if movesTogether problem.Spec then (most + 1) / 2 else most
        let smaller, n, ended, trace = CorrectionSweeps.run (CorrectionProblem.part 0 share problem) s cores
        let swept, left = FitHistory.make n ended trace, { problem with Spec = smaller }
        let crawls = ended <> Stop.Converged || CorrectionProblem.isTight problem

        if not (Double.IsFinite(CorrectionProblem.error left cores)) then
            smaller, swept
        else
            let spec, history =
                if crawls && ended <> Stop.Cancelled && movesTogether smaller then
                    continued left swept (if smaller = problem.Spec then [ given ] else []) cores
                else
                    smaller, swept

            trimmed { problem with Spec = spec } history.Trace cores, history
