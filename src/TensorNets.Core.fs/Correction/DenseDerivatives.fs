namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// What methods for all cores of a small network read: T and S at a point, their first derivatives, second derivatives of S − ⟨y, T⟩. A
/// point is a vector: the cores' entries, one core after the other.
type internal DenseDerivatives(spec: Spec, target: Tensor) =
    /// The step of the central difference for second derivatives, relative to the largest entry: its error is the square of this.
    static let differenceStep = 1e-4

    /// The most entries that intermediates of points taken together may have.
    static let mostEntries = 4e6

    /// The axis over points; no user's axis is called so.
    static let points = Axis "points!"

    let full = Plan.make Order.Auto spec
    let sensitivity = Sensitivity.plan spec
    let dtype, device = target.dtype, target.device

    let shapes = [| for core in spec.Cores -> Spec.coreShape core spec |> List.map int64 |> List.toArray |]
    let sizes = shapes |> Array.map (Array.fold (*) 1L)
    let starts = sizes |> Array.scan (+) 0L

    /// For each core the plan of ∂T/∂θ_k: the output's axes, then the core's; along an open axis the core's own is primed.
    let jacobians: Lazy<(Block * Plan) list> =
        lazy
            [
                for core in spec.Cores ->
                    let own = Spec.ownAxes core spec
                    let opened axis = Spec.isOpen axis spec

                    let extra =
                        core.Axes
                        |> List.choose (fun axis ->
                            if opened axis then Some(PlanInput.identity axis)
                            elif List.contains axis own then Some(PlanInput.ones axis)
                            else None)

                    let dims = core.Axes |> List.map (fun axis -> Axis.primed axis, Spec.dim axis spec)

                    let output =
                        spec.Output @ (core.Axes |> List.map (fun axis -> if opened axis then Axis.primed axis else axis))

                    let network = Spec.extended dims (Spec.without core.Name spec @ extra) output spec
                    LocalProblem.block spec core, Plan.make Order.Auto network
            ]

    /// The network at several points at once: their number is an axis of every core and of the output.
    let together (count: int) : Spec =
        let cores = spec.Cores |> List.map (fun core -> { core with Axes = points :: core.Axes })
        Spec.extended [ points, count ] cores (points :: spec.Output) spec

    let plans = Dictionary<int, Plan * SensitivityPlan>()

    /// The plans of T and of the sum of S at several points.
    let plansFor (count: int) =
        match plans.TryGetValue count with
        | true, found -> found
        | _ ->
            let network = together count
            let made = Plan.make Order.Auto network, Sensitivity.plan network

            plans[count] <- made
            made

    /// How many points are taken together.
    let most =
        lazy
            (let whole, s = plansFor 2
             let largest = whole :: Sensitivity.plans s |> List.map _.LargestIntermediate |> List.max
             max 1 (int (2.0 * mostEntries / largest)))

    let coresOf (point: Tensor) : Tensor[] = CoreVector.cores shapes point

    let lookup cores = CoreArray.Lookup spec cores

    /// The gradients of S − ⟨y, T⟩ at points, one in each row; of S where there is no y.
    let gradients (multipliers: Tensor option) (points: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        use _ = torch.enable_grad ()
        let count = points.shape[0]
        let whole, sensitivity = plansFor (int count)

        let leaves =
            [|
                for i in 0 .. shapes.Length - 1 ->
                    (points.narrow(1L, starts[i], sizes[i]).detach().clone().reshape(Array.append [| count |] shapes[i])).requires_grad_
                        true
            |]

        let s = Sensitivity.totalKeeping None sensitivity dtype device (lookup leaves)

        let lagrangian =
            match multipliers with
            | None -> s
            | Some y ->
                let tensors = Contraction.runMany [ whole ] dtype device (lookup leaves) |> List.head
                s.minus (tensors.reshape(count, -1L).matmul(y).sum())

        // S of a core that is alone is constant.
        if lagrangian.requires_grad then
            lagrangian.backward ()

        torch.cat (
            [|
                for leaf in leaves ->
                    match leaf.grad with
                    | null -> torch.zeros_like(leaf).reshape(count, -1L)
                    | grad -> grad.reshape (count, -1L)
            |],
            1L
        )
        |> _.detach()
        |> scope.MoveToOuter

    member _.Device = device

    member _.Size = starts[shapes.Length]

    /// T as a vector. The caller's scope owns it, as all that follows.
    member _.Tensor(point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()

        (Contraction.runMany [ full ] dtype device (lookup (coresOf point)) |> List.head).reshape(-1L).clone()
        |> scope.MoveToOuter

    /// K − T as a vector.
    member this.Residual(point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        (target.reshape -1L).minus(this.Tensor point) |> scope.MoveToOuter

    /// ∂T/∂θ, a row for each entry of T.
    member _.Jacobian(point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let rows = target.numel ()
        let cores = coresOf point

        torch.cat (
            [|
                for block, plan in jacobians.Value -> (LocalProblem.evaluate block (lookup cores) target [ plan ]).Head.reshape(rows, -1L)
            |],
            1L
        )
        |> scope.MoveToOuter

    member _.Sensitivity(point: Tensor) : float =
        use _ = torch.NewDisposeScope()
        Sensitivity.numberOf sensitivity dtype device (lookup (coresOf point))

    /// ∇S.
    member _.Slope(point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        (gradients None (point.unsqueeze 0L)).squeeze 0L |> scope.MoveToOuter

    /// The Hessian of S − ⟨y, T⟩ times directions, one in each row, by central differences of its gradient.
    member _.Curvature(multipliers: Tensor option, point: Tensor, directions: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let h = differenceStep * point.abs().max().number()
        let steps = directions.mul (Num.tensor h)

        torch.cat
            [|
                for part in steps.split (int64 (max 1 (most.Value / 2))) ->
                    use inner = torch.NewDisposeScope()
                    let n = part.shape[0]
                    let both = gradients multipliers (torch.cat [| point.plus part; point.minus part |])

                    (both.narrow (0L, 0L, n)).minus(both.narrow (0L, n, n)).mul(Num.tensor (0.5 / h))
                    |> inner.MoveToOuter
            |]
        |> scope.MoveToOuter
