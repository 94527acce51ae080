namespace TensorNets

open System
open TorchSharp

/// <summary>The mirror of error-preserving correction: the least error at a bounded sensitivity.</summary>
[<RequireQualifiedAccess>]
module LeastError =
    /// The interval of δ in which the least error is looked for ends at this share of δ.
    let private tolerance = 1e-5

    /// S within this share below its bound ends the search as well: no δ to gain.
    let private closeness = 1e-7

    /// What rounding may add to the S of a start that is its own bound, as a share of it.
    let private rounding = 1e-12

    /// The share of the interval of δ that a step leaves at either end, so that each step shortens it.
    let private leastShare = 0.02

    /// A bound loosened for the first time leaves no more than this share of what the network has of K.
    let private firstShare = 0.9

    /// Corrections at most for each of the two searches; bisection alone would need 17 from 1 to the tolerance.
    let private mostSteps = 60

    /// The less sensitive of two results; the other is disposed.
    let private better (a: Result<Fit, TensorNetError list>) (b: Result<Fit, TensorNetError list>) =
        match a, b with
        | Ok a, Ok b ->
            let kept, other = if b.Sensitivity < a.Sensitivity then b, a else a, b
            Fit.dispose other
            Ok kept
        | Ok a, _ -> Ok a
        | _, b -> b

    /// The next δ between one where S is above its bound and one where it is not: where log S, as a line over log h, meets log s, with
    /// h² = 1 − (δ/‖K‖)² what the network has of K. For a network that shrinks, S is a power of h.
    let private next (norm: float) (s: float) (low: float, above: float) (high: float, below: float) (bisect: bool) : float =
        let middle = 0.5 * (low + high)
        let logH delta = 0.5 * log (1.0 - (delta / norm) * (delta / norm))

        if bisect || below <= 0.0 then
            middle
        else
            let a, b = logH low, logH high
            let h = exp (a + (b - a) * (log above - log s) / (log above - log below))
            let delta = norm * sqrt (max 0.0 (1.0 - h * h))
            // NaN falls back to the middle.
            let margin = leastShare * (high - low)
            if delta > low && delta < high then min (high - margin) (max (low + margin) delta) else middle

    /// The search over δ in float64.
    [<NoEquality; NoComparison>]
    type private Search =
        {
            Options: SweepOptions
            /// The bound on S.
            S: float
            Target: Tensor
            /// ‖K‖.
            Norm: float
        }

        member this.IsCancelled = this.Options.Cancellation.IsCancellationRequested

        /// The correction at δ.
        member this.Correct(delta: float, from: Fit) = Correction.within this.Options (ErrorBound.Absolute delta) this.Target from.Network

    let private cancelled (fit: Fit) missed = fit.After { fit.History with Stop = Stop.Cancelled; Missed = missed }

    /// Looser bounds from a fit whose S is above s, each with a part h of what the network has of K, until one meets s: the fits at the
    /// last two; else, as an error, the result.
    let rec private loosen (search: Search) n (h: float) (from: Fit) : Result<Fit * Fit, Result<Fit, TensorNetError list>> =
        let delta = search.Norm * sqrt (max 0.0 (1.0 - h * h))

        let failed errors =
            if search.IsCancelled then
                Error(Ok(cancelled from (Some search.S)))
            else
                Fit.dispose from
                Error(Error errors)

        if n = mostSteps || search.IsCancelled || not (delta < search.Norm) then
            failed
                [
                    TensorNetError.Unsupported("The bound on S", $"{search.S:G6}", "one that leaves more of the target than rounding")
                ]
        else
            match search.Correct(delta, from) with
            | Ok fit when fit.Sensitivity <= search.S -> Ok(from, fit)
            | Ok fit ->
                Fit.dispose from
                loosen search (n + 1) (0.5 * h) fit
            | Error errors -> failed errors

    /// The fit of least error between two, each with its δ: `low`, whose S is above s, and `high`, which meets s. Both are disposed, or
    /// given back.
    let rec private narrow (search: Search) n bisect (low: Fit, lowDelta: float) (high: Fit, highDelta: float) =
        let closed =
            highDelta - lowDelta <= tolerance * highDelta || high.Sensitivity >= search.S * (1.0 - closeness)

        let finished () =
            Fit.dispose low
            Ok(if search.IsCancelled then cancelled high None else high)

        if closed || n = mostSteps || search.IsCancelled then
            finished ()
        else
            let delta = next search.Norm search.S (lowDelta, low.Sensitivity) (highDelta, high.Sensitivity) bisect
            let width = highDelta - lowDelta

            match better (search.Correct(delta, low)) (search.Correct(delta, high)) with
            | Ok fit when fit.Sensitivity <= search.S ->
                Fit.dispose high
                narrow search (n + 1) (delta - lowDelta > 0.5 * width) (low, lowDelta) (fit, delta)
            | Ok fit ->
                Fit.dispose low
                narrow search (n + 1) (highDelta - delta > 0.5 * width) (fit, delta) (high, highDelta)
            // Correction cannot begin in between: what meets s already is the answer.
            | Error _ -> finished ()

    /// `low` is the fit of least error, whose S is above s; `high` one that meets s, if there is one.
    let private searchBetween (search: Search) (low: Fit) (high: Fit option) : Result<Fit, TensorNetError list> =
        let bracket =
            match high with
            | Some start ->
                // At its own error first: only of what is corrected does an S near the bound say that there is no δ to gain.
                better (search.Correct(start.Error, start)) (Ok start)
                |> Result.map (fun high -> low, high)
                |> Result.mapError Error
            | None ->
                let h0 = sqrt (max 0.0 (1.0 - (low.Error / search.Norm) * (low.Error / search.Norm)))
                let power = 4.0 - 4.0 / float low.Network.Cores.Count
                loosen search 0 (h0 * min firstShare (Math.Pow(search.S / low.Sensitivity, 1.0 / power))) low

        match bracket with
        | Ok(low, high) -> narrow search 0 false (low, low.Error) (high, high.Error)
        | Error result -> result

    /// The least error that least squares reach from a network, balanced and corrected at that error.
    let private leastSquares (options: SweepOptions) (k: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        Als.run options k start
        |> Result.bind (fun fit ->
            use fit = fit
            use exact = Gauge.truncate fit.Network
            let correct network = Correction.within options (ErrorBound.Absolute fit.Error) k network

            // Cutting bonds may cost a degenerate network its error, and a loop may be deficient uncut; then it is taken as it is.
            match better (correct exact) (correct fit.Network) with
            | Ok corrected -> Ok corrected
            | Error _ -> Ok(Fit.copyAs torch.float64 k fit))

    /// The start if its S meets the bound: balanced where that can be, without the bonds that it does not need, or as it is, whichever has
    /// the least S.
    let private feasible (s: float) (k: Tensor) (start: Network) (exact: Network) : Fit option =
        let fitOf (network: Network) = Fit.make torch.float64 network.Spec (Seq.toArray network.Cores) k FitHistory.direct

        let without =
            match Gauge.balance exact with
            | Ok balanced ->
                use balanced = balanced
                fitOf balanced
            | Error _ -> fitOf exact

        match better (Ok without) (Ok(fitOf start)) with
        | Ok fit when fit.Sensitivity <= s * (1.0 + rounding) && fit.Error < k.norm().number() -> Some fit
        | Ok fit ->
            Fit.dispose fit
            None
        | Error _ -> None

    let private noBound (s: float) = [ TensorNetError.Unsupported("The bound on S", string s, "a positive number") ]

    let private frobenius (s: float) (options: SweepOptions) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        let errors =
            [
                yield! Check.forSpec start.Spec target
                if not (s > 0.0 && Double.IsFinite s) then
                    yield! noBound s
            ]

        match errors with
        | [] ->
            use _ = torch.NewDisposeScope()
            let k = Check.double target
            let options = SweepsLeft.listening options
            use exact = Gauge.truncate start
            use exact = Network.copyAs torch.float64 exact

            match leastSquares options k exact, feasible s k start exact with
            | Ok low, start when low.Sensitivity <= s ->
                Option.iter Fit.dispose start
                Ok low
            | Ok low, start -> searchBetween { Options = options; S = s; Target = k; Norm = k.norm().number() } low start
            // What correction cannot start from below leaves the start itself, where it meets s.
            | Error _, Some start -> Ok start
            | Error errors, None -> Error errors
            |> Result.map (fun fit ->
                use fit = fit
                Fit.copyAs target.dtype k fit |> Fit.toOuterScope)
        | errors -> Error errors

    /// The room that is left to the rounding of S, as a share of it, doubles as long as that takes S above its bound.
    let private mostRetries = 8

    /// A result that has been rounded to the dtype of the target: its cores a little smaller where S has come out above its bound, and the
    /// start in its place where that meets the bound and is nearer.
    let private rounded (options: SweepOptions) (s: float) (target: Tensor) (start: Network) (fit: Fit) : Result<Fit, TensorNetError list> =
        use _ = torch.NewDisposeScope()
        let meets (fit: Fit) = fit.Sensitivity <= s * (1.0 + rounding)
        let measured network = Als.run { options with MaxSweeps = 0; Progress = None } target network
        let free = (Spec.freeCores fit.Network.Spec).Length

        let smaller (room: float) =
            let factor = Math.Pow(s * (1.0 - room) / fit.Sensitivity, 1.0 / (2.0 * float (free - 1)))
            let spec = fit.Network.Spec
            let scaled core (own: Tensor) = if PlanInput.isFixed core then own else own.mul (Num.like own factor)
            use wide = Network.copyAs torch.float64 fit.Network
            measured (new Network(spec, Seq.map2 scaled spec.Cores wide.Cores |> Seq.toArray))

        let rec held retries room (found: Fit) =
            if meets found || retries = 0 then
                Ok found
            else
                smaller room |> Result.bind (held (retries - 1) (2.0 * room))

        let isLost (fit: Fit) = not (fit.MeetsBound && Double.IsFinite fit.Error)

        if target.dtype = torch.float64 || isLost fit || free < 2 then
            Ok fit
        else
            measured start
            |> Result.bind (fun given ->
                held mostRetries (RoundingRoom.first target.dtype 1.0) fit
                |> Result.map (fun found ->
                    let nearest = if meets given && given.Error < found.Error then given else found

                    if obj.ReferenceEquals(nearest, fit) then
                        fit
                    else
                        use fit = fit
                        nearest.After fit.History |> Fit.toOuterScope))
            |> Result.mapError (fun errors ->
                Fit.dispose fit
                errors)

    /// <summary>The network of least error found among those of bounded sensitivity: minimise ‖K − T‖ subject to S ≤ s,
    /// both in the norm of the options.</summary>
    /// <remarks><para>The δ at which error-preserving correction reaches S = s, by a search over δ, each step warm-started from both ends.
    /// S ≤ s(1 + 1e-9). The error is within 1e-5, as a share, of the least δ at which <c>Correction.epc</c> on the way reached s;
    /// that is the least error where correction has converged to the best network. Never worse than a start that meets s and is balanced.
    /// Where s exceeds what least squares need, the error of least squares.</para>
    /// <para>Computed in float64, returned in the dtype of the target; the start is not changed. Cost: two corrections for each of about
    /// ten steps. Cancelled: the best one found that meets s; before one does, the least sensitive one, whose <c>MeetsBound</c> is
    /// false.</para>
    /// <para>Errors: those of a target and of a norm; s that is NaN, infinite, zero or negative, or so small that only rounding would be
    /// left of the target.</para></remarks>
    /// <param name="options">The iteration of each correction.</param>
    /// <param name="s">The bound on S.</param>
    /// <param name="target">K, of the shape of the network's output.</param>
    /// <param name="start">The network to start from.</param>
    /// <example><code>LeastError.fit SweepOptions.defaults (Sensitivity.value network) target network |> orStop</code></example>
    let fit (options: SweepOptions) (s: float) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof start) start

        match Check.readable "The target" target with
        | [] ->
            if not (s > 0.0 && Double.IsFinite s) then
                Error(noBound s @ Check.forSpec start.Spec target)
            else
                let run (units: TargetUnits) =
                    WhitenedProblem.from true (fun weighted -> frobenius (weighted.SensitivityIn(units.SensitivityIn s)))

                TargetUnits.from true run options target start |> Result.bind (rounded options s target start)
        | errors -> Error errors
