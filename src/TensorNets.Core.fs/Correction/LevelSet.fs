namespace TensorNets

open System
open TorchSharp

/// The least S among all cores of one tensor: where the bound is all but zero, that is what the correction asks for. A point moves in the
/// null space of the Jacobian of T, by Newton's steps with the Hessian of S − ⟨y, T⟩ there, Jᵀy = ∇S, in a ball; its negative curvature is
/// followed. Then the least change of all cores brings T back. Contains the gauge as far as it leaves T as it is; where T fixes the cores
/// but for the gauge there is nothing else to find. Source: Nocedal and Wright, Numerical Optimization, 2nd ed., ch. 4.3 (the step in a
/// ball) and 18 (steps along the constraint).
[<RequireQualifiedAccess>]
module internal LevelSet =
    /// Singular values of the Jacobian below this share of the largest are zero.
    let private nullShare = 1e-10

    /// The ball at first, as a share of the point's length, and the share below which no step is worth trying.
    let private firstRadius, private leastRadius = 0.1, 1e-9

    /// The share of the predicted decrease below which a step is refused, and below and above which the ball changes.
    let private acceptable, private poor, private good = 0.05, 0.25, 0.75

    /// The factors by which the ball shrinks and grows: a step costs a Hessian, so that a ball adapts in few.
    let private shrinking, private growth = 0.3, 2.5

    /// The relative accuracy of the multiplier that holds a step in the ball; and how far above minus the least eigenvalue it begins, as a
    /// share of the largest.
    let private lengthTolerance, private gap = 1e-10, 1e-12

    let private mostSteps, private mostRestorations = 100, 8

    /// The residual keeps this share, so that rounding does not carry it over the bound.
    let private inside = 0.99

    /// The Jacobian's singular values that are not zero with their vectors, and a basis of its null space: U, σ, V and Z as columns.
    let private split (jacobian: Tensor) : struct (Tensor * Tensor * Tensor * Tensor) =
        use scope = torch.NewDisposeScope()
        let m, n = jacobian.shape[0], jacobian.shape[1]

        let struct (q, r) =
            if m > n then
                Decompose.qr jacobian
            else
                struct (torch.eye (m, dtype = jacobian.dtype, device = jacobian.device), jacobian)

        let struct (u, sigma, vt) = Decompose.svd true r
        let largest = sigma.max ()
        let rank = sigma.gt(largest.mul (Num.tensor nullShare)).count_nonzero().integer()
        let v = vt.mT

        struct (q.matmul (u.narrow (1L, 0L, rank)) |> scope.MoveToOuter,
                sigma.narrow(0L, 0L, rank).clone() |> scope.MoveToOuter,
                v.narrow(1L, 0L, rank).contiguous() |> scope.MoveToOuter,
                v.narrow(1L, rank, n - rank).contiguous() |> scope.MoveToOuter)

    /// The minimiser of ⟨b, z⟩ + ½ Σ w z² in the ball, its length where the ball does not hold it, and the decrease: in the basis of
    /// eigenvectors.
    let private step (w: float[]) (b: float[]) (radius: float) : float[] * bool * float =
        let lowest = Array.min w
        let scale = w |> Array.map abs |> Array.max
        let at nu = Array.map2 (fun w b -> -b / (w + nu)) w b
        let length z = sqrt (Array.sumBy (fun x -> x * x) z)
        let least = max 0.0 -lowest + gap * scale

        let nu, isHeld =
            if length (at least) <= radius then
                least, lowest < 0.0
            else
                let mutable low, high = least, least + scale

                while length (at high) > radius do
                    low <- high
                    high <- 3.0 * high

                while high - low > lengthTolerance * high do
                    let middle = 0.5 * (low + high)
                    if length (at middle) > radius then low <- middle else high <- middle

                high, true

        let z = at nu
        z, isHeld, -(Array.fold2 (fun sum z (w, b) -> sum + b * z + 0.5 * w * z * z) 0.0 z (Array.zip w b))

    /// The nearest point whose tensor is the given one as nearly as the linearised equations bring it.
    let private restored (work: DenseDerivatives) (wanted: Tensor) (point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let miss (point: Tensor) : Tensor = wanted.minus (work.Tensor point)

        let rec go count (point: Tensor) (before: Tensor) (length: float) =
            if count = 0 || not (length > 0.0) || not (Double.IsFinite length) then
                point
            else
                let struct (u, sigma, v, _) = split (work.Jacobian point)
                let next = point.plus (v.matmul (u.mT.matmul(before).div sigma))
                let after = miss next
                let now = after.norm().number()
                if now < 0.5 * length then go (count - 1) next after now else point

        let first = miss point
        (go mostRestorations point first (first.norm().number())).clone() |> scope.MoveToOuter

    /// From a point that meets the bound to one that does, with an S that is no larger. `listen` hears of every S and says whether to go
    /// on.
    let descend
        (work: DenseDerivatives)
        (bound: float)
        (most: int)
        (tolerance: float)
        (listen: float -> bool)
        (start: Tensor)
        : Tensor * float =
        use scope = torch.NewDisposeScope()
        let wanted = (work.Tensor start).plus((work.Residual start).mul(Num.tensor (1.0 - inside)))

        let rec loop n (point: Tensor) (s: float) (radius: float) small =
            use inner = torch.NewDisposeScope()
            let slope = work.Slope point
            let struct (u, sigma, v, z) = split (work.Jacobian point)

            if z.shape[1] = 0L then
                point.clone () |> inner.MoveToOuter, s, radius, true
            else
                let y = u.matmul (v.mT.matmul(slope).div sigma)
                let reduced = work.Curvature(Some y, point, z.mT.contiguous ()).matmul z
                let struct (values, vectors) = Decompose.eigh ((reduced.plus reduced.mT).mul(Num.tensor 0.5))
                let basis = z.matmul vectors
                let w, b = ConstrainedQuadratics.toArray values, ConstrainedQuadratics.toArray (basis.mT.matmul slope)

                let rec attempt radius =
                    let move, isHeld, decrease = step w b radius
                    let there = point.plus (basis.matmul (ConstrainedQuadratics.ofArray point [| int64 move.Length |] move))
                    let next = restored work wanted there
                    let after = if next.isfinite().all().truth() then work.Sensitivity next else nan
                    let meets = (work.Residual next).norm().number() <= bound
                    // Written so that NaN counts as a failure. At a stationary point both may be rounding, and of any sign: what does not
                    // fall is refused, and tried again in a smaller ball.
                    let ratio = if meets && after < s then (s - after) / decrease else -1.0

                    let radius' =
                        if not (ratio >= poor) then shrinking * radius
                        elif ratio > good && isHeld then growth * radius
                        else radius

                    if ratio > acceptable then Some(next, after, radius')
                    elif radius' < leastRadius * point.norm().number() then None
                    else attempt radius'

                match attempt radius with
                | None -> point.clone () |> inner.MoveToOuter, s, radius, true
                | Some(next, after, radius) ->
                    let goOn = listen after
                    let isSmall = s - after <= tolerance * s
                    inner.MoveToOuter next, after, radius, (small && isSmall) || not goOn || n >= min most mostSteps

        let rec run n (point: Tensor) s radius small =
            let next, after, radius, last = loop n point s radius small
            if last then next, after else run (n + 1) next after radius (s - after <= tolerance * s)

        let s = work.Sensitivity start
        let point, s = run 1 start s (firstRadius * start.norm().number()) false
        scope.MoveToOuter point, s

    /// How many points near the first start are tried as well, and their distance as a share of its length: the descent ends in different
    /// valleys.
    let private others, private distance = 4, 0.05

    /// The least S found from points that meet the bound and from some near the first, with the least S so far after each step, which
    /// `listen` hears.
    let search
        (work: DenseDerivatives)
        (bound: float)
        (most: int)
        (tolerance: float)
        (listen: float -> bool)
        (starts: Tensor list)
        : Tensor * float list =
        use scope = torch.NewDisposeScope()
        use generator = new torch.Generator(0uL)
        let first = List.head starts
        let share = distance * first.norm().number() / sqrt (float first.shape[0])

        let near () =
            let noise = Fresh.noise generator first.dtype first.device first.shape
            restored work (work.Tensor first) (first.plus (noise.mul (Num.tensor share)))

        let mutable best, trace, goOn = (first, work.Sensitivity first), [], true

        let from (start: Tensor) =
            if start.isfinite().all().truth() && (work.Residual start).norm().number() <= bound then
                let heard s =
                    trace <- min s (snd best) :: trace
                    goOn <- listen trace.Head
                    goOn

                let found, s = descend work bound most tolerance heard start

                if s < snd best then
                    best <- (found, s)

        for start in Seq.append starts (Seq.init others (fun _ -> near ())) |> Seq.takeWhile (fun _ -> goOn) do
            from start

        (fst best).clone() |> scope.MoveToOuter, List.rev trace
