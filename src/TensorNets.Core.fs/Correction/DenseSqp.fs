namespace TensorNets

open System
open TorchSharp

/// The correction for all cores at once, for networks small enough for dense matrices. Each step minimises the quadratic model of S subject
/// to the linearised bound: with R = K − T, J the Jacobian of T, s = ∇S and H its Hessian without negative curvature, damped by ν,
/// min sᵀd + ½ dᵀ(H + νI)d subject to ‖R − J d‖² ≤ δ². A basis that makes JᵀJ and H + νI diagonal turns that into the scalar equation of
/// one block.
[<RequireQualifiedAccess>]
module internal DenseSqp =
    /// The most parameters for which n × n matrices, and n gradients for H, cost less than the sweeps they save.
    let limit = 300

    /// ν, in units of the mean diagonal of H: at first, at least, and beyond which no step is worth trying. A refused step raises it by one
    /// factor, an accepted one lowers it by another, twice that: so it settles where steps are just accepted.
    let private firstDamping, private leastDamping, private mostDamping = 1e-3, 1e-12, 1e8
    let private raising, private lowering = 8.0, 16.0

    /// Steps back to the bound: they converge quadratically, or not at all.
    let private maxRestorations = 5

    /// Newton's steps: more than converge are not needed; and how many small ones in a row end them, as one may be small by its damping.
    let private maxSteps, private enough = 100, 2

    /// Below this a double is no divisor.
    let private smallest = 1e-300

    /// The share of δ² that is left to the rounding of the scalar equation.
    let private guard = 1e-12

    /// Where the scalar equation has no root, λ in units of Σ g / Σ w: beyond these it changes no digit of a step.
    let private lowest, private highest = 1e-16, 1e16

    /// The Hessian of S − ⟨y, T⟩ without its negative curvature.
    let private curvature (work: DenseDerivatives) (multipliers: Tensor option) (point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let eye = torch.eye (point.shape[0], dtype = point.dtype, device = point.device)
        let hessian = work.Curvature(multipliers, point, eye)
        let struct (values, vectors) = Decompose.eigh ((hessian.plus hessian.mT).mul(Num.tensor 0.5))
        (vectors.mul (values.maximum (Num.tensor 0.0))).matmul vectors.mT |> scope.MoveToOuter

    /// The step for a weight matrix and a gradient of S, in the linearised bound, and its multipliers y = (R − J d)/λ.
    let private solve (bound: float) (j: Tensor) (r: Tensor) (weight: Tensor) (slope: Tensor) : Tensor * Tensor =
        use scope = torch.NewDisposeScope()
        let p = Pencil.pencil ((j.mT.matmul j).unsqueeze 0L) (weight.unsqueeze 0L)
        let v, g, w = p.V[0L], p.G[0L], p.W[0L]
        let c = v.mT.matmul (j.mT.matmul r)
        let s = v.mT.matmul slope
        let usable = w.gt (Num.tensor smallest)
        let y = torch.where (usable, s.div (torch.where (usable, w, torch.ones_like w)), torch.zeros_like s)

        let secular =
            {
                G = ConstrainedQuadratics.toArray g
                W = ConstrainedQuadratics.toArray w
                DD = ConstrainedQuadratics.toArray (c.squared ())
                DY = ConstrainedQuadratics.toArray (c.mul y)
                YY = ConstrainedQuadratics.toArray (y.squared ())
                Rho2 = r.squared().sum().number()
            }

        let lambda =
            match Secular.solve (bound * bound * (1.0 - guard)) None secular with
            | Multiplier.Root lambda -> lambda
            // Not even the linear model reaches the bound: as near as it gets.
            | Multiplier.AboveBound -> lowest * (g.sum().number() / max smallest (w.sum().number()))
            | Multiplier.Slack -> highest * (g.sum().number() / max smallest (w.sum().number()))

        let q = g.plus (w.mul (Num.tensor lambda))
        let d = c.minus (s.mul (Num.tensor lambda))
        let step = torch.where (q.gt (Num.tensor 0.0), d.div q, torch.zeros_like d)
        let whole = v.matmul step
        let y = (r.minus (j.matmul whole)).div(Num.tensor lambda)
        scope.MoveToOuter whole, scope.MoveToOuter y

    /// The nearest point that meets the bound, by the least steps in the linearised bound.
    let private restored (problem: CorrectionProblem) (work: DenseDerivatives) (point: Tensor) : Tensor option =
        let eye = torch.eye (work.Size, dtype = torch.float64, device = work.Device)

        let rec go count (point: Tensor) =
            let r = work.Residual point

            if r.norm().number() <= problem.Bound * (1.0 + 0.5 * CorrectionProblem.feasibility) then
                Some point
            elif count = 0 then
                None
            else
                let step, _ = solve problem.Bound (work.Jacobian point) r eye (torch.zeros_like point)
                go (count - 1) (point.plus step)

        go maxRestorations point

    /// What a step leads to.
    [<NoEquality; NoComparison>]
    type private Accepted =
        {
            Point: Tensor
            S: float
            /// ν at which the step was accepted.
            Damping: float
            /// y.
            Multipliers: Tensor
        }

    /// One step with damping that rises until S falls; None where none lowers it. The caller's scope owns the tensors.
    let private attempt (problem: CorrectionProblem) (work: DenseDerivatives) multipliers (s: float) (damping: float) (point: Tensor) =
        use scope = torch.NewDisposeScope()
        let r, j = work.Residual point, work.Jacobian point
        let slope = work.Slope point
        let h = curvature work multipliers point
        let scale = max smallest (h.diagonal().mean().number())
        let eye = torch.eye (work.Size, dtype = torch.float64, device = work.Device)

        let rec tryWith (nu: float) =
            if nu > mostDamping then
                None
            else
                let weight = h.plus (eye.mul (Num.tensor (nu * scale)))
                let step, y = solve problem.Bound j r weight slope
                let moved = point.plus step

                let better =
                    if moved.isfinite().all().truth() then
                        restored problem work moved
                        |> Option.bind (fun p ->
                            let next = work.Sensitivity p
                            if next < s then Some(p, next) else None)
                    else
                        None

                match better with
                | Some(p, next) -> Some { Point = scope.MoveToOuter p; S = next; Damping = nu; Multipliers = scope.MoveToOuter y }
                | None -> tryWith (nu * raising)

        tryWith damping

    /// Steps in place from a point that meets the bound and has sensitivity s0, until S stands still or the sweeps of the options are used
    /// up; every accepted step keeps the bound and lowers S, and is reported: the S of each, and why they ended. The multipliers of the
    /// last step give the curvature of the bound, so that steps converge like Newton's.
    let run (problem: CorrectionProblem) (work: DenseDerivatives) (s0: float) (cores: Tensor[]) : float list * Stop =
        let mutable multipliers: Tensor option = None

        /// One step in place: S, its damping, and the error after it.
        let next s damping =
            use scope = torch.NewDisposeScope()

            attempt problem work multipliers s damping (CoreVector.ofCores cores)
            |> Option.map (fun step ->
                CoreVector.put scope cores.Length cores step.Point
                multipliers |> Option.iter _.Dispose()
                multipliers <- Some(scope.Detach step.Multipliers)
                step.S, step.Damping, (work.Residual(CoreVector.ofCores cores)).norm().number())

        let rec loop count s damping small trace =
            match CorrectionProblem.ending problem count with
            | Some stop -> trace, stop
            | None when count >= maxSteps -> trace, Stop.Converged
            | None ->
                match next s damping with
                | None -> trace, Stop.Converged
                | Some(after, nu, error) ->
                    CorrectionProblem.report problem (count + 1) error after
                    let small = if s - after <= problem.Options.Tolerance * s then small + 1 else 0

                    if small >= enough then
                        after :: trace, Stop.Converged
                    else
                        loop (count + 1) after (max leastDamping (nu / lowering)) small (after :: trace)

        let trace, stop = loop 0 s0 firstDamping 0 []
        multipliers |> Option.iter _.Dispose()
        List.rev trace, stop
