namespace TensorNets

open TorchSharp

/// y, ρ and with them μ = y + ρ h, the slope of the augmented Lagrangian in h = ‖K − T‖² − δ².
type internal Penalty =
    {
        Y: float
        Rho: float
        /// δ².
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

/// Where the steps of the augmented Lagrangian have got to.
type internal LagrangianState =
    {
        Point: Tensor
        Evaluation: Evaluation
        Y: float
        /// How far h may rise, as a share of min(δ², ‖K‖² − δ²), until the penalty doubles y.
        Band: float
        /// h at the last update of y.
        Missed: float
        Radius: float option
        /// Whether y follows S on its first way down.
        Falls: bool
        /// Steps since y was last updated.
        Waited: int
    }

/// One step of truncated Newton on S + y h + ½ ρ h²: the quadratic model is minimised in a ball by conjugate gradients (`TrustRegion`);
/// products with the Hessian are differences of gradients, so that nothing larger than a gradient is ever formed, and the blocks' own
/// curvature is the preconditioner.
[<RequireQualifiedAccess>]
module internal LagrangianStep =
    /// The step of a difference of gradients, relative to the point: both its rounding and its error are about this.
    let private differenceStep = 1e-7

    /// The least share of the predicted decrease that is accepted, and those below which the ball shrinks and above which it grows by a
    /// factor: the usual ones of trust regions.
    let private acceptable, private poor, private good, private growth = 0.1, 0.25, 0.6, 2.5

    /// The radius, in units of √S, below which no step is worth trying.
    let private leastRadius = 1e-10

    /// The preconditioner's share of y where the bound is slack.
    let private leastShare = 1e-3

    /// Points are brought to within this share of δ² of the bound, by steps that halve their distance at least: Newton's do, or do not
    /// converge.
    let private restoredTo, private halved = 1e-4, 0.5

    /// Directions of a step are kept for smaller balls if this many of them are no larger than the target, or than this many entries;
    /// otherwise a smaller ball starts anew.
    let private directions, private smallTarget = 7L, 1_000_000L

    /// The step from a point; the model takes the Hessian of S + μ r by differences and the penalty's own ρ ∇r ∇rᵀ exactly.
    let private stepFrom
        (objective: Objective)
        (penalty: Penalty)
        (point: Tensor)
        (evaluation: Evaluation)
        (radius: float option)
        : BallStep =
        use scope = torch.NewDisposeScope()
        let mu = penalty.Mu evaluation.Residual
        let rho = if mu > 0.0 then penalty.Rho else 0.0
        let a = evaluation.SlopeResidual
        let slope = CoreVector.along mu a evaluation.SlopeS
        let blocks = BlockCurvature.divided objective (max mu (leastShare * penalty.Y)) point evaluation
        let pa = blocks a
        let apa = CoreVector.dot a pa
        let length = point.norm().number()

        let hessian (p: Tensor) =
            use inner = torch.NewDisposeScope()
            let h = differenceStep * length / p.norm().number()
            let moved = CoreVector.along h p point
            let change = Objective.slope objective mu moved
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

        let keeps = directions * point.numel () <= max (objective.Target.numel ()) smallTarget
        let step = TrustRegion.minimise keeps hessian precondition slope radius

        { step with
            Move = scope.MoveToOuter step.Move
            CgSteps = [ for cgStep in step.CgSteps -> { cgStep with Direction = scope.MoveToOuter cgStep.Direction } ]
        }

    let private release (state: LagrangianState) =
        state.Point.Dispose()
        Evaluation.release state.Evaluation

    /// The state after a step of a penalty, in a ball that shrinks until the step is accepted, moved or with a ball too small; the decrease
    /// that was predicted, and whether it was accepted at the first attempt.
    let tried (objective: Objective) (penalty: Penalty) (state: LagrangianState) : LagrangianState * float * bool =
        use scope = torch.NewDisposeScope()
        let value (evaluation: Evaluation) = penalty.Value(evaluation.S, evaluation.Residual)
        let here = value state.Evaluation
        let smallest = leastRadius * sqrt state.Evaluation.S

        /// The point and the evaluation of a step where it is accepted, and the next radius.
        let attempt (step: BallStep) =
            use inner = torch.NewDisposeScope()
            let moved = state.Point.plus step.Move
            let there = Objective.at objective moved
            let ratio = (here - value there) / step.Decrease

            // Written so that NaN counts as a failure.
            let radius =
                if not (ratio >= poor) then TrustRegion.shrink * min step.Size step.Radius
                elif ratio > good && step.Boundary then step.Radius * growth
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
                        Evaluation = Evaluation.toOuter scope there
                        Radius = Some radius
                    }

                release state
                after, step.Decrease, first
            | None, radius when radius > smallest ->
                if step.CgSteps.IsEmpty then
                    step.Move.Dispose()
                    loop false (stepFrom objective penalty state.Point state.Evaluation (Some radius))
                else
                    loop false (TrustRegion.shorter radius step)
            | None, radius -> { state with Radius = Some radius }, step.Decrease, false

        loop true (stepFrom objective penalty state.Point state.Evaluation state.Radius)

    /// The point brought nearer to the bound by Newton's steps on h alone, each the shortest in the norm of the blocks' curvature, as long
    /// as they halve |h|. The caller's scope owns it.
    let restored (objective: Objective) (bound2: float) (state: LagrangianState) : Tensor =
        use scope = torch.NewDisposeScope()
        let aim = bound2 * (1.0 - restoredTo)
        let missed (evaluation: Evaluation) = abs (evaluation.Residual - aim)

        let next (point: Tensor) (evaluation: Evaluation) =
            use inner = torch.NewDisposeScope()
            let direction = BlockCurvature.divided objective state.Y point evaluation evaluation.SlopeResidual
            let t = (aim - evaluation.Residual) / CoreVector.dot evaluation.SlopeResidual direction
            let moved = CoreVector.along t direction point
            let there = Objective.at objective moved
            inner.MoveToOuter moved, Evaluation.toOuter inner there

        let rec loop point evaluation =
            if missed evaluation <= restoredTo * bound2 then
                point
            else
                let moved, there = next point evaluation
                // Written so that NaN ends it.
                if missed there <= halved * missed evaluation then loop moved there else point

        loop (state.Point.alias ()) state.Evaluation |> scope.MoveToOuter

    /// Whether the ball is too small for any step.
    let isStuck (state: LagrangianState) =
        match state.Radius with
        | Some radius -> not (radius > leastRadius * sqrt state.Evaluation.S)
        | None -> false
