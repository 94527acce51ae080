namespace TensorNets

open TorchSharp

/// The way to a bound from cores that miss it.
[<RequireQualifiedAccess>]
module internal BoundApproach =
    /// The most rounds of all cores together, and the factor by which one must lower the error for another.
    let private mostRounds, private roundGain = 16, 0.95

    /// The cores brought nearer to the bound all together, in place: where least squares one core at a time creep. The error after it,
    /// which is no higher than before, and the least relative error after each step.
    let private together (problem: CorrectionProblem) (cores: Tensor[]) : float * float list =
        let spec, bound, norm = problem.Spec, problem.Bound, problem.Norm
        let error () = CorrectionProblem.error problem cores
        let objective = Objective.make spec problem.Target bound
        let first = error ()
        let mutable trace = []

        let goesOn () = (CorrectionProblem.ending problem trace.Length).IsNone

        let listen residual =
            let before = trace |> List.tryHead |> Option.defaultValue (first / norm)
            let now = sqrt (max 0.0 residual) / norm
            // Written so that NaN counts as no gain.
            trace <- (if now < before then now else before) :: trace
            SweepOptions.report problem.Options trace.Length trace.Head nan
            goesOn ()

        let round before =
            use scope = torch.NewDisposeScope()
            use best = new Best(cores)
            // A bond that cannot be balanced is left as it is.
            Gauge.lenient Gauge.maxCycles (FreeBonds.ofSpec spec) (Sensitivity.plan spec) cores |> ignore

            AugmentedLagrangian.approach objective (bound * (1.0 - CorrectionProblem.feasibility)) listen (CoreVector.ofCores cores)
            |> CoreVector.put scope cores.Length cores

            let after = error ()

            // Written so that NaN counts as a failure.
            if after <= before then
                after
            else
                best.Restore()
                before

        let rec rounds n before =
            let after = round before

            // Written so that NaN counts as no gain.
            if after <= bound || n >= mostRounds || not (after <= roundGain * before && goesOn ()) then
                after
            else
                rounds (n + 1) after

        let reached = if goesOn () then rounds 1 first else first
        reached, List.rev trace

    /// From cores that miss a bound to the bound, in place, or as near as the sweeps of the options lead: how it went, and the error. Least
    /// squares first, with half of the sweeps, then all cores together, then least squares again with what is left; with all where a core
    /// is fixed, or the bound is zero.
    let run (problem: CorrectionProblem) (cores: Tensor[]) : FitHistory * float =
        let most, spec = problem.Options.MaxSweeps, problem.Spec
        let meets = CorrectionProblem.meets problem
        let error () = CorrectionProblem.error problem cores
        let until _ relative = meets (relative * problem.Norm)

        let leastSquares before most = Als.sweepUntil (SweepOptions.part before most problem.Options) until spec problem.Target cores

        let movesTogether = problem.Bound > 0.0 && CorrectionProblem.hasAllFree spec

        let n, stop, trace = leastSquares 0 (if movesTogether then (most + 1) / 2 else most)
        let swept = error ()

        if meets swept || not movesTogether || stop = Stop.Cancelled then
            FitHistory.make n stop trace, swept
        else
            let reached, steps = together (CorrectionProblem.part n most problem) cores
            let n, trace = n + steps.Length, trace @ steps

            if meets reached then
                FitHistory.make n Stop.Converged trace, reached
            else
                let more, stop, last = leastSquares n most
                FitHistory.make (n + more) stop (trace @ List.tail last), error ()
