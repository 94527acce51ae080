namespace TensorNets

open TorchSharp

/// One step of conjugate gradients: from where it starts, along a direction. Norms and inner products are those of the ball.
type internal CgStep =
    {
        Direction: Tensor
        /// To the minimum along the direction.
        Length: float
        Curvature: float
        /// −⟨slope there, direction⟩.
        Slope: float
        /// ⟨d, d⟩ for the d where the step starts, ⟨d, p⟩ and ⟨p, p⟩ for its direction.
        DD: float
        DP: float
        PP: float
    }

/// A step in a ball: the move, the decrease that the model predicts, and the conjugate gradient steps from which steps in smaller balls
/// are made without another product.
type internal BallStep =
    {
        Move: Tensor
        Decrease: float
        /// Whether the boundary was met.
        Boundary: bool
        Radius: float
        /// |d| in the norm of the ball.
        Size: float
        CgSteps: CgStep list
    }

/// The minimiser of ⟨slope, d⟩ + ½ ⟨d, H d⟩ in a ball, by conjugate gradients from 0 to where they leave it.
/// Source: Steihaug, "The Conjugate Gradient Method and Trust Regions in Large Scale Optimization", SIAM J. Numer. Anal. 20(3), 1983.
[<RequireQualifiedAccess>]
module internal TrustRegion =
    /// Conjugate gradients end at this share of the squared gradient, or after this many products: more of them for a step cost more than
    /// the steps they save.
    let private enough, private mostProducts = 1e-2, 6

    /// What a ball shrinks to, as a share of the step that was refused.
    let shrink = 0.35

    /// How far a conjugate gradient step goes in a ball, whether it meets the boundary, and ⟨d, d⟩ after it.
    let private reach (radius: float) (cg: CgStep) =
        let whole = cg.DD + 2.0 * cg.Length * cg.DP + cg.Length * cg.Length * cg.PP

        if cg.Curvature > 0.0 && whole <= radius * radius then
            cg.Length, false, whole
        else
            (-cg.DP + sqrt (cg.DP * cg.DP + cg.PP * (radius * radius - cg.DD))) / cg.PP, true, radius * radius

    /// What a length t along a direction gains.
    let private gain (cg: CgStep) t = t * cg.Slope - 0.5 * t * t * cg.Curvature

    /// The quadratic model and the ball in which it is minimised.
    [<NoEquality; NoComparison>]
    type private Model =
        {
            Hessian: Tensor -> Tensor
            Precondition: Tensor -> Tensor
            Radius: float
            /// ⟨slope, slope⟩ in the norm of the ball, where conjugate gradients begin.
            First: float
        }

    /// Along one direction, the number `count`; d and the residual r follow. The step as it was taken, how far, whether it meets the
    /// boundary, ⟨d, d⟩ after it, and the next direction if there is one. The caller's scope owns that.
    let private advance (model: Model) (count: int) (d: Tensor) (r: Tensor) (cg: CgStep) =
        use scope = torch.NewDisposeScope()
        let hp = model.Hessian cg.Direction
        let curvature = CoreVector.dot cg.Direction hp
        let cg = { cg with Length = cg.Slope / curvature; Curvature = curvature }
        let t, boundary, size = reach model.Radius cg
        CoreVector.advance t cg.Direction d

        let next =
            if boundary || count >= mostProducts then
                None
            else
                CoreVector.advance t hp r
                let z = model.Precondition r
                let rz = CoreVector.dot r z

                if rz < enough * model.First then
                    None
                else
                    let beta = rz / cg.Slope

                    Some
                        {
                            Direction = CoreVector.along -1.0 z (cg.Direction.mul (Num.tensor beta)) |> scope.MoveToOuter
                            Length = nan
                            Curvature = nan
                            Slope = rz
                            DD = size
                            DP = beta * (cg.DP + t * cg.PP)
                            PP = rz + beta * beta * cg.PP
                        }

        cg, gain cg t, boundary, size, next

    /// In a ball of some radius; without one, of twice the length of the first preconditioned slope. The conjugate gradient steps are kept
    /// for smaller balls, or (`keeps` false) none, which takes as many vectors less. The caller's scope owns the tensors.
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
        let model = { Hessian = hessian; Precondition = precondition; Radius = radius; First = first }
        // A smaller ball never gets to directions that start beyond it.
        let isKept (cg: CgStep) = keeps && cg.DD <= shrink * shrink * radius * radius

        let rec loop count decrease kept cg =
            let cg, gained, boundary, size, next = advance model count d r cg
            let kept = if isKept cg then cg :: kept else kept

            match next with
            | Some next ->
                if not (isKept cg) then
                    cg.Direction.Dispose()

                loop (count + 1) (decrease + gained) kept next
            | None ->
                {
                    Move = scope.MoveToOuter d
                    Decrease = decrease + gained
                    Boundary = boundary
                    Radius = radius
                    Size = sqrt size
                    CgSteps = [ for cg in List.rev kept -> { cg with Direction = scope.MoveToOuter cg.Direction } ]
                }

        loop 1 0.0 [] { Direction = p; Length = nan; Curvature = nan; Slope = first; DD = 0.0; DP = 0.0; PP = first }

    /// The step in a ball that is smaller than the one of a step by at least `shrink`. The caller's scope owns the move; the conjugate
    /// gradient steps are those of the given one.
    let shorter (radius: float) (step: BallStep) : BallStep =
        use scope = torch.NewDisposeScope()
        let d = torch.zeros_like step.Move

        let rec go decrease (rest: CgStep list) =
            match rest with
            | [] -> decrease, false
            | cg :: others ->
                let t, boundary, _ = reach radius cg
                CoreVector.advance t cg.Direction d
                if boundary then decrease + gain cg t, true else go (decrease + gain cg t) others

        let decrease, boundary = go 0.0 step.CgSteps

        { step with
            Move = scope.MoveToOuter d
            Decrease = decrease
            Boundary = boundary
            Radius = radius
            Size = radius
        }
