namespace TensorNets

open System
open TorchSharp

/// The smallest networks of a family found within an error bound.
[<RequireQualifiedAccess>]
module internal RankSelection =
    /// Halvings of the interval of the budget: the ranks are whole numbers, so that a finer budget seldom changes them, and single ranks
    /// are lowered one by one afterwards.
    let private halvings = 6

    /// The budgets that are tried, in units of δ²: less than that only where rounding spoils it, none where δ is rounding itself.
    let private budgets = [ 1.0; 0.9; 0.5; 0.1; 0.0 ]

    /// The ratio of budgets up to which the interval is closed.
    let private closed = 1.001

    /// Sweeps that a ring gets to meet the bound at a lower rank: its truncation is not near the best.
    let private ringSweeps = 10

    /// The error of the truncation (SvdStart.start) at the ranks of a network.
    let truncationError (target: Tensor) (spec: Spec) : float =
        use _ = torch.NewDisposeScope()

        match SvdStart.start 0UL spec target with
        | Ok network -> Fit.explicitError (Plan.make Order.Auto spec) target (Network.lookup network)
        | Error _ -> infinity

    let private isStopped (options: SweepOptions) () = options.Cancellation.IsCancellationRequested

    /// The network of the largest budget, between δ² and `most` times it, whose truncation meets the bound. Where rounding spoils that of
    /// δ², less.
    let private withinBudget
        (stopped: unit -> bool)
        (meets: Spec -> bool)
        (most: float)
        (ofBudget: float -> Spec)
        (delta: float)
        : Spec option =
        let at factor = ofBudget (factor * delta * delta)

        let rec widen (kept: Spec) low high count =
            let middle = sqrt (low * high)

            if count = 0 || high <= low * closed || stopped () then
                kept
            else
                let next = at middle

                if next = kept then widen kept middle high (count - 1)
                elif meets next then widen next middle high (count - 1)
                else widen kept low middle (count - 1)

        budgets
        |> List.tryPick (fun factor ->
            let spec = at factor
            if meets spec then Some(factor, spec) else None)
        |> Option.map (fun (factor, spec) -> if factor < 1.0 then spec else widen spec 1.0 most halvings)

    /// Single ranks lowered by one, the largest saving first, until none can be: the last that an attempt gave a result for, or the first;
    /// what comes before it is disposed.
    let rec private descend (stopped: unit -> bool) (attempt: Spec -> 'T option) (drop: 'T -> unit) (spec: Spec) (result: 'T) : 'T =
        let attempt' next = if stopped () then None else attempt next |> Option.map (fun found -> next, found)

        let smaller =
            try
                Spec.bonds spec
                |> List.choose (fun axis -> TreeRanks.lowered axis spec)
                |> List.sortBy Spec.parameters
                |> List.tryPick attempt'
            with _ ->
                // A listener that throws.
                drop result
                reraise ()

        match smaller with
        | Some(next, found) ->
            drop result
            descend stopped attempt drop next found
        | None -> result

    let private tree (options: SweepOptions) (delta: float) (spec: Spec) (target: Tensor) : Spec option =
        let tails = TreeRanks.tails spec target
        let stopped = isStopped options
        let meets spec = truncationError target spec <= delta
        let attempt spec = if meets spec then Some spec else None

        withinBudget stopped meets (float tails.Length) (TreeRanks.ofBudget stopped tails spec) delta
        |> Option.map (fun spec -> descend stopped attempt ignore spec spec)

    let private dispose (network: Network) = (network :> IDisposable).Dispose()

    /// Least squares from a start until the bound is met: the network, where it is met.
    let private reach (options: SweepOptions) (delta: float) (target: Tensor) (start: Network) : Network option =
        use scope = torch.NewDisposeScope()
        let spec = start.Spec
        let norm = target.norm().number()
        let cores = [| for core in start.Cores -> core.clone () |> scope.Detach |]
        let meets relative = relative * norm <= delta

        let finished before after = meets after || before - after <= options.Tolerance * before

        let error () = Fit.explicitError (Plan.make Order.Auto spec) target (CoreArray.Lookup spec cores)

        // The sweeps put their cores in the place of these.
        let network = new Network(spec, cores)
        let mutable isMet = false

        try
            if error () > delta then
                Als.sweepUntil options finished spec target cores |> ignore

            isMet <- error () <= delta
            if isMet then Some network else None
        finally
            if not isMet then
                dispose network

    /// A ring by the budget, then single ranks lowered as long as a few sweeps of least squares meet the bound from the truncation. They
    /// need not meet it again, so that the network is kept.
    let private ring (options: SweepOptions) (delta: float) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        let short = { options with MaxSweeps = min ringSweeps options.MaxSweeps }
        let stopped = isStopped options
        let first = RingRanks.first target
        let ofBudget = RingRanks.ofBudget stopped spec target first

        let reaches spec =
            match SvdStart.start 0UL spec target with
            | Error _ -> None
            | Ok start ->
                use start = start
                reach short delta target start

        match withinBudget stopped (fun spec -> truncationError target spec <= delta) (float spec.Cores.Length) ofBudget delta with
        | Some spec -> SvdStart.start 0UL spec target |> Result.map (descend stopped reaches dispose spec)
        | None -> Error [ TensorNetError.Unreachable(delta, truncationError target (ofBudget 0.0)) ]

    /// A sum of rank-one terms that is the target itself: one term for every fibre along its largest mode.
    let private fibres (spec: Spec) (target: Tensor) : Network =
        use scope = torch.NewDisposeScope()
        let shape = target.shape
        let longest = shape |> Array.findIndex ((=) (Array.max shape))
        let others = [ 0 .. shape.Length - 1 ] |> List.except [ longest ]
        let ones n : Tensor = torch.ones ([| 1L; n |], dtype = target.dtype, device = target.device)
        let size modes = modes |> List.fold (fun n mode -> n * shape[mode]) 1L

        let core mode : Tensor =
            if mode = longest then
                target.movedim([| int64 longest |], [| 0L |]).reshape(shape[longest], -1L)
            else
                let before, after = others |> List.partition (fun other -> other < mode)
                let unit = torch.eye (shape[mode], dtype = target.dtype, device = target.device)
                torch.kron (ones (size before), torch.kron (unit, ones (size (List.except [ mode ] after))))

        new Network(spec, [| for mode in 0 .. shape.Length - 1 -> (core mode).contiguous() |> scope.MoveToOuter |])

    /// The rank doubled until least squares meet the bound, then bisected. At the largest rank the target itself is a network of the
    /// family.
    let private cp (options: FactorizeOptions) (delta: float) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        let axis = (Spec.bonds spec).Head
        let stopped = isStopped options.Sweeps
        let largest = FormatLayout.largestSum (Spec.shape spec |> List.map int)

        let attempt rank =
            let spec = Spec.resized [ axis, rank ] spec

            let from i =
                if stopped () then
                    None
                else
                    match Initializer.network options.Start i (MultiStart.seed options.Seed i) spec target with
                    | Error _ -> None
                    | Ok start ->
                        use start = start
                        reach options.Sweeps delta target start

            Seq.init options.Starts id |> Seq.tryPick from

        let rec bisect (kept: Network) low high =
            if high - low <= 1 || stopped () then
                kept
            else
                let middle = (low + high) / 2

                let found =
                    try
                        attempt middle
                    with _ ->
                        dispose kept
                        reraise ()

                match found with
                | Some network ->
                    dispose kept
                    bisect network low middle
                | None -> bisect kept middle high

        let rec double low rank =
            match attempt rank with
            | Some network -> bisect network low rank
            | None when rank < largest && not (stopped ()) -> double rank (min largest (2 * rank))
            | None -> fibres (Spec.resized [ axis, largest ] spec) target

        Ok(double 0 1)

    /// The network of a family within δ of a target in float64, in the ranks chosen.
    let private start (options: FactorizeOptions) (delta: float) (family: FormatFamily) (spec: Spec) (target: Tensor) =
        let ofSpec chosen =
            match chosen with
            | Some spec -> SvdStart.start 0UL spec target
            | None ->
                // Not even the full ranks: δ is below the rounding of the target.
                let full = TreeRanks.ofBudget (fun () -> false) (TreeRanks.tails spec target) spec 0.0
                Error [ TensorNetError.Unreachable(delta, truncationError target full) ]

        match family with
        | FormatFamily.CP -> cp options delta spec target
        | FormatFamily.TensorChain -> ring options.Sweeps delta spec target
        | _ -> ofSpec (tree options.Sweeps delta spec target)

    /// The fit: least squares from the chosen network, unless they end above the error it has.
    let private finished (options: SweepOptions) (target: Tensor) (k: Tensor) (start: Network) =
        let truncated = Fit.make target.dtype start.Spec (Seq.toArray start.Cores) k FitHistory.direct

        Als.run options target start
        |> Result.map (fun swept ->
            let kept, other = if swept.Error <= truncated.Error then swept, truncated else truncated, swept
            Fit.dispose other
            kept)

    let private inUnits (options: FactorizeOptions) (bound: ErrorBound) (family: FormatFamily) (target: Tensor) =
        use _ = Mode.left ()
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
                    RoundingRoom.anew target.dtype (ErrorBound.Absolute delta) (fun room ->
                        start options (delta - room (delta / norm) * norm) family spec k
                        |> Result.bind (fun start ->
                            use start = start
                            finished options.Sweeps target k start))
                    |> Result.map Fit.toOuterScope))
        | errors -> Error errors

    /// As <c>Factorize.toBound</c>, for options that have been checked.
    let run (options: FactorizeOptions) (bound: ErrorBound) (family: FormatFamily) (target: Tensor) : Result<Fit, TensorNetError list> =
        use _ = Mode.left ()
        let shape = target.shape |> Array.map int |> List.ofArray

        match Check.target "The target" target, FormatFamily.spec shape family with
        | [], Ok spec when not (TargetUnits.isNone (TargetUnits.ofTarget spec target)) ->
            use _ = torch.NewDisposeScope()
            let units = TargetUnits.ofTarget spec target
            let options = { options with Sweeps = TargetUnits.listening units options.Sweeps }

            ErrorBound.resolve bound (Check.norm target)
            |> Result.bind (fun _ ->
                inUnits options (TargetUnits.bound units bound) family (TargetUnits.target units target)
                |> Result.mapError (TargetUnits.errors units))
            |> Result.bind (TargetUnits.back units false)
            |> Result.map Fit.toOuterScope
        | _ -> inUnits options bound family target
