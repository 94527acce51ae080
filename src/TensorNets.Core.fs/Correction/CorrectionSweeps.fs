namespace TensorNets

open TorchSharp

/// Sweeps of the correction, and searches for all cores together where sweeps crawl.
[<RequireQualifiedAccess>]
module internal CorrectionSweeps =
    /// Sweeps after which all cores are searched together, and the share of S that sweeps must still gain for that.
    let private searchAfter, private crawl = 2, 1e-4

    /// The share of S that a search must have gained for another one.
    let private worthAnother = 2e-3

    /// The most sweeps that bring the point that a search found to the bound.
    let private landing = 8

    /// How many sweeps are combined into an extrapolated point.
    let private accelerationDepth = 8

    /// What S may rise by in a sweep, as a share of it: rounding.
    let private rounding = 1e-12

    /// Whether S and the error of a sweep are better than S before, within the bound. Written so that NaN counts as a failure, and an S
    /// below zero, which is rounding alone.
    let private isBetter problem s (error, next) = CorrectionProblem.meets problem error && next >= 0.0 && next <= s * (1.0 + rounding)

    /// Sweeps from a point that may be extrapolated, and what searches for all cores read.
    [<NoEquality; NoComparison>]
    type private Iteration =
        {
            Work: CorrectionSweep
            Point: Extrapolated
            Objective: Lazy<Objective>
        }

        member this.Problem = this.Work.Problem

    let private isCancelled (problem: CorrectionProblem) = problem.Options.Cancellation.IsCancellationRequested

    /// Sweeps from the current point until the bound is met, at most `most`: kept where that does not raise S, undone otherwise; then the
    /// next extrapolated point. How many sweeps that took, and the error and S where they are kept.
    let private attempt (iteration: Iteration) (most: int) (s: float) : int * (float * float) option =
        let problem = iteration.Problem
        let mutable taken = 0

        let landed =
            iteration.Point.Attempt(fun () ->
                let rec land count before =
                    taken <- count
                    let error, next = CorrectionSweep.once iteration.Work

                    if CorrectionProblem.meets problem error then
                        if isBetter problem s (error, next) then Some(error, next) else None
                    // At the pace of the last sweep the bound must be within reach.
                    elif error - problem.Bound < float (most - count) * (before - error) then
                        land (count + 1) error
                    else
                        None

                Decompose.attempt (fun () -> land 1 infinity) |> Option.flatten)

        taken, landed

    /// All cores moved together after n sweeps, and brought to the bound by further ones: the steps and sweeps that took, and the error and
    /// S that have been reached, or None where that is not below S. `again`: there has been a search before.
    let private search (iteration: Iteration) (n: int) (again: bool) (s: float) : int * (float * float) option =
        use _ = torch.NewDisposeScope()
        let problem = iteration.Problem
        iteration.Point.Undo()
        let mutable steps = 0

        let listen (evaluation: Evaluation) =
            steps <- steps + 1
            CorrectionProblem.report problem (n + steps) (sqrt (max 0.0 evaluation.Residual)) evaluation.S
            n + steps < problem.Options.MaxSweeps - 1 && not (isCancelled problem)

        let lands found =
            let most = min landing (problem.Options.MaxSweeps - n - steps)

            if most < 1 || isCancelled problem then
                None
            else
                iteration.Point.Put found
                let taken, landed = attempt iteration most s
                steps <- steps + taken
                landed

        let options =
            {
                Bound = problem.Bound
                Tolerance = problem.Options.Tolerance
                Multiplier =
                    if again then
                        iteration.Work.Lambdas
                        |> Array.choose id
                        |> Array.tryLast
                        |> Option.map (fun lambda -> 1.0 / lambda)
                    else
                        None
            }

        let result =
            AugmentedLagrangian.search options iteration.Objective.Value listen lands (iteration.Point.Vector())

        steps, result

    /// Sweeps of blocks in place from a feasible, balanced start, of which n0 have been before: the sweeps, why they ended, and S after
    /// each. Ends with the last iterate that kept the bound and did not raise S, or, if `heeds`, where a bond has directions without
    /// weight.
    let private runOn (heeds: bool) (n0: int) (s0: float) (work: CorrectionSweep) : int * Stop * float list =
        let problem = work.Problem
        let options, spec = problem.Options, problem.Spec
        use point = new Extrapolated(accelerationDepth, (Spec.freeCores spec).Length, work.Cores, ignore)
        let objective = lazy Objective.make spec problem.Target problem.Bound
        let iteration = { Work = work; Point = point; Objective = objective }

        let searchable =
            CorrectionProblem.hasAllFree spec
            && Spec.parameters spec > DenseSqp.limit
            && spec.Cores.Length > 1
            && not (CorrectionProblem.isTight problem)

        /// When to search next: the sweep, S at the last search.
        let mutable nextSearch, searchedAt = n0 + searchAfter, infinity

        let rec loop n s plain trace =
            match SweepOptions.ending options n with
            | Some stop -> n, stop, trace
            | None ->
                match snd (attempt iteration 1 s) with
                | None when plain -> n, Stop.Rounding, trace
                | None -> loop (n + 1) s true (s :: trace)
                | Some(error, next) ->
                    CorrectionProblem.report problem (n + 1) error next
                    let crawls = s - next > crawl * s && next < (1.0 - worthAnother) * searchedAt
                    let goesOn = not (heeds && work.Deficient) && n + 2 < options.MaxSweeps && not (isCancelled problem)

                    if searchable && n + 1 >= nextSearch && crawls && goesOn then
                        let steps, result = search iteration (n + 1) (searchedAt < infinity) next
                        let n = n + 1 + steps
                        let found = result |> Option.map snd |> Option.defaultValue next
                        searchedAt <- next
                        nextSearch <- n + searchAfter
                        result |> Option.iter (fun (error, s) -> CorrectionProblem.report problem n error s)
                        loop n found true (List.replicate steps found @ next :: trace)
                    elif heeds && work.Deficient then
                        n + 1, Stop.Rounding, next :: trace
                    else
                        // After too small a gain by an extrapolated point, a plain sweep decides whether that was all.
                        let small = s - next <= options.Tolerance * s

                        if plain && small then
                            n + 1, Stop.Converged, next :: trace
                        else
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
    /// S. None where there is none such; then the cores are as they were. Also the sweeps that took, at most `most`.
    let private pruned (most: int) (problem: CorrectionProblem) (s: float) (cores: Tensor[]) : int * (Spec * float * float) option =
        use before = new Best(cores)
        let mutable taken = 0

        let tryShare share =
            let left = min recovery (most - taken)
            let spec = problem.Spec

            let struct (smaller, changed) =
                if left < 1 then struct (spec, false) else Redundancy.cut share (fun _ _ -> true) spec cores

            let result =
                if not changed then
                    None
                else
                    use work = CorrectionSweep.make { problem with Spec = smaller } cores
                    Gauge.lenient Gauge.maxCycles work.Gauge work.Sensitivity cores |> ignore

                    let rec land count =
                        taken <- taken + 1
                        let found = CorrectionSweep.once work

                        if isBetter problem s found then Some(smaller, fst found, snd found)
                        elif count < left then land (count + 1)
                        else None

                    Decompose.attempt (fun () -> land 1) |> Option.flatten

            if result.IsNone && changed then
                before.Restore()

            result

        let result = redundant |> List.tryPick tryShare
        taken, result

    /// Sweeps of blocks in place from a feasible, balanced start of sensitivity s0 until they end and no bond has a direction that can be
    /// spared: the spec of what is left, the sweeps, why they ended, and S at the start and after each.
    let run (problem: CorrectionProblem) (s0: float) (cores: Tensor[]) : Spec * int * Stop * float list =
        let rec goOn heeds (problem: CorrectionProblem) n s trace =
            use work = CorrectionSweep.make problem cores
            let n, stop, more = runOn heeds n s work
            let trace = trace @ more
            let s = List.last (s :: more)

            if stop <> Stop.Rounding && stop <> Stop.Converged then
                problem.Spec, n, stop, trace
            else
                let most = problem.Options.MaxSweeps
                let taken, result = pruned (most - n) problem s cores
                let n = n + taken
                let s = result |> Option.map (fun (_, _, s) -> s) |> Option.defaultValue s
                let trace = trace @ List.replicate taken s

                match result with
                | Some(smaller, error, _) ->
                    CorrectionProblem.report problem n error s

                    if n < most then
                        goOn true { problem with Spec = smaller } n s trace
                    else
                        smaller, n, Stop.MaxSweeps, trace
                | None when heeds && work.Deficient -> goOn false problem n s trace
                | None -> problem.Spec, n, stop, trace

        goOn true problem 0 s0 [ s0 ]
