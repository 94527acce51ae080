namespace TensorNets

open System
open System.Threading

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
        /// bits that rounding has taken out of its bound is corrected again up to five times, in up to 8 sweeps. By default 200.
        MaxSweeps: int
        /// A sweep that changes the error (ALS) or S (EPC) by less than this share of it is the last. By default 1e-7.
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
        [
            if options.MaxSweeps < 0 then
                TensorNetError.Unsupported("The number of sweeps", string options.MaxSweeps, "0 or more")
            if Double.IsNaN options.Tolerance then
                TensorNetError.Unsupported("The tolerance", "NaN", "a number")
            match options.Extrapolation with
            | Extrapolation.Anderson depth when depth < 2 ->
                TensorNetError.Unsupported("The depth of extrapolation", string depth, "2 or more")
            | _ -> ()
        ]

    /// Why an iteration ends after n sweeps, whatever it has reached.
    let internal ending (options: SweepOptions) (n: int) : Stop option =
        if options.Cancellation.IsCancellationRequested then Some Stop.Cancelled
        elif n >= options.MaxSweeps then Some Stop.MaxSweeps
        else None

    /// Those of a part of an iteration after the sweeps that have been before it: at most `most` of the sweeps that are left, which are
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
