namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>A point of the front: a bound, and the least sensitive network found within it. Disposing it disposes the network.</summary>
[<Sealed>]
type ParetoPoint internal (bound: float, fit: Fit) =
    /// The bound on ‖K − T‖ / ‖K‖.
    member _.Bound = bound
    /// ‖K − T‖ / ‖K‖, from the explicit difference.
    member _.RelativeError = fit.RelativeError
    /// S.
    member _.Sensitivity = fit.Sensitivity
    /// The network, in the dtype of the target.
    member _.Network = fit.Network
    /// The network with what it reached.
    member _.Fit = fit

    override _.ToString() = $"bound {bound:G6}: relative error {fit.RelativeError:G6}, sensitivity {fit.Sensitivity:G6}"

    interface IDisposable with
        member _.Dispose() = (fit :> IDisposable).Dispose()

/// <summary>The front: S over the bound, as far as the start reaches. Disposing it disposes every network.</summary>
[<Sealed>]
type ParetoFront internal (points: ParetoPoint list, unreached: float list) =
    /// The bounds that were met, in rising order; S falls along them.
    member _.Points: IReadOnlyList<ParetoPoint> = points
    /// The bounds that no network from this start met, or had met when it was cancelled, in rising order.
    member _.Unreached: IReadOnlyList<float> = unreached

    interface IDisposable with
        member _.Dispose() =
            for point in points do
                (point :> IDisposable).Dispose()

/// <summary>The sensitivity that each bound on the error costs, from which one chooses.</summary>
[<RequireQualifiedAccess>]
module ParetoFront =
    /// Errors of the bounds, all at once.
    let private check (bounds: float list) =
        [
            if bounds.IsEmpty then
                TensorNetError.ErrorBound("given for no point", "at least one bound")
            for bound in bounds do
                match ErrorBound.resolve (ErrorBound.Relative bound) 1.0 with
                | Ok _ -> ()
                | Error errors -> yield! errors
        ]

    /// The better of what there is and what a correction from another network gives; whether that changed.
    let private improved (correct: Network -> Result<Fit, TensorNetError list>) (kept: Fit option) (from: Network) : Fit option * bool =
        match correct from, kept with
        | Error _, _ -> kept, false
        | Ok fit, None -> Some fit, true
        | Ok fit, Some before when fit.Sensitivity < before.Sensitivity ->
            Fit.dispose before
            Some fit, true
        | Ok fit, _ ->
            Fit.dispose fit
            kept, false

    /// Passes over the bounds in float64, into the array of fits: from the tightest up, each point from the start and from the one below
    /// it; from the loosest down, each from the one above; up again from points that have changed or lie below their neighbour.
    let private passes (options: SweepOptions) (deltas: float[]) (k: Tensor) (start: Network) : Fit option[] * TensorNetError list =
        let fits: Fit option[] = Array.create deltas.Length None
        let mutable errors = []
        let correct i network = Correction.within options (ErrorBound.Absolute deltas[i]) k network
        let cancelled () = options.Cancellation.IsCancellationRequested

        let improve i from =
            let kept, changed = improved (correct i) fits[i] from
            fits[i] <- kept
            changed

        let network i = fits[i] |> Option.map _.Network

        let first i =
            match correct i start with
            | Ok fit -> fits[i] <- Some fit
            | Error found -> errors <- found

            if i > 0 && not (cancelled ()) then
                network (i - 1) |> Option.iter (improve i >> ignore)

        let last = deltas.Length - 1

        for i in 0..last do
            if not (cancelled ()) || i = 0 then
                first i

        let mutable changed = Set.empty

        for i in last - 1 .. -1 .. 0 do
            if not (cancelled ()) then
                match network (i + 1) with
                | Some above when improve i above -> changed <- changed.Add i
                | _ -> ()

        for i in 1..last do
            match fits[i - 1], fits[i] with
            | Some below, Some here when below.Sensitivity < here.Sensitivity || (changed.Contains(i - 1) && not (cancelled ())) ->
                if improve i below.Network then
                    changed <- changed.Add i
            | Some below, None -> improve i below.Network |> ignore
            | _ -> ()

            // Where no correction starts from the tighter point, that point itself meets the looser bound.
            match fits[i - 1], fits[i] with
            | Some below, here when here |> Option.forall (fun here -> below.Sensitivity < here.Sensitivity) ->
                Option.iter Fit.dispose here
                fits[i] <- Some(Fit.copyAs k.dtype k below)
            | _ -> ()

        fits, errors

    let private frobenius (bounds: float list) (options: SweepOptions) (target: Tensor) (start: Network) (back: Fit -> Fit) =
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match Check.forSpec start.Spec target @ check bounds with
        | [] ->
            use _ = torch.NewDisposeScope()
            let k = Check.double target
            let norm = k.norm().number()
            let bounds = bounds |> List.distinct |> List.sort |> List.toArray
            use exact = Gauge.truncate start
            let options = SweepsLeft.listening options
            let fits, errors = passes options (bounds |> Array.map (fun bound -> bound * norm)) k exact

            let finished (fit: Fit) =
                if target.dtype = torch.float64 then
                    fit
                else
                    use fit = fit
                    Fit.copyAs target.dtype k fit

            let points =
                [
                    for bound, fit in Array.zip bounds fits do
                        match fit with
                        | Some fit -> new ParetoPoint(bound, finished fit |> back |> Fit.toOuterScope)
                        | None -> ()
                ]

            if points.IsEmpty && not options.Cancellation.IsCancellationRequested then
                Error errors
            else
                Ok(
                    new ParetoFront(
                        points,
                        [
                            for bound, fit in Array.zip bounds fits do
                                if fit.IsNone then
                                    bound
                        ]
                    )
                )
        | errors -> Error errors

    /// The points in the units of the caller, or what of them leaves its range.
    let private backInUnits (units: TargetUnits) (front: ParetoFront) : Result<ParetoFront, TensorNetError list> =
        let results = [ for point in front.Points -> point.Bound, TargetUnits.back units true point.Fit ]

        let failed =
            results
            |> List.collect (fun (_, result) ->
                match result with
                | Error errors -> errors
                | Ok _ -> [])

        let points =
            [
                for bound, result in results do
                    match result with
                    | Ok fit -> new ParetoPoint(bound, Fit.toOuterScope fit)
                    | Error _ -> ()
            ]

        let whole = new ParetoFront(points, List.ofSeq front.Unreached)

        if failed.IsEmpty then
            Ok whole
        else
            (whole :> System.IDisposable).Dispose()
            Error failed

    /// The points in the dtype of the target: those that rounding has taken out of their bound are corrected again, with room for it, and S
    /// falls along the bounds as before.
    let private rounded
        (options: SweepOptions)
        (target: Tensor)
        (asked: Spec)
        (front: ParetoFront)
        : Result<ParetoFront, TensorNetError list> =
        let corrected (point: ParetoPoint) =
            let fit = point.Fit

            if RoundingRoom.meets (point.Bound * fit.TargetNorm) fit then
                Ok fit
            else
                use fit = fit
                Correction.within options (ErrorBound.Relative point.Bound) target fit.Network

        let next (points: ParetoPoint list, unreached, errors) (point: ParetoPoint) =
            match points, corrected point with
            | below :: _, Ok fit when below.Sensitivity < fit.Sensitivity ->
                Fit.dispose fit
                new ParetoPoint(point.Bound, Fit.copy below.Fit) :: points, unreached, errors
            | below :: _, Error _ -> new ParetoPoint(point.Bound, Fit.copy below.Fit) :: points, unreached, errors
            | _, Ok fit -> new ParetoPoint(point.Bound, fit) :: points, unreached, errors
            | [], Error found -> points, point.Bound :: unreached, found

        let named (point: ParetoPoint) = new ParetoPoint(point.Bound, Fit.askedFor asked point.Fit)

        if target.dtype = torch.float64 then
            Ok(new ParetoFront([ for point in front.Points -> named point ], List.ofSeq front.Unreached))
        else
            try
                match front.Points |> Seq.fold next ([], [], []) with
                | [], _, (_ :: _ as errors) when not options.Cancellation.IsCancellationRequested -> Error errors
                | points, unreached, _ ->
                    Ok(new ParetoFront(List.rev points |> List.map named, List.sort (unreached @ List.ofSeq front.Unreached)))
            with _ ->
                // A listener that throws.
                (front :> IDisposable).Dispose()
                reraise ()

    /// <summary>The front S over δ, by warm-started continuation from a network.</summary>
    /// <remarks><para>Each point is the best of corrections (<c>Correction.epc</c>), in the norm of the options, from the start, from the
    /// point with the next tighter bound and, where least squares lead down, from that with the next looser one. Hence S never rises with
    /// the bound, and no point is worse than <c>Correction.epc</c> from the start. Computed in float64, returned in the dtype of the
    /// target; the start is not changed.</para>
    /// <para>Cost: two to four corrections for each bound. Cancelled: the points found before, which may be none. Bonds of the start that
    /// are rank deficient are cut first.</para>
    /// <para>Errors: those of a target and of a norm; no bounds; bounds that are NaN, negative, or 1 and above, all named; where no bound
    /// is met, those of the loosest one.</para></remarks>
    /// <param name="options">The iteration of each correction; its progress counts the sweeps of one correction at a time.</param>
    /// <param name="bounds">Bounds on ‖K − T‖ / ‖K‖, 0 ≤ bound &lt; 1, in any order; duplicates count once.</param>
    /// <param name="target">K, of the shape of the network's output.</param>
    /// <param name="start">The network to start from.</param>
    /// <example><code>ParetoFront.trace SweepOptions.defaults [ 0.3; 0.6 ] target network |> orStop</code></example>
    let trace (options: SweepOptions) (bounds: float list) (target: Tensor) (start: Network) : Result<ParetoFront, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof bounds) bounds
        Argument.notNull (nameof start) start
        use _ = Mode.left ()

        match Check.forSpec start.Spec target with
        | [] ->
            let units = TargetUnits.ofTarget start.Spec target
            let run = WhitenedProblem.fromMany backInUnits (frobenius bounds)

            let found =
                if TargetUnits.isNone units then
                    run options target start
                else
                    use _ = torch.NewDisposeScope()
                    use start = TargetUnits.network units start

                    run (TargetUnits.listening units options) (TargetUnits.target units target) start
                    |> Result.mapError (TargetUnits.errors units)
                    |> Result.bind (backInUnits units)

            Result.bind (rounded options target start.Spec) found
        | _ -> WhitenedProblem.fromMany backInUnits (frobenius bounds) options target start
