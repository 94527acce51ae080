namespace TensorNets

open TorchSharp

/// What a search looks for.
type internal LagrangianSearch =
    {
        /// δ.
        Bound: float
        /// The share of S below which a step's predicted decrease ends a search that has a multiplier.
        Tolerance: float
        /// y at a start that is already near the least S; None from anywhere else.
        Multiplier: float option
    }

/// Truncated Newton on the augmented Lagrangian (`LagrangianStep`), for all cores at once and of any size: minimise S + y h + ½ ρ h² over
/// the cores, where h = ‖K − T‖² − δ² and y → y + ρ h in between. The way to a low S leads through points that miss the bound, which block
/// descent cannot take: it follows a narrow valley instead. Source: Nocedal and Wright, Numerical Optimization, 2nd ed., ch. 7 and 17.
[<RequireQualifiedAccess>]
module internal AugmentedLagrangian =
    /// The first y in units of S / min(δ², ‖K‖² − δ²); a small one lets the error rise until the penalty holds it.
    let private firstMultiplier = 0.5

    /// How far h may rise, as a share of min(δ², ‖K‖² − δ²), until the penalty doubles the multiplier: at first, and at least.
    let private firstBand, private leastBand = 0.05, 1e-3

    /// What y may change by in one update, down and up: h far from the bound says little of how far.
    let private leastFactor, private mostFactor = 0.4, 4.0

    /// The band narrows by this factor where h has not halved since the last update.
    let private narrowing, private halved = 0.7, 0.5

    /// Steps before y is first updated, and between updates.
    let private warming, private period = 10, 3

    /// y is updated where a step's predicted decrease is below this share of y |h|.
    let private settledShare = 0.2

    /// Steps between the rises of y on the way to the bound, and the factor of each.
    let private rising, private rise = 4, 4.0

    /// The way to the bound is given up where between two rises r falls by no more than this factor, though not within the first steps.
    let private leastProgress, private settling = 0.98, 20

    /// The largest number of steps of one search.
    let private mostSteps = 300

    /// The distance from δ², as a share of it, that counts as near, and as near enough for sweeps of blocks to go on from the first time.
    let private near, private roughlyNear = 1e-5, 1.5e-2

    /// After a point that did not land, only one at this share of its distance is tried.
    let private nearer = 0.5

    /// The first steps are over where S falls to no less than this share.
    let private leastFall = 0.9

    /// The start as a state.
    let private initial (objective: Objective) (start: Tensor) (y: Evaluation -> float) : LagrangianState =
        let evaluation = Objective.at objective start

        {
            Point = start.clone ()
            Evaluation = evaluation
            Y = y evaluation
            Band = firstBand
            Missed = infinity
            Radius = None
            Falls = false
            Waited = 0
        }

    /// Steps until one is the last, `listen` says so, or there have been too many; the state, and what the last step resulted in.
    let private iterate (next: int -> LagrangianState -> LagrangianState * 'T option * bool) (listen: Evaluation -> bool) state =
        let rec loop n (state: LagrangianState) : LagrangianState * 'T option =
            let after, result, last = next n state
            let goOn = listen after.Evaluation

            if last || not goOn || LagrangianStep.isStuck after || n >= mostSteps then
                after, result
            else
                loop (n + 1) after

        loop 0 state

    /// Whether a step was too small, beside what y costs, for another at this y.
    let private isSettled (bound2: float) (y: float) (decrease: float) (after: LagrangianState) =
        decrease < settledShare * y * abs (after.Evaluation.Residual - bound2)

    /// y and the band after a step.
    let private updated (unit: float) (bound2: float) (state: LagrangianState) =
        let h = state.Evaluation.Residual - bound2
        let slow = abs h > halved * abs state.Missed && abs h > near * bound2

        let y =
            max (leastFactor * state.Y) (min (mostFactor * state.Y) (state.Y + state.Y / (state.Band * unit) * h))

        { state with
            Y = y
            Band = (if slow then max leastBand (narrowing * state.Band) else state.Band)
            Missed = h
        }

    /// What `lands`, sweeps of blocks that bring a point to the bound, or None where they fail, makes of a point of low S near the bound.
    /// Without a multiplier the first such point that lands; with one the point from where a step's predicted decrease is below the
    /// tolerance. `listen` hears of every step and says whether to go on. The start is not changed.
    let search
        (options: LagrangianSearch)
        (objective: Objective)
        (listen: Evaluation -> bool)
        (lands: Tensor -> 'T option)
        (start: Tensor)
        : 'T option =
        use scope = torch.NewDisposeScope()
        let multiplier, bound2 = options.Multiplier, options.Bound * options.Bound
        let unit = min bound2 (objective.Norm2 - bound2)
        let guess (evaluation: Evaluation) = firstMultiplier * evaluation.S / unit

        let landed state =
            use _ = torch.NewDisposeScope()
            lands (LagrangianStep.restored objective bound2 state)

        let mutable close = if multiplier.IsSome then near else roughlyNear

        let next n (state: LagrangianState) =
            let state = if state.Falls then { state with Y = guess state.Evaluation } else state
            let before = state.Evaluation.S
            let penalty = { Y = state.Y; Rho = state.Y / (state.Band * unit); Bound2 = bound2 }
            let after, decrease, atOnce = LagrangianStep.tried objective penalty state

            let distance = abs (after.Evaluation.Residual - bound2) / bound2

            let isNear =
                not state.Falls
                && distance < close
                && (multiplier.IsNone || decrease < options.Tolerance * after.Evaluation.S)

            let result = if isNear && multiplier.IsNone then landed after else None

            if isNear && result.IsNone then
                close <- min close (nearer * distance)

            let after =
                { after with
                    Falls = state.Falls && atOnce && n < warming && after.Evaluation.S <= leastFall * before
                }

            let after =
                if state.Falls then
                    after
                elif state.Waited < period - 1 && not (isSettled bound2 state.Y decrease after) then
                    { after with Waited = state.Waited + 1 }
                else
                    updated unit bound2 { after with Waited = 0 }

            after, result, result.IsSome || isNear && multiplier.IsSome

        let y evaluation = multiplier |> Option.defaultValue (guess evaluation)
        let state, result = iterate next listen { initial objective start y with Falls = multiplier.IsNone }
        result |> Option.orElseWith (fun () -> landed state)

    /// A point that meets the bound, or the nearest found: S + y ‖K − T‖² with rising y, whose S keeps the cores from growing where least
    /// squares alone creeps along diverging ones. `listen` hears the least ‖K − T‖² so far after every step, and says whether to go on. The
    /// caller's scope owns the result.
    let approach (objective: Objective) (bound: float) (listen: float -> bool) (start: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let bound2 = bound * bound
        let mutable least, best = infinity, start.clone ()

        let keep (state: LagrangianState) =
            if state.Evaluation.Residual < least then
                least <- state.Evaluation.Residual
                best.Dispose()
                best <- state.Point.clone ()

        let next n (state: LagrangianState) =
            let penalty = { Y = state.Y; Rho = 0.0; Bound2 = 0.0 }
            let after, _, _ = LagrangianStep.tried objective penalty state
            keep after
            let met = after.Evaluation.Residual <= bound2

            if n % rising = rising - 1 then
                let creeps = after.Evaluation.Residual > leastProgress * state.Missed
                { after with Y = rise * after.Y; Missed = after.Evaluation.Residual }, None, met || creeps && n > settling
            else
                after, None, met

        // Where the residual's share of the sum is that of S at the start.
        let y (evaluation: Evaluation) = evaluation.S / max evaluation.Residual bound2
        let first = initial objective start y
        keep first
        iterate next (fun _ -> listen least) first |> ignore
        scope.MoveToOuter best
