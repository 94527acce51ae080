namespace TensorNets

open TorchSharp

/// Truncated Newton on the augmented Lagrangian, for all cores at once and of any size:
/// minimise S + y h + ½ ρ h² over the cores, where h = ‖K − T‖² − δ² and y → y + ρ h in between. The way to a low S leads through points that miss the bound,
/// which block descent cannot take: it follows a narrow valley instead. The quadratic model is minimised in a ball by conjugate gradients; products with the
/// Hessian are differences of gradients, so that nothing larger than a gradient is ever formed, and the blocks' own curvature is the preconditioner.
/// Sources: Steihaug, "The Conjugate Gradient Method and Trust Regions in Large Scale Optimization", SIAM J. Numer. Anal. 20(3), 1983; Nocedal and Wright,
/// Numerical Optimization, 2nd ed., ch. 7 and 17.
[<RequireQualifiedAccess>]
module internal Newton =
    /// The step of a difference of gradients, relative to the point: both its rounding and its error are about this.
    let private differenceStep = 1e-7

    /// Conjugate gradients end at this share of the squared gradient, or after so many products.
    let private enough, private mostProducts = 1e-2, 20

    /// The first y in units of S / min(δ², ‖K‖² − δ²); a small one lets the error rise until the penalty holds it.
    let private firstMultiplier = 1.0

    /// How far h may rise, as a share of min(δ², ‖K‖² − δ²), until the penalty doubles the multiplier: at first, and at least.
    let private firstBand, private leastBand = 0.1, 1e-3

    /// Steps before y is first updated, and between updates.
    let private warming, private period = 10, 3

    /// Steps between the rises of y on the way to the bound.
    let private rising = 4

    /// The way to the bound is given up where between two rises r falls by no more than this factor, though not within the first steps.
    let private leastProgress, private settling = 0.98, 20

    /// The largest number of steps of one search.
    let private mostSteps = 300

    /// The least share of the predicted decrease that is accepted.
    let private acceptable = 0.1

    /// The distance from δ², as a share of it, that counts as near.
    let private near = 1e-5

    /// The radius, in units of √S, below which no step is worth trying.
    let private leastRadius = 1e-10

    /// The preconditioner's share of y where the bound is slack.
    let private leastShare = 1e-3

    type private Step = { Move: Tensor; Decrease: float; Boundary: bool; Radius: float }

    let private dot (a: Tensor) (b: Tensor) =
        use product = a.dot b
        product.number ()

    /// b + c a.
    let private along (c: float) (a: Tensor) (b: Tensor) : Tensor =
        use c = Num.tensor c
        use ca = a.mul c
        b.plus ca

    /// b becomes b + c a.
    let private advance (c: float) (a: Tensor) (b: Tensor) =
        use c = Num.tensor c
        use ca = a.mul c
        b.add_ (ca, Num.one) |> ignore

    /// The minimiser of ⟨slope, d⟩ + ½ ⟨d, H d⟩ in the ball of the preconditioner's norm, by conjugate gradients from 0; without a radius, twice the first
    /// preconditioned slope. The caller's scope owns the move.
    let private minimise (hessian: Tensor -> Tensor) (precondition: Tensor -> Tensor) (slope: Tensor) (radius: float option) : Step =
        use scope = torch.NewDisposeScope()
        let d, hd, r = torch.zeros_like slope, torch.zeros_like slope, slope.clone ()
        let p = (precondition slope).neg()
        let first = -(dot slope p)
        let radius = radius |> Option.defaultValue (2.0 * sqrt first)

        /// From the inner products ⟨r, z⟩, ⟨d, d⟩, ⟨d, p⟩ and ⟨p, p⟩, the latter three in the norm of the ball: whether the ball's boundary was met.
        let go count rz dd dp pp =
            use hp = hessian p
            let curvature = dot p hp
            let alpha = rz / curvature
            let next = dd + 2.0 * alpha * dp + alpha * alpha * pp

            if not (curvature > 0.0) || next > radius * radius then
                let t = (-dp + sqrt (dp * dp + pp * (radius * radius - dd))) / pp
                advance t p d
                advance t hp hd
                None
            else
                advance alpha p d
                advance alpha hp hd
                advance alpha hp r
                use z = precondition r
                let rz' = dot r z

                if rz' < enough * first || count >= mostProducts then
                    Some None
                else
                    let beta = rz' / rz
                    use b = Num.tensor beta
                    p.mul_ b |> ignore
                    advance -1.0 z p
                    Some(Some(rz', next, beta * (dp + alpha * pp), rz' + beta * beta * pp))

        let rec loop count (rz, dd, dp, pp) =
            match go count rz dd dp pp with
            | None -> true
            | Some None -> false
            | Some(Some next) -> loop (count + 1) next

        let boundary = loop 1 (first, 0.0, 0.0, first)
        let decrease = -(dot slope d + 0.5 * dot d hd)
        { Move = scope.MoveToOuter d; Decrease = decrease; Boundary = boundary; Radius = radius }

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

    /// The step from a point; the model takes the Hessian of S + μ r by differences and the penalty's own ρ ∇r ∇rᵀ exactly.
    let private stepFrom (land: Landscape) (penalty: Penalty) (point: Tensor) (ground: Ground) (radius: float option) : Step =
        use scope = torch.NewDisposeScope()
        let mu = penalty.Mu ground.Residual
        let rho = if mu > 0.0 then penalty.Rho else 0.0
        let a = ground.SlopeResidual
        let slope = along mu a ground.SlopeS
        let blocks = Landscape.preconditioner land (max mu (leastShare * penalty.Y)) ground
        let pa = blocks a
        let apa = dot a pa
        let length = point.norm().number()

        let hessian (p: Tensor) =
            use inner = torch.NewDisposeScope()
            let h = differenceStep * length / p.norm().number()
            let there = Landscape.at land (along h p point)
            let change = (along mu there.SlopeResidual there.SlopeS).minus(slope).mul(Num.tensor (1.0 / h))
            along (rho * dot a p) a change |> inner.MoveToOuter

        // (M + ρ a aᵀ)⁻¹ by the formula of Sherman and Morrison.
        let precondition (v: Tensor) =
            use inner = torch.NewDisposeScope()
            let w = blocks v
            along (-rho * dot a w / (1.0 + rho * apa)) pa w |> inner.MoveToOuter

        let step = minimise hessian precondition slope radius
        { step with Move = scope.MoveToOuter step.Move }

    type private State =
        {
            Point: Tensor
            Ground: Ground
            Y: float
            Band: float
            /// h at the last update of y.
            Missed: float
            Radius: float option
        }

    let private release (state: State) =
        state.Point.Dispose()
        Ground.release state.Ground

    /// The start as a state.
    let private initial (land: Landscape) (start: Tensor) (y: Ground -> float) : State =
        let ground = Landscape.at land start

        {
            Point = start.clone ()
            Ground = ground
            Y = y ground
            Band = firstBand
            Missed = infinity
            Radius = None
        }

    /// The state after a step of a penalty, moved or with a smaller ball, and the decrease that was predicted.
    let private tried (land: Landscape) (penalty: Penalty) (state: State) : State * float =
        use scope = torch.NewDisposeScope()
        let step = stepFrom land penalty state.Point state.Ground state.Radius
        let moved = state.Point.plus step.Move
        let there = Landscape.at land moved

        let gain = penalty.Value(state.Ground.S, state.Ground.Residual) - penalty.Value(there.S, there.Residual)

        let ratio = gain / step.Decrease

        let radius =
            if not (ratio >= 0.25) then step.Radius * 0.35
            elif ratio > 0.6 && step.Boundary then step.Radius * 2.5
            else step.Radius

        // Written so that NaN counts as a failure.
        let after =
            if ratio > acceptable then
                release state

                { state with
                    Point = scope.MoveToOuter moved
                    Ground = Ground.toOuter scope there
                    Radius = Some radius
                }
            else
                { state with Radius = Some radius }

        after, step.Decrease

    let private isStuck (state: State) =
        match state.Radius with
        | Some radius -> not (radius > leastRadius * sqrt state.Ground.S)
        | None -> false

    /// Steps until one is the last, `listen` says so, or there have been too many.
    let private iterate (next: int -> State -> State * bool) (listen: Ground -> bool) (state: State) : State =
        let rec loop n (state: State) =
            let after, last = next n state
            let goOn = listen after.Ground
            if last || not goOn || isStuck after || n >= mostSteps then after else loop (n + 1) after

        loop 0 state

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

    /// A point of low S near the bound, which a sweep of blocks has yet to bring to it. `multiplier` is y at a start that is already near the least S; a step whose
    /// decrease is predicted below `tolerance` S, near the bound, is the last; `listen` hears of every step and says whether to go on. The start is not changed;
    /// the caller's scope owns the result.
    let search
        (land: Landscape)
        (bound: float)
        (multiplier: float option)
        (tolerance: float)
        (listen: Ground -> bool)
        (start: Tensor)
        : Tensor =
        use scope = torch.NewDisposeScope()
        let bound2 = bound * bound
        let unit = min bound2 (land.Norm2 - bound2)
        let warm = if multiplier.IsSome then 0 else warming
        let guess (ground: Ground) = firstMultiplier * ground.S / unit

        let next n (state: State) : State * bool =
            let state = if n < warm then { state with Y = guess state.Ground } else state
            let penalty = { Y = state.Y; Rho = state.Y / (state.Band * unit); Bound2 = bound2 }
            let after, decrease = tried land penalty state

            let landed =
                n > warm
                && abs (after.Ground.Residual - bound2) < near * bound2
                && decrease < tolerance * after.Ground.S

            (if n >= warm && n % period = period - 1 then updated unit bound2 after else after), landed

        let y ground = multiplier |> Option.defaultValue (guess ground)
        (iterate next listen (initial land start y)).Point |> scope.MoveToOuter

    /// A point that meets the bound, or the nearest found: S + y ‖K − T‖² with rising y, whose S keeps the cores from growing where least squares alone
    /// creeps along diverging ones. The caller's scope owns the result.
    let approach (land: Landscape) (bound: float) (listen: Ground -> bool) (start: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let bound2 = bound * bound

        let next n (state: State) : State * bool =
            let penalty = { Y = state.Y; Rho = 0.0; Bound2 = 0.0 }
            let after, _ = tried land penalty state
            let met = after.Ground.Residual <= bound2

            if n % rising = rising - 1 then
                let creeps = after.Ground.Residual > leastProgress * state.Missed
                { after with Y = 4.0 * after.Y; Missed = after.Ground.Residual }, met || creeps && n > settling
            else
                after, met

        // Where the residual's share of the sum is that of S at the start.
        let y (ground: Ground) = ground.S / max ground.Residual bound2
        (iterate next listen (initial land start y)).Point |> scope.MoveToOuter
