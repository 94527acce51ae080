namespace TensorNets

open System
open System.Collections.Generic
open System.Threading
open TorchSharp

/// <summary>How far a network may be from its target, in the norm of the options.</summary>
[<RequireQualifiedAccess>]
type ErrorBound =
    /// ‖K − T‖ ≤ δ, 0 ≤ δ < ‖K‖, in the units of the target.
    | Absolute of delta: float
    /// ‖K − T‖ ≤ ε ‖K‖, 0 ≤ ε < 1.
    | Relative of epsilon: float

[<RequireQualifiedAccess>]
module internal ErrorBound =
    /// δ for a target of the given norm; a bound that is no number, negative, or not below the norm is an error.
    let resolve (bound: ErrorBound) (norm: float) : Result<float, TensorNetError list> =
        let checkedBound (value: float) largest unit =
            if Double.IsNaN value || value < 0.0 || value >= largest then
                Error [ TensorNetError.ErrorBound($"{value:G6}", $"0 ≤ bound < {largest:G6} ({unit})") ]
            else
                Ok value

        match bound with
        | ErrorBound.Absolute delta -> checkedBound delta norm "the norm of the target: at that bound nothing would be left"
        | ErrorBound.Relative epsilon ->
            checkedBound epsilon 1.0 "relative to the norm of the target: at 1 nothing would be left"
            |> Result.map (fun epsilon -> epsilon * norm)

/// <summary>Why an iteration ended.</summary>
[<RequireQualifiedAccess>]
type Stop =
    /// The last sweep changed less than the tolerance.
    | Converged
    /// The sweeps that were allowed are used up.
    | MaxSweeps
    /// The caller cancelled; the result is the best of the sweeps that were run.
    | Cancelled
    /// A sweep produced NaN, or lost the error or the sensitivity to rounding; the result is the last good iterate.
    | Rounding

/// <summary>What an iteration reports after a sweep.</summary>
[<Struct>]
type FitProgress =
    {
        /// The number of this sweep, from 1.
        Sweep: int
        /// The most sweeps that are allowed.
        MaxSweeps: int
        /// ‖K − T‖ / ‖K‖ in the norm asked for.
        RelativeError: float
        /// S, or NaN where the iteration does not compute it.
        Sensitivity: float
        /// An estimate of the sweeps that remain, 0 to MaxSweeps − Sweep: how many the decrease of a sweep needs, at the geometric rate of
        /// the last sweeps, to fall to the tolerance; all that are allowed where it does not fall yet. Too low where an iteration slows
        /// down on the way.
        SweepsLeft: int
    }

/// <summary>Whether alternating least squares extrapolate. In a swamp, where factors are nearly collinear or diverge, sweeps move along
/// nearly the same direction by little for hundreds or thousands of times.</summary>
[<RequireQualifiedAccess>]
type Extrapolation =
    /// Plain sweeps.
    | Off
    /// Each sweep starts from the combination of the last `depth` sweeps whose combined step is least; depth 2 or more, 8 is a good
    /// choice.
    | Anderson of depth: int

/// <summary>How long an iteration runs and whom it tells.</summary>
type SweepOptions =
    {
        /// The most sweeps of an iteration, steps of all cores together among them, and so the most that it reports. Least squares are one
        /// iteration; a correction is one from a start that meets its bound, and from any other the way to the bound is another one before
        /// it. Methods that are made of several, of several starts or networks to try, have as many for each. A result in float32 or 16
        /// bits that rounding has taken out of its bound is corrected again up to five times, in up to 8 sweeps.
        MaxSweeps: int
        /// A sweep that changes the error (ALS) or S (EPC) by less than this share of it is the last.
        Tolerance: float
        /// Who hears of each sweep; by default nobody.
        Progress: IProgress<FitProgress> option
        /// Cancelled, an iteration ends after the sweep that it is in, with the best network that it has.
        Cancellation: CancellationToken
        /// The norm of the error and of S; by default Frobenius. Bounds and what is reported are in this norm.
        Norm: Norm
        /// <summary>For alternating least squares; by default off. See <c>Als.run</c> for when to use it. The correction extrapolates in
        /// any case.</summary>
        Extrapolation: Extrapolation
    }

/// <summary>The options that iterations begin with.</summary>
[<RequireQualifiedAccess>]
module SweepOptions =
    /// <summary>At most 200 sweeps, until a sweep changes less than 1e-7 of the value, in the Frobenius norm; nobody listens.</summary>
    /// <example><code>{ SweepOptions.defaults with Tolerance = 1e-9 }</code></example>
    let defaults =
        {
            MaxSweeps = 200
            Tolerance = 1e-7
            Progress = None
            Cancellation = CancellationToken.None
            Norm = Norm.Frobenius
            Extrapolation = Extrapolation.Off
        }

    /// What is wrong with them.
    let internal check (options: SweepOptions) =
        match options.Extrapolation with
        | Extrapolation.Anderson depth when depth < 2 ->
            [ TensorNetError.Unsupported("The depth of extrapolation", string depth, "2 or more") ]
        | _ -> []

    /// Why an iteration ends after n sweeps, whatever it has reached.
    let internal ending (options: SweepOptions) (n: int) : Stop option =
        if options.Cancellation.IsCancellationRequested then Some Stop.Cancelled
        elif n >= options.MaxSweeps then Some Stop.MaxSweeps
        else None

    /// Those of a part of an iteration after the sweeps that have been before it: at most so many of the sweeps that are left, which are
    /// counted on in reports.
    let internal part (before: int) (most: int) (options: SweepOptions) : SweepOptions =
        let counting (progress: IProgress<FitProgress>) =
            { new IProgress<FitProgress> with
                member _.Report own =
                    let sweep = before + own.Sweep

                    progress.Report { own with Sweep = sweep; MaxSweeps = options.MaxSweeps; SweepsLeft = options.MaxSweeps - sweep }
            }

        { options with
            MaxSweeps = max 0 (min most (options.MaxSweeps - before))
            Progress = options.Progress |> Option.map counting
        }

    let internal report (options: SweepOptions) sweep relativeError sensitivity =
        match options.Progress with
        | None -> ()
        | Some progress ->
            progress.Report
                {
                    Sweep = sweep
                    MaxSweeps = options.MaxSweeps
                    RelativeError = relativeError
                    Sensitivity = sensitivity
                    SweepsLeft = options.MaxSweeps - sweep
                }

/// How an iteration went.
type internal FitHistory =
    {
        Sweeps: int
        Stop: Stop
        Trace: float list
        /// The bound that it had not met yet where it was broken off.
        Missed: float option
        /// The spec of the network that was asked for, where one was.
        Asked: Spec option
    }

[<RequireQualifiedAccess>]
module internal FitHistory =
    let make sweeps stop trace = { Sweeps = sweeps; Stop = stop; Trace = trace; Missed = None; Asked = None }
    /// Of what took no iteration.
    let direct = make 0 Stop.Converged []

/// <summary>A bond of a fit that is narrower than was asked for: the target has no more, or what more it has is rounding, or S does not
/// need it at the bound.</summary>
[<Struct>]
type BondCut =
    {
        /// The name of the axis.
        Bond: string
        /// Its dimension in the network or format asked for.
        Asked: int
        /// Its dimension in the network found.
        Found: int
    }

/// <summary>A network found for a target, with what it reached. Disposing it disposes the network.</summary>
[<Sealed>]
type Fit internal (network: Network, error: float, targetNorm: float, sensitivity: float, course: FitHistory) =
    /// The network, in the dtype of the target.
    member _.Network = network
    /// ‖K − T‖ in the norm asked for and the units of the target, from the explicit difference in float64.
    member _.Error = error
    /// ‖K − T‖ / ‖K‖ in the norm asked for.
    member _.RelativeError = error / targetNorm
    /// S = Σ_k m_k ‖E_k‖² in the norm asked for.
    member _.Sensitivity = sensitivity
    /// The sweeps of the last iteration that led here, steps of all cores together among them: at most MaxSweeps.
    member _.Sweeps = course.Sweeps
    /// Why the iteration ended.
    member _.Stop = course.Stop
    /// What the iteration lowers, at the start and after each sweep: S, or the relative error (ALS, and a correction that has not met its
    /// bound).
    member _.Trace: IReadOnlyList<float> = course.Trace
    /// False where an iteration was broken off, by cancellation or NaN, before any network met the bound asked for; this one is the
    /// nearest to it of all that were found. True everywhere else, also where no bound was asked for.
    member _.MeetsBound = course.Missed.IsNone

    /// The bonds that were cut, in the order of their names: those of the network found that are narrower than in the one asked for. Empty
    /// where ranks were looked for (<c>Factorize.toBound</c>).
    member _.Cuts: IReadOnlyList<BondCut> =
        match course.Asked with
        | None -> []
        | Some asked ->
            [
                for axis, width in Map.toList asked.Dims do
                    match Map.tryFind axis network.Spec.Dims with
                    | Some found when found < width -> { Bond = Axis.name axis; Asked = width; Found = found }
                    | _ -> ()
            ]

    member internal _.Course = course
    /// ‖K‖ in the norm asked for.
    member internal _.TargetNorm = targetNorm
    /// The same network, with another account of how it was found.
    member internal _.After course = new Fit(network, error, targetNorm, sensitivity, course)

    override _.ToString() =
        let missed =
            course.Missed
            |> Option.map (fun bound -> $" before the bound {bound:G6} was met")
            |> Option.defaultValue ""

        let found = $"relative error {error / targetNorm:G6}, sensitivity {sensitivity:G6}"
        $"{network.Spec}: {found}, {course.Sweeps} sweeps, {course.Stop}{missed}"

    interface IDisposable with
        member _.Dispose() = (network :> IDisposable).Dispose()

[<RequireQualifiedAccess>]
module internal Fit =
    /// ‖K − T‖ from the explicit difference.
    let explicitError (plan: Plan) (target: Tensor) lookup =
        use _ = torch.NewDisposeScope()
        let tensor = Contraction.runMany [ plan ] target.dtype target.device lookup |> List.head
        target.minus(tensor).norm().number()

    /// The cores by name, for the array that an iteration works on.
    let lookup (spec: Spec) (cores: Tensor[]) : string -> Tensor =
        let index = spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict
        fun name -> cores[index[Spec.original name]]

    /// Replaces a core of the array; the old tensor is disposed. The new one leaves the scope.
    let replace (scope: DisposeScope) (cores: Tensor[]) i (tensor: Tensor) =
        let old = cores[i]
        cores[i] <- scope.Detach tensor
        old.Dispose()

    /// The fit for cores in float64 whose error has been measured; the network gets the dtype asked for, and the cores are copied.
    let make (dtype: torch.ScalarType) (spec: Spec) (cores: Tensor[]) (target: Tensor) (course: FitHistory) : Fit =
        use scope = torch.NewDisposeScope()
        let tensors = [| for core in cores -> core.``to`` (dtype, copy = true) |> scope.MoveToOuter |]
        let network = new Network(spec, tensors)
        // What is handed over is what is measured: rounding to float32 is part of the error.
        let lookup = lookup spec [| for tensor in tensors -> tensor.``to`` torch.float64 |]
        let plan = Plan.make Order.Auto spec
        let error = explicitError plan target lookup
        let s = Sensitivity.numberOf (Sensitivity.plan spec) torch.float64 target.device lookup
        new Fit(network, error, target.norm().number(), s, course)

    /// The fit, its cores moved to the scope around the current one.
    let toOuterScope (fit: Fit) : Fit =
        fit.Network.Cores |> Seq.iter (fun core -> core.MoveToOuterDisposeScope() |> ignore)
        fit

    /// The fit in a dtype, with a network of its own.
    let copyAs (dtype: torch.ScalarType) (target: Tensor) (fit: Fit) : Fit =
        make dtype fit.Network.Spec (Seq.toArray fit.Network.Cores) target fit.Course

    /// The same fit, with a network of its own.
    let copy (fit: Fit) : Fit =
        new Fit(Network.copyAs fit.Network.DType fit.Network, fit.Error, fit.TargetNorm, fit.Sensitivity, fit.Course)

    let dispose (fit: Fit) = (fit :> IDisposable).Dispose()

    /// The fit, which tells what it is narrower in than a spec that was asked for.
    let askedFor (spec: Spec) (fit: Fit) : Fit = fit.After { fit.Course with Asked = Some spec }

    let private unreachable (fit: Fit) bound error : Result<Fit, TensorNetError list> =
        dispose fit
        Error [ error (bound, fit.Error) ]

    /// The fit, unless it missed its bound though nothing broke it off: then the error that names both.
    let settled (fit: Fit) : Result<Fit, TensorNetError list> =
        match fit.Course.Missed with
        // An error that is no number: NaN appeared in the target, and the cores are the last good ones.
        | Some bound when fit.Stop <> Stop.Cancelled && Double.IsFinite fit.Error -> unreachable fit bound TensorNetError.Unreachable
        | _ -> Ok fit

    /// Only what meets its bound, for callers that can do nothing with less.
    let bounded (fit: Fit) : Result<Fit, TensorNetError list> =
        match fit.Course.Missed with
        | Some bound when fit.Stop = Stop.Cancelled -> unreachable fit bound TensorNetError.Cancelled
        | Some bound -> unreachable fit bound TensorNetError.Unreachable
        | None -> Ok fit
