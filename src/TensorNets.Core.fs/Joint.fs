namespace TensorNets

open System
open TorchSharp

/// The correction for all cores at once, for networks small enough for dense matrices. Each step minimises the quadratic model of S subject to the linearised
/// bound: with R = K − T, J the Jacobian of T, s = ∇S and H its Hessian without negative curvature, damped by ν,
/// min sᵀd + ½ dᵀ(H + νI)d subject to ‖R − J d‖² ≤ δ². A basis that makes JᵀJ and H + νI diagonal turns that into the scalar equation of one block.
[<RequireQualifiedAccess>]
module internal Joint =
    /// The most parameters for which n × n matrices, and n gradients for H, cost less than the sweeps they save.
    let limit = 300

    /// Damping beyond which no step is worth trying.
    let private mostDamping = 1e8

    /// The step of the central difference for H, relative to the largest entry: its error is the square of this.
    let private differenceStep = 1e-4

    let private maxRestorations = 5

    /// Newton's steps: more than converge are not needed.
    let private maxSteps = 100

    /// For each core the plan of ∂T/∂θ_k: the output's axes, then the core's; along an open axis the core's own is primed.
    let private jacobianPlans (spec: Spec) : (Block * Plan) list =
        [
            for core in spec.Cores ->
                let own = Spec.ownAxes core spec
                let opened axis = Spec.isOpen axis spec

                let extra =
                    core.Axes
                    |> List.choose (fun axis ->
                        if opened axis then Some { Name = "=" + axis.Name; Axes = [ axis; Axis.primed axis ] }
                        elif List.contains axis own then Some { Name = "~" + axis.Name; Axes = [ axis ] }
                        else None)

                let dims = core.Axes |> List.map (fun axis -> Axis.primed axis, Spec.dim axis spec)

                let output =
                    spec.Output @ (core.Axes |> List.map (fun axis -> if opened axis then Axis.primed axis else axis))

                let network = Spec.extended dims (Spec.without core.Name spec @ extra) output spec
                Environment.block spec core, Plan.make Order.Auto network
        ]

    type private Work =
        {
            Spec: Spec
            Target: Tensor
            Full: Plan
            Jacobians: (Block * Plan) list
            Sensitivity: SensitivityPlan
        }

    let private lookupOf (work: Work) (cores: Tensor[]) = Fit.lookup work.Spec cores

    let private flat (cores: Tensor[]) = torch.cat [| for core in cores -> core.reshape -1L |]

    let private unflat (shapes: int64[][]) (vector: Tensor) : Tensor[] =
        let sizes = shapes |> Array.map (Array.fold (*) 1L)
        let starts = sizes |> Array.scan (+) 0L
        [| for i in 0 .. shapes.Length - 1 -> (vector.narrow (0L, starts[i], sizes[i])).reshape shapes[i] |]

    let private residual (work: Work) (cores: Tensor[]) =
        let tensor =
            Contraction.runMany [ work.Full ] work.Target.dtype work.Target.device (lookupOf work cores)
            |> List.head

        (work.Target.minus tensor).reshape -1L

    let private jacobian (work: Work) (cores: Tensor[]) =
        let rows = work.Target.numel ()

        torch.cat (
            [|
                for block, plan in work.Jacobians ->
                    (Environment.evaluate block (lookupOf work cores) work.Target [ plan ]).Head.reshape(rows, -1L)
            |],
            1L
        )

    let private sensitivity (work: Work) (cores: Tensor[]) =
        use _ = torch.NewDisposeScope()
        (Sensitivity.totalOf work.Sensitivity work.Target.dtype work.Target.device (lookupOf work cores)).number()

    /// The gradient of S − ⟨y, T⟩ at a point, as a vector; of S where there is no y.
    let private gradient (work: Work) (shapes: int64[][]) (multipliers: Tensor option) (point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        use _ = torch.enable_grad ()
        let leaves = unflat shapes point |> Array.map (fun core -> core.detach().clone().requires_grad_ true)
        let lookup = lookupOf work leaves
        let s = Sensitivity.totalOf work.Sensitivity work.Target.dtype work.Target.device lookup

        let lagrangian =
            match multipliers with
            | None -> s
            | Some y ->
                let tensor = Contraction.runMany [ work.Full ] work.Target.dtype work.Target.device lookup |> List.head
                s.minus ((tensor.reshape -1L).dot y)

        lagrangian.backward ()

        flat
            [|
                for leaf in leaves ->
                    match leaf.grad with
                    | null -> torch.zeros_like leaf
                    | grad -> grad
            |]
        |> _.detach()
        |> scope.MoveToOuter

    /// The Hessian of S − ⟨y, T⟩ by central differences of its gradient, without its negative curvature.
    let private curvature (work: Work) (shapes: int64[][]) (multipliers: Tensor option) (point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let n = point.shape[0]
        let h = differenceStep * point.abs().max().number()

        let columns =
            [|
                for i in 0L .. n - 1L ->
                    use inner = torch.NewDisposeScope()
                    let step = torch.zeros (n, dtype = point.dtype, device = point.device)
                    step[i] <- torch.tensor (h, dtype = point.dtype)

                    let ahead, behind =
                        gradient work shapes multipliers (point.plus step), gradient work shapes multipliers (point.minus step)

                    (ahead.minus behind).mul(Num.tensor (0.5 / h)) |> inner.MoveToOuter
            |]

        let hessian = torch.stack columns
        let struct (values, vectors) = torch.linalg.eigh ((hessian.plus hessian.mT).mul(Num.tensor 0.5))
        (vectors.mul (values.maximum (Num.tensor 0.0))).matmul vectors.mT |> scope.MoveToOuter

    /// The step for a weight matrix and a gradient of S, in the linearised bound, and its multipliers y = (R − J d)/λ.
    let private solve (bound: float) (j: Tensor) (r: Tensor) (weight: Tensor) (slope: Tensor) : Tensor * Tensor =
        use scope = torch.NewDisposeScope()
        let p = Linalg.pencil false ((j.mT.matmul j).unsqueeze 0L) (weight.unsqueeze 0L)
        let v, g, w = p.V[0L], p.G[0L], p.W[0L]
        let c = v.mT.matmul (j.mT.matmul r)
        let s = v.mT.matmul slope
        let usable = w.gt (Num.tensor 1e-300)
        let y = torch.where (usable, s.div (torch.where (usable, w, torch.ones_like w)), torch.zeros_like s)

        let secular =
            {
                G = Linalg.toArray g
                W = Linalg.toArray w
                DD = Linalg.toArray (c.squared ())
                DY = Linalg.toArray (c.mul y)
                YY = Linalg.toArray (y.squared ())
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

    /// The multipliers of the last step give the curvature of the bound, so that steps converge like Newton's.
    /// Steps in place from a point that meets the bound, until S stands still; every accepted step keeps the bound and lowers S, and its number, error and S
    /// are reported.
    let run
        (options: SweepOptions)
        (report: int -> float -> float -> unit)
        (spec: Spec)
        (target: Tensor)
        (bound: float)
        (feasible: float)
        (s0: float)
        (cores: Tensor[])
        : float list =
        let work =
            {
                Spec = spec
                Target = target
                Full = Plan.make Order.Auto spec
                Jacobians = jacobianPlans spec
                Sensitivity = Sensitivity.plan spec
            }

        let shapes = cores |> Array.map _.shape
        let n = shapes |> Array.sumBy (Array.fold (*) 1L)
        let eye = torch.eye (n, dtype = torch.float64, device = target.device)

        /// The nearest point that meets the bound, by the least steps in the linearised bound.
        let restored (point: Tensor) : Tensor option =
            let rec go count (point: Tensor) =
                let now = unflat shapes point
                let r = residual work now

                if r.norm().number() <= bound * (1.0 + 0.5 * feasible) then
                    Some point
                elif count = 0 then
                    None
                else
                    let step, _ = solve bound (jacobian work now) r eye (torch.zeros_like point)
                    go (count - 1) (point.plus step)

            go maxRestorations point

        let error () =
            use _ = torch.NewDisposeScope()
            (residual work cores).norm().number()

        let mutable multipliers: Tensor option = None

        /// One step with rising damping: the new S, or None where none lowers it.
        let attempt (s: float) (damping: float) : (float * float) option =
            use scope = torch.NewDisposeScope()
            let point = flat cores
            let r, j = residual work cores, jacobian work cores
            let slope = gradient work shapes None point
            let h = curvature work shapes multipliers point
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
                                let next = sensitivity work (unflat shapes p)
                                if next < s then Some(p, next) else None)
                        else
                            None

                    match better with
                    | Some(p, next) ->
                        unflat shapes p |> Array.iteri (fun i core -> Fit.replace scope cores i (core.clone ()))
                        multipliers |> Option.iter _.Dispose()
                        multipliers <- Some(scope.Detach y)
                        Some(next, nu)
                    | None -> tryWith (nu * 8.0)

            tryWith damping

        let rec loop count s damping small trace =
            if count >= min options.MaxSweeps maxSteps || options.Cancellation.IsCancellationRequested then
                trace
            else
                match attempt s damping with
                | None -> trace
                | Some(next, nu) ->
                    report (count + 1) (error ()) next
                    let small = if s - next <= options.Tolerance * s then small + 1 else 0

                    if small >= 2 then
                        next :: trace
                    else
                        loop (count + 1) next (max 1e-12 (nu / 16.0)) small (next :: trace)

        let trace = loop 0 s0 1e-3 0 [] |> List.rev
        multipliers |> Option.iter _.Dispose()
        trace
