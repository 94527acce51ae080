namespace TensorNets

open System
open TorchSharp

/// <summary>Error-preserving correction (EPC): the least sensitive network at a bounded error.</summary>
/// <remarks>minimise S(θ) subject to ‖K − T(θ)‖_F ≤ δ. The network is balanced first (<c>Gauge.balance</c>), since block descent cannot
/// move along the gauge; then each core in turn becomes the minimiser with the others fixed, which one scalar equation gives exactly, and
/// the gauge is balanced again after each sweep. Sources: Phan, Tichavský and Cichocki, "Error Preserving Correction", IEEE TSP 2019; Phan
/// et al., ECCV 2020 (arXiv 2008.05441).</remarks>
[<RequireQualifiedAccess>]
module Correction =
    /// The relative error in ‖K − T‖ that counts as meeting the bound.
    let internal feasibility = CorrectionProblem.feasibility

    /// A δ/‖K‖ below this is the rounding of a double and counts as this.
    let private rounding = 1e-12

    /// `noise`: the share of the target's norm that is rounding of the numbers it came in. `slack`: by which share of its norm the error
    /// may exceed the bound for directions that are noise.
    let private frobenius
        noise
        slack
        (bound: ErrorBound)
        (options: SweepOptions)
        (target: Tensor)
        (start: Network)
        : Result<Fit, TensorNetError list> =
        let options = SweepsLeft.listening options
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        let spec = start.Spec

        match SweepOptions.check options @ Check.forSpec spec target with
        | [] ->
            use _ = torch.NewDisposeScope()
            let k = Check.double target
            let norm = k.norm().number()

            match ErrorBound.resolve bound norm with
            | Error errors -> Error errors
            | Ok asked ->
                use work = CoreArray.Of start
                let cores = work.Cores
                let delta = max asked (rounding * norm)
                let problem = { Options = options; Spec = spec; Target = k; Norm = norm; Bound = delta }
                let meets = CorrectionProblem.meets problem
                let first = CorrectionProblem.error problem cores
                let way, reached = if meets first then FitHistory.direct, first else BoundApproach.run problem cores
                let made spec history = Fit.make target.dtype spec cores k history |> Fit.toOuterScope

                if not (meets reached) then
                    let stop =
                        if options.Cancellation.IsCancellationRequested then Stop.Cancelled
                        elif Double.IsFinite reached then way.Stop
                        else Stop.Rounding

                    Ok(made spec { way with Stop = stop; Missed = Some asked })
                else
                    let least = max delta reached
                    let cut = { problem with Spec = Descent.withoutNoise noise (least + slack * norm) k spec cores }
                    let bound = max least (CorrectionProblem.error cut cores)
                    Ok(Descent.run { cut with Bound = bound } cores ||> made)
        | errors -> Error errors

    /// The most sweeps of a correction at a lowered bound: its start misses that by rounding.
    let private retrySweeps = 8

    /// A correction by `run`, whose result has been rounded to the dtype of the target, at a bound that leaves room for that: of all
    /// results on the way that meet the bound, the start among them, the least sensitive. `MeetsBound` tells of the network that is
    /// returned.
    let private roundedWithin
        (options: SweepOptions)
        (bound: ErrorBound)
        (run: SweepOptions -> ErrorBound -> Network -> Result<Fit, TensorNetError list>)
        (given: Fit)
        (start: Network)
        : Result<Fit, TensorNetError list> =
        let again = SweepOptions.part 0 retrySweeps options
        let norm = given.TargetNorm

        let delta, less =
            match bound with
            | ErrorBound.Relative epsilon -> epsilon * norm, (fun room -> ErrorBound.Relative(epsilon - room))
            | ErrorBound.Absolute delta -> delta, (fun room -> ErrorBound.Absolute(delta - room * norm))

        let asked = delta / norm
        let meets = RoundingRoom.meets delta

        let lesser (kept: Fit option) (fit: Fit) =
            match kept with
            | Some kept when kept.Sensitivity <= fit.Sensitivity -> Some kept
            | _ -> Some fit

        let ended (kept: Fit option) (fit: Fit) =
            match kept with
            | Some kept -> Ok(kept.After { fit.History with Missed = None })
            | None -> Ok(fit.After { fit.History with Missed = Some delta })

        let rec attempt options retries room (from: Network) kept =
            match run options (less room) from with
            | Error _ when Option.isSome kept && retries < RoundingRoom.mostRetries -> ended kept (Option.get kept)
            | Error errors -> Error errors
            | Ok fit ->
                let over = fit.Error / norm - asked
                let isMet = meets fit
                let better = if isMet then lesser kept fit else kept

                if fit.MeetsBound && isMet || fit.Stop = Stop.Cancelled || not (Double.IsFinite fit.Error) then
                    ended better fit
                elif fit.MeetsBound then
                    let next = RoundingRoom.more room over

                    if retries > 0 && next < asked then
                        attempt again (retries - 1) next fit.Network better
                    else
                        ended better fit
                elif isMet && retries > 0 then
                    // Within the bound, though not by as much as that: half of what there is.
                    attempt again (min 1 (retries - 1)) (max 0.0 (-0.5 * over)) fit.Network better
                elif room > 0.0 then
                    attempt again 0 0.0 from better
                else
                    ended better fit

        let isMet = meets given
        let first = RoundingRoom.first given.Network.DType asked
        // A start within the bound begins within a bound that leaves less room: then S never rises.
        let room = if isMet then max 0.0 (min first (0.5 * (asked - given.Error / norm))) else first
        attempt options RoundingRoom.mostRetries room start (if isMet then Some given else None)

    /// As <c>epc</c>; where the bound is not met, whatever the reason, the network of least error.
    let internal nearest (options: SweepOptions) (bound: ErrorBound) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        match Check.readable "The target" target with
        | [] ->
            let checkedBound =
                if options.Norm = Norm.Frobenius && (Check.forSpec start.Spec target).IsEmpty then
                    ErrorBound.resolve bound (Check.norm target)
                else
                    Ok 0.0

            let inUnits (units: TargetUnits) (options: SweepOptions) (target: Tensor) start =
                let scaled = TargetUnits.bound units bound
                let noise = Redundancy.noise target

                /// What is wrong with the bound is said in the units of the caller.
                let within (weighted: TargetUnits) inner options (k: Tensor) start =
                    ErrorBound.resolve bound (units.ErrorOut(weighted.ErrorOut(Check.norm k)))
                    |> Result.bind (fun _ -> frobenius noise 0.0 (TargetUnits.bound weighted inner) options k start)

                let run options inner start = WhitenedProblem.from true (fun weighted -> within weighted inner) options target start

                if target.dtype = torch.float64 then
                    run options scaled start
                else
                    use _ = torch.NewDisposeScope()

                    Als.run { options with MaxSweeps = 0; Progress = None } target start
                    |> Result.bind (fun given -> roundedWithin options scaled run given start)
                    |> Result.map Fit.toOuterScope

            checkedBound |> Result.bind (fun _ -> TargetUnits.from true inUnits options target start)
        | errors -> Error errors

    /// As <c>nearest</c> at the error of a network of least squares, which bonds of noise may raise by that noise.
    let internal atError (options: SweepOptions) (error: float) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        let inUnits units options (target: Tensor) start =
            let noise = Redundancy.noise target
            let bound weighted = TargetUnits.bound weighted (TargetUnits.bound units (ErrorBound.Absolute error))
            WhitenedProblem.from true (fun weighted -> frobenius noise noise (bound weighted)) options target start

        TargetUnits.from true inUnits options target start

    /// As <c>epc</c>; an error wherever the bound is not met, also where cancellation is why.
    let internal within (options: SweepOptions) (bound: ErrorBound) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        nearest options bound target start |> Result.bind Fit.bounded

    /// <summary>The least sensitive network found at a bounded error, from a given network.</summary>
    /// <remarks>From a start that meets the bound, S never rises and the error never exceeds δ(1 + 1e-9), both in the norm of the
    /// options. From one that does not, least squares first
    /// bring the error down. Cancelled: the best so far; before the bound is met, the network of least error, whose <c>MeetsBound</c> is
    /// false; later, one within the bound. Computed in float64, returned in the dtype of the target, whose rounding
    /// the bound leaves room for; the given network is not changed. Ranks that T does not need are cut. Cost per sweep: an ALS sweep
    /// plus, for each core, an eigendecomposition of the size of its bonds: 1.7 to 1.9 times the sweep for CP, 2.5 for Tucker-2
    /// (<c>benchmarks -- factorize</c>).</remarks>
    /// <param name="options">Sweeps, tolerance on the relative change of S, norm, progress, cancellation.</param>
    /// <param name="bound">δ, at least 0 and below ‖K‖. Below what these ranks reach from this start: <c>Unreachable</c>, naming
    /// it.</param>
    /// <param name="target">K, of the shape of the network's output.</param>
    /// <param name="start">The network to start from.</param>
    /// <example><code>Correction.epc sweeps bound target (Als.run sweeps target network |> orStop).Network</code></example>
    let epc (options: SweepOptions) (bound: ErrorBound) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof bound) bound
        Argument.notNull (nameof start) start
        nearest options bound target start |> Result.bind Fit.settled
