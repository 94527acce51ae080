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

    /// Damping beyond which no step is worth trying.
    let private mostDamping = 1e8

    let private maxRestorations = 5

    /// Newton's steps: more than converge are not needed.
    let private maxSteps = 100

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
        let usable = w.gt (Num.tensor 1e-300)
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
            match Secular.solve (bound * bound * (1.0 - 1e-12)) None secular with
            | Multiplier.Root lambda -> lambda
            // Not even the linear model reaches the bound: as near as it gets.
            | Multiplier.AboveBound -> 1e-16 * (g.sum().number() / max 1e-300 (w.sum().number()))
            | Multiplier.Slack -> 1e16 * (g.sum().number() / max 1e-300 (w.sum().number()))

        let q = g.plus (w.mul (Num.tensor lambda))
        let d = c.minus (s.mul (Num.tensor lambda))
        let step = torch.where (q.gt (Num.tensor 0.0), d.div q, torch.zeros_like d)
        let whole = v.matmul step
        let y = (r.minus (j.matmul whole)).div(Num.tensor lambda)
        scope.MoveToOuter whole, scope.MoveToOuter y

    /// Steps in place from a point that meets the bound, until S stands still or the sweeps of the options are used up; every accepted step
    /// keeps the bound and lowers S, and its number, error in units of `norm` and S are reported: the S of each, and why they ended. The
    /// multipliers of the last step give the curvature of the bound, so that steps converge like Newton's.
    let run
        (options: SweepOptions)
        (work: DenseDerivatives)
        (bound: float)
        (feasible: float)
        (norm: float)
        (s0: float)
        (cores: Tensor[])
        : float list * Stop =
        let eye = torch.eye (work.Size, dtype = torch.float64, device = work.Device)

        /// The nearest point that meets the bound, by the least steps in the linearised bound.
        let restored (point: Tensor) : Tensor option =
            let rec go count (point: Tensor) =
                let r = work.Residual point

                if r.norm().number() <= bound * (1.0 + 0.5 * feasible) then
                    Some point
                elif count = 0 then
                    None
                else
                    let step, _ = solve bound (work.Jacobian point) r eye (torch.zeros_like point)
                    go (count - 1) (point.plus step)

            go maxRestorations point

        let error () =
            use _ = torch.NewDisposeScope()
            (work.Residual(CoreVector.ofCores cores)).norm().number()

        let mutable multipliers: Tensor option = None

        /// One step with rising damping: the new S, or None where none lowers it.
        let attempt (s: float) (damping: float) : (float * float) option =
            use scope = torch.NewDisposeScope()
            let point = CoreVector.ofCores cores
            let r, j = work.Residual point, work.Jacobian point
            let slope = work.Slope point
            let h = curvature work multipliers point
            let scale = max 1e-300 (h.diagonal().mean().number())

            let rec tryWith (nu: float) =
                if nu > mostDamping then
                    None
                else
                    let weight = h.plus (eye.mul (Num.tensor (nu * scale)))
                    let step, y = solve bound j r weight slope
                    let moved = point.plus step

                    let better =
                        if moved.isfinite().all().truth() then
                            restored moved
                            |> Option.bind (fun p ->
                                let next = work.Sensitivity p
                                if next < s then Some(p, next) else None)
                        else
                            None

                    match better with
                    | Some(p, next) ->
                        CoreVector.put scope cores.Length cores p
                        multipliers |> Option.iter _.Dispose()
                        multipliers <- Some(scope.Detach y)
                        Some(next, nu)
                    | None -> tryWith (nu * 8.0)

            tryWith damping

        let rec loop count s damping small trace =
            match SweepOptions.ending options count with
            | Some stop -> trace, stop
            | None when count >= maxSteps -> trace, Stop.Converged
            | None ->
                match attempt s damping with
                | None -> trace, Stop.Converged
                | Some(next, nu) ->
                    SweepOptions.report options (count + 1) (error () / norm) next
                    let small = if s - next <= options.Tolerance * s then small + 1 else 0

                    if small >= 2 then
                        next :: trace, Stop.Converged
                    else
                        loop (count + 1) next (max 1e-12 (nu / 16.0)) small (next :: trace)

        let trace, stop = loop 0 s0 1e-3 0 []
        multipliers |> Option.iter _.Dispose()
        List.rev trace, stop
