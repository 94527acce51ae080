namespace TensorNets

open System
open TorchSharp

/// The smallest networks of a family found within an error bound.
[<RequireQualifiedAccess>]
module internal Selection =
    /// Halvings of the interval of the budget: the ranks are whole numbers, so that a finer budget seldom changes them, and single ranks are lowered
    /// one by one afterwards.
    let private halvings = 6

    /// Sweeps that a ring gets to meet the bound at a lower rank: its truncation is not near the best.
    let private ringSweeps = 10

    /// What float32 cores may add to the error, as a share of ‖K‖.
    let castShare = 1e-6

    /// The error of the truncation (Svd.start) at the ranks of a network.
    let truncationError (target: Tensor) (spec: Spec) : float =
        use _ = torch.NewDisposeScope()

        match Svd.start 0UL spec target with
        | Ok network -> Fit.explicitError (Plan.make Order.Auto spec) target (Network.lookup network)
        | Error _ -> infinity

    /// The network of the largest budget, between δ² and `most` times it, whose truncation meets the bound. Where rounding spoils that of δ², less.
    let private byBudget (meets: Spec -> bool) (most: float) (ofBudget: float -> Spec) (delta: float) : Spec option =
        let at factor = ofBudget (factor * delta * delta)

        let rec widen (kept: Spec) low high count =
            let middle = sqrt (low * high)

            if count = 0 || high <= low * 1.001 then
                kept
            else
                let next = at middle

                if next = kept then widen kept middle high (count - 1)
                elif meets next then widen next middle high (count - 1)
                else widen kept low middle (count - 1)

        [ 1.0; 0.9; 0.5; 0.1; 0.0 ]
        |> List.tryPick (fun factor ->
            let spec = at factor
            if meets spec then Some(factor, spec) else None)
        |> Option.map (fun (factor, spec) -> if factor < 1.0 then spec else widen spec 1.0 most halvings)

    /// Single ranks lowered by one, the largest saving first, until none can be.
    let rec private descend (meets: Spec -> bool) (spec: Spec) : Spec =
        Spec.bonds spec
        |> List.choose (fun axis -> RankChoice.lowered axis spec)
        |> List.sortBy Spec.parameters
        |> List.tryFind meets
        |> function
            | Some next -> descend meets next
            | None -> spec

    let private tree (delta: float) (spec: Spec) (target: Tensor) : Spec option =
        let tails = RankChoice.tails spec target
        let meets spec = truncationError target spec <= delta

        byBudget meets (float tails.Length) (RankChoice.ofBudget tails spec) delta
        |> Option.map (descend meets)

    /// Least squares from a start until the bound is met: the error, and the network where it is met.
    let private reach (options: SweepOptions) (delta: float) (target: Tensor) (start: Network) : float * Network option =
        use scope = torch.NewDisposeScope()
        let spec = start.Spec
        let norm = target.norm().number()
        let cores = [| for core in start.Cores -> core.clone () |> scope.Detach |]
        let meets relative = relative * norm <= delta

        let finished before after = meets after || before - after <= options.Tolerance * before

        let error () = Fit.explicitError (Plan.make Order.Auto spec) target (Fit.lookup spec cores)

        if error () > delta then
            Als.sweepUntil options finished spec target cores |> ignore

        let error = error ()
        let network = new Network(spec, cores)

        if error <= delta then
            error, Some network
        else
            (network :> IDisposable).Dispose()
            error, None

    /// Whether least squares meet the bound from the truncation at the ranks of a network.
    let private ring (options: SweepOptions) (delta: float) (spec: Spec) (target: Tensor) : Spec option =
        let short = { options with MaxSweeps = min ringSweeps options.MaxSweeps; Progress = None }

        let reaches spec =
            match Svd.start 0UL spec target with
            | Error _ -> false
            | Ok start ->
                use start = start

                match reach short delta target start with
                | _, Some network ->
                    (network :> IDisposable).Dispose()
                    true
                | _, None -> false

        byBudget (fun spec -> truncationError target spec <= delta) (float spec.Cores.Length) (RingRanks.ofBudget spec target) delta
        |> Option.map (descend reaches)

    /// A sum of rank-one terms that is the target itself: one term for every fibre along its largest mode.
    let private fibres (spec: Spec) (target: Tensor) : Network =
        use scope = torch.NewDisposeScope()
        let shape = target.shape
        let longest = shape |> Array.findIndex ((=) (Array.max shape))
        let others = [ 0 .. shape.Length - 1 ] |> List.except [ longest ]
        let ones n : Tensor = torch.ones ([| 1L; n |], dtype = torch.float64)
        let size modes = modes |> List.fold (fun n mode -> n * shape[mode]) 1L

        let core mode : Tensor =
            if mode = longest then
                target.movedim([| int64 longest |], [| 0L |]).reshape(shape[longest], -1L)
            else
                let before, after = others |> List.partition (fun other -> other < mode)
                let unit = torch.eye (shape[mode], dtype = torch.float64)
                torch.kron (ones (size before), torch.kron (unit, ones (size (List.except [ mode ] after))))

        new Network(spec, [| for mode in 0 .. shape.Length - 1 -> (core mode).contiguous() |> scope.MoveToOuter |])

    /// The rank doubled until least squares meet the bound, then bisected. At the largest rank the target itself is a network of the family.
    let private cp (options: FactorizeOptions) (delta: float) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        let axis = (Spec.bonds spec).Head
        let sizes = Spec.shape spec |> List.sort

        let largest =
            sizes
            |> List.truncate (sizes.Length - 1)
            |> List.fold (fun n size -> min (n * size) (int64 Int32.MaxValue)) 1L
            |> int

        let attempt rank =
            let spec = RankChoice.resize [ axis, rank ] spec

            let from i =
                let seed = Starts.seed options.Seed i

                let start =
                    if i = 0 && options.Start = Start.Svd then
                        Svd.start seed spec target
                    else
                        Svd.noise seed spec target

                match start with
                | Error _ -> None
                | Ok start ->
                    use start = start
                    snd (reach options.Sweeps delta target start)

            Seq.init options.Starts id |> Seq.tryPick from

        let rec bisect (kept: Network) low high =
            if high - low <= 1 || options.Sweeps.Cancellation.IsCancellationRequested then
                kept
            else
                let middle = (low + high) / 2

                match attempt middle with
                | Some network ->
                    (kept :> IDisposable).Dispose()
                    bisect network low middle
                | None -> bisect kept middle high

        let rec double low rank =
            match attempt rank with
            | Some network -> bisect network low rank
            | None when rank < largest -> double rank (min largest (2 * rank))
            | None -> fibres (RankChoice.resize [ axis, largest ] spec) target

        Ok(double 0 1)

    /// The network of a family within δ of a target in float64, in the ranks chosen.
    let private start (options: FactorizeOptions) (delta: float) (family: FormatFamily) (spec: Spec) (target: Tensor) =
        let ofSpec chosen =
            match chosen with
            | Some spec -> Svd.start 0UL spec target
            | None ->
                // Not even the full ranks: δ is below the rounding of the target.
                let full = RankChoice.ofBudget (RankChoice.tails spec target) spec 0.0
                Error [ TensorNetError.Unreachable(delta, truncationError target full) ]

        match family with
        | FormatFamily.CP -> cp options delta spec target
        | FormatFamily.TensorChain ->
            match ring options.Sweeps delta spec target with
            | Some spec -> Svd.start 0UL spec target
            | None -> Error [ TensorNetError.Unreachable(delta, truncationError target (RingRanks.ofBudget spec target 0.0)) ]
        | _ -> ofSpec (tree delta spec target)

    /// The fit: least squares from the chosen network, unless they end above the error it has.
    let private finished (options: SweepOptions) (delta: float) (target: Tensor) (k: Tensor) (start: Network) =
        let meets (fit: Fit) = fit.Error <= delta * (1.0 + 1e-9)
        let truncated = Fit.make target.dtype start.Spec (Seq.toArray start.Cores) k 0 Stop.Converged []

        Als.run options target start
        |> Result.bind (fun swept ->
            let kept, other = if swept.Error <= truncated.Error then swept, truncated else truncated, swept
            (other :> IDisposable).Dispose()

            if meets kept then
                Ok kept
            else
                let reached = kept.Error
                (kept :> IDisposable).Dispose()
                Error [ TensorNetError.Unreachable(delta, reached) ])

    /// As <c>Factorize.toBound</c>, for options that have been checked.
    let run (options: FactorizeOptions) (bound: ErrorBound) (family: FormatFamily) (target: Tensor) : Result<Fit, TensorNetError list> =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        match Check.target "The target" target with
        | [] ->
            FormatFamily.spec (target.shape |> Array.map int |> List.ofArray) family
            |> Result.mapError (List.map TensorNetError.Format)
            |> Result.bind (fun spec ->
                let k = Check.double target
                let norm = k.norm().number()

                ErrorBound.resolve bound norm
                |> Result.bind (fun delta ->
                    let cast = if target.dtype = torch.float64 then 0.0 else castShare * norm
                    let inner = if delta > 2.0 * cast then delta - cast else delta

                    start options inner family spec k
                    |> Result.bind (fun start ->
                        use start = start
                        finished options.Sweeps delta target k start |> Result.map Fit.toOuterScope)))
        | errors -> Error errors
