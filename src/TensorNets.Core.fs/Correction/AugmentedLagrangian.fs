namespace TensorNets

open TorchSharp

/// Truncated Newton on the augmented Lagrangian, for all cores at once and of any size:
/// minimise S + y h + ½ ρ h² over the cores, where h = ‖K − T‖² − δ² and y → y + ρ h in between. The way to a low S leads through points
/// that miss the bound, which block descent cannot take: it follows a narrow valley instead. The quadratic model is minimised in a ball by
/// conjugate gradients; products with the Hessian are differences of gradients, so that nothing larger than a gradient is ever formed, and
/// the blocks' own curvature is the preconditioner. Sources: Steihaug, "The Conjugate Gradient Method and Trust Regions in Large Scale
/// Optimization", SIAM J. Numer. Anal. 20(3), 1983; Nocedal and Wright, Numerical Optimization, 2nd ed., ch. 7 and 17.
[<RequireQualifiedAccess>]
module internal AugmentedLagrangian =
    /// The step of a difference of gradients, relative to the point: both its rounding and its error are about this.
    let private differenceStep = 1e-7

    /// The first y in units of S / min(δ², ‖K‖² − δ²); a small one lets the error rise until the penalty holds it.
    let private firstMultiplier = 0.5

    /// How far h may rise, as a share of min(δ², ‖K‖² − δ²), until the penalty doubles the multiplier: at first, and at least.
    let private firstBand, private leastBand = 0.05, 1e-3

    /// Steps before y is first updated, and between updates.
    let private warming, private period = 10, 3

    /// y is updated where a step's predicted decrease is below this share of y |h|.
    let private settledShare = 0.2

    /// Steps between the rises of y on the way to the bound.
    let private rising = 4

    /// The way to the bound is given up where between two rises r falls by no more than this factor, though not within the first steps.
    let private leastProgress, private settling = 0.98, 20

    /// The largest number of steps of one search.
    let private mostSteps = 300

    /// The least share of the predicted decrease that is accepted.
    let private acceptable = 0.1

    /// The distance from δ², as a share of it, that counts as near, and as near enough for sweeps of blocks to go on from the first time.
    let private near, private roughlyNear = 1e-5, 1.5e-2

    /// After a point that did not land, only one at this share of its distance is tried.
    let private nearer = 0.5

    /// Points are brought to within this share of δ² of the bound.
    let private restoredTo = 1e-4

    /// The first steps are over where S falls to no less than this share.
    let private leastFall = 0.9

    /// The radius, in units of √S, below which no step is worth trying.
    let private leastRadius = 1e-10

    /// The preconditioner's share of y where the bound is slack.
    let private leastShare = 1e-3

    /// y, ρ and with them μ = y + ρ h, the slope of the augmented Lagrangian in h.
    type private Penalty =
        {
            Y: float
            Rho: float
            Bound2: float
        }

        member this.Mu(residual: float) = max 0.0 (this.Y + this.Rho * (residual - this.Bound2))

        /// S plus the penalty.
        member this.Value(s: float, residual: float) =
            let h = residual - this.Bound2

            if this.Y + this.Rho * h > 0.0 then
                s + this.Y * h + 0.5 * this.Rho * h * h
            else
                s - 0.5 * this.Y * this.Y / this.Rho

    /// Directions of a step are kept for smaller balls if so many of them are no larger than the target, or than so many entries; otherwise
    /// a smaller ball starts anew.
    let private directions, private smallTarget = 7L, 1_000_000L

    /// The step from a point; the model takes the Hessian of S + μ r by differences and the penalty's own ρ ∇r ∇rᵀ exactly.
    let private stepFrom (land: Objective) (penalty: Penalty) (point: Tensor) (ground: Evaluation) (radius: float option) : BallStep =
        use scope = torch.NewDisposeScope()
        let mu = penalty.Mu ground.Residual
        let rho = if mu > 0.0 then penalty.Rho else 0.0
        let a = ground.SlopeResidual
        let slope = CoreVector.along mu a ground.SlopeS
        let blocks = Objective.preconditioner land (max mu (leastShare * penalty.Y)) point ground
        let pa = blocks a
        let apa = CoreVector.dot a pa
        let length = point.norm().number()

        let hessian (p: Tensor) =
            use inner = torch.NewDisposeScope()
            let h = differenceStep * length / p.norm().number()
            let moved = CoreVector.along h p point
            let change = Objective.slope land mu moved
            moved.Dispose()
            change.add_ (slope, Num.minusOne) |> ignore
            change.mul_ (Num.tensor (1.0 / h)) |> ignore
            CoreVector.advance (rho * CoreVector.dot a p) a change
            inner.MoveToOuter change

        // (M + ρ a aᵀ)⁻¹ by the formula of Sherman and Morrison.
        let precondition (v: Tensor) =
            use inner = torch.NewDisposeScope()
            let w = blocks v
            CoreVector.advance (-rho * CoreVector.dot a w / (1.0 + rho * apa)) pa w
            inner.MoveToOuter w

        let keeps = directions * point.numel () <= max (land.Target.numel ()) smallTarget
        let step = TrustRegion.minimise keeps hessian precondition slope radius

        { step with
            Move = scope.MoveToOuter step.Move
            Legs = [ for leg in step.Legs -> { leg with Direction = scope.MoveToOuter leg.Direction } ]
        }

    type private State =
        {
            Point: Tensor
            Ground: Evaluation
            Y: float
            Band: float
            /// h at the last update of y.
            Missed: float
            Radius: float option
            /// Whether y follows S on its first way down.
            Falls: bool
            /// Steps since y was last updated.
            Waited: int
        }

    let private release (state: State) =
        state.Point.Dispose()
        Evaluation.release state.Ground

    /// The start as a state.
    let private initial (land: Objective) (start: Tensor) (y: Evaluation -> float) : State =
        let ground = Objective.at land start

        {
            Point = start.clone ()
            Ground = ground
            Y = y ground
            Band = firstBand
            Missed = infinity
            Radius = None
            Falls = false
            Waited = 0
        }

    /// The state after a step of a penalty, in a ball that shrinks until the step is accepted, moved or with a ball too small; the decrease
    /// that was predicted, and whether it was accepted at the first attempt.
    let private tried (land: Objective) (penalty: Penalty) (state: State) : State * float * bool =
        use scope = torch.NewDisposeScope()
        let value (ground: Evaluation) = penalty.Value(ground.S, ground.Residual)
        let here = value state.Ground
        let smallest = leastRadius * sqrt state.Ground.S

        /// The point and the ground of a step where it is accepted, and the next radius.
        let attempt (step: BallStep) =
            use inner = torch.NewDisposeScope()
            let moved = state.Point.plus step.Move
            let there = Objective.at land moved
            let ratio = (here - value there) / step.Decrease

            // Written so that NaN counts as a failure.
            let radius =
                if not (ratio >= 0.25) then TrustRegion.shrink * min step.Size step.Radius
                elif ratio > 0.6 && step.Boundary then step.Radius * 2.5
                else step.Radius

            if ratio > acceptable then
                Some(inner.MoveToOuter moved, Evaluation.toOuter inner there), radius
            else
                None, radius

        let rec loop first (step: BallStep) =
            match attempt step with
            | Some(moved, there), radius ->
                let after =
                    { state with
                        Point = scope.MoveToOuter moved
                        Ground = Evaluation.toOuter scope there
                        Radius = Some radius
                    }

                release state
                after, step.Decrease, first
            | None, radius when radius > smallest ->
                if step.Legs.IsEmpty then
                    step.Move.Dispose()
                    loop false (stepFrom land penalty state.Point state.Ground (Some radius))
                else
                    loop false (TrustRegion.shorter radius step)
            | None, radius -> { state with Radius = Some radius }, step.Decrease, false

        loop true (stepFrom land penalty state.Point state.Ground state.Radius)

    /// The point brought nearer to the bound by Newton's steps on h alone, each the shortest in the norm of the blocks' curvature, as long
    /// as they halve |h|. The caller's scope owns it.
    let private restored (land: Objective) (bound2: float) (state: State) : Tensor =
        use scope = torch.NewDisposeScope()
        let aim = bound2 * (1.0 - restoredTo)
        let missed (ground: Evaluation) = abs (ground.Residual - aim)

        let next (point: Tensor) (ground: Evaluation) =
            use inner = torch.NewDisposeScope()
            let direction = Objective.preconditioner land state.Y point ground ground.SlopeResidual
            let t = (aim - ground.Residual) / CoreVector.dot ground.SlopeResidual direction
            let moved = CoreVector.along t direction point
            let there = Objective.at land moved
            inner.MoveToOuter moved, Evaluation.toOuter inner there

        let rec loop point ground =
            if missed ground <= restoredTo * bound2 then
                point
            else
                let moved, there = next point ground
                // Written so that NaN ends it.
                if missed there <= 0.5 * missed ground then loop moved there else point

        loop (state.Point.alias ()) state.Ground |> scope.MoveToOuter

    let private isStuck (state: State) =
        match state.Radius with
        | Some radius -> not (radius > leastRadius * sqrt state.Ground.S)
        | None -> false

    /// Steps until one is the last, `listen` says so, or there have been too many; the state, and what the last step resulted in.
    let private iterate (next: int -> State -> State * 'T option * bool) (listen: Evaluation -> bool) (state: State) : State * 'T option =
        let rec loop n (state: State) =
            let after, result, last = next n state
            let goOn = listen after.Ground
            if last || not goOn || isStuck after || n >= mostSteps then after, result else loop (n + 1) after

        loop 0 state

    /// Whether a step was too small, beside what y costs, for another at this y.
    let private isSettled (bound2: float) (y: float) (decrease: float) (after: State) =
        decrease < settledShare * y * abs (after.Ground.Residual - bound2)

    /// y and the band after a step.
    let private updated (unit: float) (bound2: float) (state: State) =
        let h = state.Ground.Residual - bound2
        let slow = abs h > 0.5 * abs state.Missed && abs h > near * bound2
        let y = max (0.4 * state.Y) (min (4.0 * state.Y) (state.Y + state.Y / (state.Band * unit) * h))

        { state with
            Y = y
            Band = (if slow then max leastBand (0.7 * state.Band) else state.Band)
            Missed = h
        }

    /// What `lands`, sweeps of blocks that bring a point to the bound, or None where they fail, makes of a point of low S near the bound.
    /// Without `multiplier`, from anywhere: the first such point that lands. `multiplier` is y at a start that is already near the least S:
    /// then the point from where a step's predicted decrease is below `tolerance` S. `listen` hears of every step and says whether to go
    /// on. The start is not changed.
    let search
        (land: Objective)
        (bound: float)
        (multiplier: float option)
        (tolerance: float)
        (listen: Evaluation -> bool)
        (lands: Tensor -> 'T option)
        (start: Tensor)
        : 'T option =
        use scope = torch.NewDisposeScope()
        let bound2 = bound * bound
        let unit = min bound2 (land.Norm2 - bound2)
        let guess (ground: Evaluation) = firstMultiplier * ground.S / unit

        let landed state =
            use _ = torch.NewDisposeScope()
            lands (restored land bound2 state)

        let mutable close = if multiplier.IsSome then near else roughlyNear

        let next n (state: State) =
            let state = if state.Falls then { state with Y = guess state.Ground } else state
            let before = state.Ground.S
            let penalty = { Y = state.Y; Rho = state.Y / (state.Band * unit); Bound2 = bound2 }
            let after, decrease, atOnce = tried land penalty state

            let distance = abs (after.Ground.Residual - bound2) / bound2

            let isNear =
                not state.Falls && distance < close && (multiplier.IsNone || decrease < tolerance * after.Ground.S)

            let result = if isNear && multiplier.IsNone then landed after else None

            if isNear && result.IsNone then
                close <- min close (nearer * distance)

            let after =
                { after with Falls = state.Falls && atOnce && n < warming && after.Ground.S <= leastFall * before }

            let after =
                if state.Falls then
                    after
                elif state.Waited < period - 1 && not (isSettled bound2 state.Y decrease after) then
                    { after with Waited = state.Waited + 1 }
                else
                    updated unit bound2 { after with Waited = 0 }

            after, result, result.IsSome || isNear && multiplier.IsSome

        let y ground = multiplier |> Option.defaultValue (guess ground)
        let state, result = iterate next listen { initial land start y with Falls = multiplier.IsNone }
        result |> Option.orElseWith (fun () -> landed state)

    /// A point that meets the bound, or the nearest found: S + y ‖K − T‖² with rising y, whose S keeps the cores from growing where least
    /// squares alone creeps along diverging ones. `listen` hears the least ‖K − T‖² so far after every step, and says whether to go on. The
    /// caller's scope owns the result.
    let approach (land: Objective) (bound: float) (listen: float -> bool) (start: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let bound2 = bound * bound
        let mutable least, best = infinity, start.clone ()

        let keep (state: State) =
            if state.Ground.Residual < least then
                least <- state.Ground.Residual
                best.Dispose()
                best <- state.Point.clone ()

        let next n (state: State) =
            let penalty = { Y = state.Y; Rho = 0.0; Bound2 = 0.0 }
            let after, _, _ = tried land penalty state
            keep after
            let met = after.Ground.Residual <= bound2

            if n % rising = rising - 1 then
                let creeps = after.Ground.Residual > leastProgress * state.Missed
                { after with Y = 4.0 * after.Y; Missed = after.Ground.Residual }, None, met || creeps && n > settling
            else
                after, None, met

        // Where the residual's share of the sum is that of S at the start.
        let y (ground: Evaluation) = ground.S / max ground.Residual bound2
        let first = initial land start y
        keep first
        iterate next (fun _ -> listen least) first |> ignore
        scope.MoveToOuter best
