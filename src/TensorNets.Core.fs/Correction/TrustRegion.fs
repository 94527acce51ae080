namespace TensorNets

open TorchSharp

/// One leg of the way of conjugate gradients: from where it starts, along a direction. Norms and inner products are those of the ball.
type internal CgStep =
    {
        Direction: Tensor
        /// To the minimum along the direction.
        Length: float
        Curvature: float
        /// −⟨slope there, direction⟩.
        Slope: float
        /// ⟨d, d⟩ for the d where the leg starts, ⟨d, p⟩ and ⟨p, p⟩ for its direction.
        DD: float
        DP: float
        PP: float
    }

/// A step in a ball: the move, the decrease that the model predicts, and the legs from which steps in smaller balls are made without
/// another product.
type internal BallStep =
    {
        Move: Tensor
        Decrease: float
        /// Whether the boundary was met.
        Boundary: bool
        Radius: float
        /// |d| in the norm of the ball.
        Size: float
        Legs: CgStep list
    }

/// The minimiser of ⟨slope, d⟩ + ½ ⟨d, H d⟩ in a ball, by conjugate gradients from 0 to where they leave it.
/// Source: Steihaug, "The Conjugate Gradient Method and Trust Regions in Large Scale Optimization", SIAM J. Numer. Anal. 20(3), 1983.
[<RequireQualifiedAccess>]
module internal TrustRegion =
    /// Conjugate gradients end at this share of the squared gradient, or after so many products: more of them for a step cost more than the
    /// steps they save.
    let private enough, private mostProducts = 1e-2, 6

    /// What a ball shrinks to, as a share of the step that was refused.
    let shrink = 0.35

    /// How far a leg goes in a ball, whether it meets the boundary, and ⟨d, d⟩ after it.
    let private reach (radius: float) (leg: CgStep) =
        let whole = leg.DD + 2.0 * leg.Length * leg.DP + leg.Length * leg.Length * leg.PP

        if leg.Curvature > 0.0 && whole <= radius * radius then
            leg.Length, false, whole
        else
            (-leg.DP + sqrt (leg.DP * leg.DP + leg.PP * (radius * radius - leg.DD))) / leg.PP, true, radius * radius

    /// What going so far along a leg gains.
    let private gain (leg: CgStep) t = t * leg.Slope - 0.5 * t * t * leg.Curvature

    /// In a ball of some radius; without one, of twice the length of the first preconditioned slope. The legs are kept for smaller balls,
    /// or (`keeps` false) none, which takes as many vectors less. The caller's scope owns the tensors.
    let minimise
        (keeps: bool)
        (hessian: Tensor -> Tensor)
        (precondition: Tensor -> Tensor)
        (slope: Tensor)
        (radius: float option)
        : BallStep =
        use scope = torch.NewDisposeScope()
        let d, r = torch.zeros_like slope, slope.clone ()
        let p = (precondition slope).neg()
        let first = -(CoreVector.dot slope p)
        let radius = radius |> Option.defaultValue (2.0 * sqrt first)
        // A smaller ball never gets to legs that start beyond it.
        let isKept (leg: CgStep) = keeps && leg.DD <= shrink * shrink * radius * radius

        /// Along one leg, to the next one if there is one; d and r follow. Also what it gains, whether it meets the boundary, and ⟨d, d⟩
        /// after it.
        let go count (leg: CgStep) =
            use inner = torch.NewDisposeScope()
            let hp = hessian leg.Direction
            let curvature = CoreVector.dot leg.Direction hp
            let leg = { leg with Length = leg.Slope / curvature; Curvature = curvature }
            let t, boundary, size = reach radius leg
            CoreVector.advance t leg.Direction d

            let next =
                if boundary || count >= mostProducts then
                    None
                else
                    CoreVector.advance t hp r
                    let z = precondition r
                    let rz = CoreVector.dot r z

                    if rz < enough * first then
                        None
                    else
                        let beta = rz / leg.Slope

                        Some
                            {
                                Direction = CoreVector.along -1.0 z (leg.Direction.mul (Num.tensor beta)) |> inner.MoveToOuter
                                Length = nan
                                Curvature = nan
                                Slope = rz
                                DD = size
                                DP = beta * (leg.DP + t * leg.PP)
                                PP = rz + beta * beta * leg.PP
                            }

            leg, next, gain leg t, boundary, size

        let rec loop count decrease kept leg =
            let leg, next, gained, boundary, size = go count leg
            let kept = if isKept leg then leg :: kept else kept

            match next with
            | Some next ->
                if not (isKept leg) then
                    leg.Direction.Dispose()

                loop (count + 1) (decrease + gained) kept next
            | None ->
                {
                    Move = scope.MoveToOuter d
                    Decrease = decrease + gained
                    Boundary = boundary
                    Radius = radius
                    Size = sqrt size
                    Legs = [ for leg in List.rev kept -> { leg with Direction = scope.MoveToOuter leg.Direction } ]
                }

        loop 1 0.0 [] { Direction = p; Length = nan; Curvature = nan; Slope = first; DD = 0.0; DP = 0.0; PP = first }

    /// The step in a ball that is smaller than the one of a step by at least `shrink`. The caller's scope owns the move; the legs are those
    /// of the step.
    let shorter (radius: float) (step: BallStep) : BallStep =
        use scope = torch.NewDisposeScope()
        let d = torch.zeros_like step.Move

        let rec go decrease (legs: CgStep list) =
            match legs with
            | [] -> decrease, false
            | leg :: others ->
                let t, boundary, _ = reach radius leg
                CoreVector.advance t leg.Direction d
                if boundary then decrease + gain leg t, true else go (decrease + gain leg t) others

        let decrease, boundary = go 0.0 step.Legs

        { step with
            Move = scope.MoveToOuter d
            Decrease = decrease
            Boundary = boundary
            Radius = radius
            Size = radius
        }
