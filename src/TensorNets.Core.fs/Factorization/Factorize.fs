namespace TensorNets

open TorchSharp

/// <summary>The front door: target → format → fit.</summary>
[<RequireQualifiedAccess>]
module Factorize =
    /// <summary>At most 200 sweeps from singular value decompositions, one start, seed 0.</summary>
    /// <example><code>{ Factorize.defaults with Starts = 3 }</code></example>
    let defaults = { Sweeps = SweepOptions.defaults; Start = Start.Svd; Seed = 0UL; Starts = 1 }

    let private listening (options: FactorizeOptions) = { options with Sweeps = SweepsLeft.listening options.Sweeps }

    /// What is wrong with the options; else the result.
    let private withChecks (options: FactorizeOptions) (run: FactorizeOptions -> Result<Fit, TensorNetError list>) =
        // What a listener throws leaves nothing behind.
        use _ = torch.NewDisposeScope()

        match
            MultiStart.check options.Starts
            @ Initializer.check options.Start
            @ SweepOptions.check options.Sweeps
        with
        | [] -> run (listening options) |> Result.map Fit.toOuterScope
        | errors -> Error errors

    /// The network of start i: the first one as the options say, the others noise.
    let private networkOf (options: FactorizeOptions) (spec: Spec) (target: Tensor) (i: int) : Result<Network, TensorNetError list> =
        let make = Initializer.network options.Start i (MultiStart.seed options.Seed i)

        match options.Start with
        | Start.Svd
        | Start.SvdWith _ when i = 0 -> WhitenedProblem.start options.Sweeps.Norm make spec target
        | _ -> make spec target

    let private leastSquares (options: FactorizeOptions) (spec: Spec) (target: Tensor) (i: int) : Result<Fit, TensorNetError list> =
        networkOf options spec target i
        |> Result.bind (fun start ->
            use start = start
            Als.run options.Sweeps target start)

    /// <summary>A network of a given spec near a target: a start, then alternating least squares; of several starts the one of least
    /// error.</summary>
    /// <remarks>The parametrisation is as ALS leaves it: balance it (<c>Gauge.balance</c>) or correct it (<c>Correction.epc</c>), or call
    /// <c>stableSpec</c>, which does both. Computed in float64, returned in the dtype of the target. More starts never raise the error.
    /// Errors: those of a target; fewer than one start.</remarks>
    /// <example><code>Factorize.runSpec options spec target |> orStop</code></example>
    let runSpec (options: FactorizeOptions) (spec: Spec) (target: Tensor) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof spec) spec
        withChecks options (fun options -> MultiStart.best options.Sweeps _.Error options.Starts (leastSquares options spec target))

    /// Correction of a fit, which meets the bound where there is one. Where it is cancelled before it meets the bound again, the fit
    /// itself; it is disposed else.
    let private correctFit (options: FactorizeOptions) (bound: ErrorBound option) (target: Tensor) (fit: Fit) =
        let corrected =
            match bound with
            | Some bound -> Correction.nearest options.Sweeps bound target fit.Network
            | None -> Correction.atError options.Sweeps fit.Error target fit.Network

        match corrected with
        | Ok cut when cut.Stop = Stop.Cancelled && not cut.MeetsBound ->
            Fit.dispose cut
            Ok(fit.After { fit.History with Stop = Stop.Cancelled })
        | result ->
            Fit.dispose fit
            Result.bind Fit.settled result

    /// A start from noise, corrected from where it first meets the bound: further least squares would only lead on towards degenerate
    /// networks.
    let private correctNoise (options: FactorizeOptions) (bound: ErrorBound) (spec: Spec) (target: Tensor) (i: int) =
        SvdStart.noise (MultiStart.seed options.Seed i) spec target
        |> Result.bind (fun start ->
            use start = start
            Correction.nearest options.Sweeps bound target start)

    /// <summary>The least sensitive network of a given spec: <c>runSpec</c>, then <c>Correction.epc</c> within an error bound.</summary>
    /// <remarks>Of several starts that meet the bound, the one of least S after correction; more starts never raise S. Without a bound the
    /// error is that of the best start, and S is that of this start alone.</remarks>
    /// <param name="options">The iterations.</param>
    /// <param name="bound">None: the error that <c>runSpec</c> reaches, so that S falls at no cost in error. Bonds that least squares leave
    /// rank deficient are cut to their rank, so that the fit may be smaller than asked.</param>
    /// <param name="spec">The network.</param>
    /// <param name="target">K, of the shape of the spec's output.</param>
    /// <example><code>Factorize.stableSpec options (Some bound) spec target |> orStop</code></example>
    let stableSpec (options: FactorizeOptions) (bound: ErrorBound option) (spec: Spec) (target: Tensor) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof spec) spec

        withChecks options (fun options ->
            match bound with
            | None ->
                runSpec options spec target
                |> Result.bind (fun fit ->
                    // Cancelled before anything of the target was found: no bound to correct within.
                    if fit.RelativeError >= 1.0 then Ok fit else correctFit options None target fit)
            | Some bound ->
                MultiStart.leastSensitive options.Sweeps options.Starts (fun i ->
                    if i > 0 then
                        correctNoise options bound spec target i
                    else
                        leastSquares options spec target i
                        |> Result.bind (fun fit ->
                            use fit = fit
                            Correction.nearest options.Sweeps bound target fit.Network)))

    /// <summary>The least sensitive network within an error bound, from given networks and from noise: of all that meet the bound, the one
    /// of least S after correction.</summary>
    /// <remarks>The given networks come first, as they are; where <c>options.Starts</c> is larger than their number, the rest is white
    /// noise over the spec of the first. The given networks are not changed. S is at most that of <c>Correction.epc</c> from any of them.
    /// Errors: none given; fewer than one start; those of <c>Correction.epc</c>, where no start has a result.</remarks>
    /// <param name="options">The iterations, the seed and the number of starts.</param>
    /// <param name="bound">δ, at least 0 and below ‖K‖.</param>
    /// <param name="target">K, of the shape of the networks' output.</param>
    /// <param name="starts">The networks to start from; at least one.</param>
    /// <example><code>Factorize.stableFrom Factorize.defaults bound target [ network ] |> orStop</code></example>
    let stableFrom
        (options: FactorizeOptions)
        (bound: ErrorBound)
        (target: Tensor)
        (starts: Network list)
        : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof bound) bound
        Argument.notNull (nameof starts) starts

        match starts with
        | [] -> Error [ TensorNetError.Unsupported("The number of given networks", "0", "1 or more") ]
        | first :: _ ->
            withChecks options (fun options ->
                let count = max starts.Length options.Starts

                MultiStart.leastSensitive options.Sweeps count (fun i ->
                    if i < starts.Length then
                        Correction.nearest options.Sweeps bound target starts[i]
                    else
                        correctNoise options bound first.Spec target i))

    /// The spec of a format over a target, and the target in the shape of the spec's output: a TT-matrix splits the modes of its matrix.
    let private prepared (format: Format) (target: Tensor) : Result<Spec * Tensor, TensorNetError list> =
        match Check.readable "The target" target with
        | [] ->
            Format.spec (target.shape |> Array.map int |> List.ofArray) format
            |> Result.mapError (List.map TensorNetError.Format)
            |> Result.map (fun spec -> spec, target.reshape (List.toArray (Spec.shape spec)))
        | errors -> Error errors

    /// The norm over the modes of the spec's output: those of a TT-matrix are factors of the matrix's.
    let private splitNorm (format: Format) (options: FactorizeOptions) : FactorizeOptions =
        match format, options.Sweeps.Norm with
        | Format.TensorTrainMatrix(rows, columns, _), Norm.Weighted(modes, covariance) ->
            let factors mode =
                match mode with
                | 0 -> [ 0 .. rows.Length - 1 ]
                | 1 -> [ rows.Length .. rows.Length + columns.Length - 1 ]
                | other -> [ other + rows.Length + columns.Length ]

            { options with
                Sweeps = { options.Sweeps with Norm = Norm.Weighted(List.collect factors modes, covariance) }
            }
        | _ -> options

    /// <summary>A network of the given format near a target, as alternating least squares leave it (<c>runSpec</c>).</summary>
    /// <remarks>Errors: those of a format and of a target; fewer than one start.</remarks>
    /// <example><code>Factorize.run options (Format.TensorTrain [ 2; 3 ]) target |> orStop</code></example>
    let run (options: FactorizeOptions) (format: Format) (target: Tensor) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof format) format
        use _ = torch.NewDisposeScope()

        prepared format target
        |> Result.bind (fun (spec, k) -> runSpec (splitNorm format options) spec k |> Result.map Fit.toOuterScope)

    /// <summary>The least sensitive network of the given format: <c>run</c>, then <c>Correction.epc</c> within an error bound
    /// (<c>stableSpec</c>).</summary>
    /// <remarks>Errors: those of <c>run</c>; a bound outside its range; <c>Unreachable</c>.</remarks>
    /// <example><code>Factorize.stable options None (Format.TensorTrain [ 2; 3 ]) target |> orStop</code></example>
    let stable (options: FactorizeOptions) (bound: ErrorBound option) (format: Format) (target: Tensor) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof format) format
        use _ = torch.NewDisposeScope()

        prepared format target
        |> Result.bind (fun (spec, k) -> stableSpec (splitNorm format options) bound spec k |> Result.map Fit.toOuterScope)

    /// <summary>As <c>toBound</c> on the whitened target, with room in the bound for the rounding of the result.</summary>
    let private weightedToBound (options: FactorizeOptions) (bound: ErrorBound) (family: FormatFamily) (target: Tensor) =
        let onWhitened room (units: TargetUnits) (sweeps: SweepOptions) (k: Tensor) =
            let norm = Check.norm k

            ErrorBound.resolve bound (units.ErrorOut norm)
            |> Result.bind (fun delta ->
                let delta = units.ErrorIn delta
                let inner = ErrorBound.Absolute(delta - room (delta / norm) * norm)
                RankSelection.run { options with Sweeps = sweeps } inner family k)

        FormatFamily.spec (target.shape |> Array.map int |> List.ofArray) family
        |> Result.mapError (List.map TensorNetError.Format)
        |> Result.bind (fun spec ->
            RoundingRoom.anew target.dtype bound (fun room -> WhitenedProblem.over (onWhitened room) options.Sweeps spec target))

    /// <summary>The smallest network found in a family whose error meets a bound: <c>‖K − T‖ ≤ δ(1 + 1e-9)</c>, or an error.</summary>
    /// <remarks><para>Tucker, Tucker-2, tensor train, hierarchical Tucker: ranks by truncation. The squared error of the truncation
    /// (<c>SvdStart.start</c>) is at most the sum over bonds of the squared singular values left out there. Directions are dropped one by
    /// one, the one that saves most parameters for its squared error first, or by an equal share of δ² for each bond, whichever leaves
    /// fewer parameters; then the budget is widened as far as the explicit error allows, and single ranks are lowered. Smallest means: no
    /// single rank can be lowered by one (the others cut to what is then admissible) so that the same truncation still meets the
    /// bound.</para>
    /// <para>Tensor chain: by sequential truncations (TR-SVD), over the ways to share out the first rank; then single ranks are lowered as
    /// long as ten sweeps of least squares meet the bound. CP: the rank is doubled until least squares from one of <c>options.Starts</c>
    /// starts meet the bound, then bisected; the next lower rank that was tried did not, which does not prove that it cannot. At the
    /// largest rank the target itself is a CP network.</para>
    /// <para>Least squares follow, which may only lower the error. Computed in float64, returned in the dtype of the target, whose rounding
    /// is counted in. Errors: those of a target, a family that does not fit its shape, a bound; fewer than one start; <c>Unreachable</c>
    /// where δ is below rounding. Sources: De Lathauwer et al. 2000, Oseledets 2011, Grasedyck 2010, Zhao et al. 2016.</para></remarks>
    /// <param name="options">The iteration; for CP also the starts and their seed, while trees and chains start from truncations anyhow.
    /// Cancelled: the smallest network found before that meets the bound; one that the target itself is for CP, where none was
    /// found.</param>
    /// <param name="bound">δ, at least 0 and below ‖K‖.</param>
    /// <param name="family">The format without its ranks.</param>
    /// <param name="target">K.</param>
    /// <example><code>Factorize.toBound options bound FormatFamily.TensorTrain target |> orStop</code></example>
    let toBound (options: FactorizeOptions) (bound: ErrorBound) (family: FormatFamily) (target: Tensor) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof bound) bound
        Argument.notNull (nameof family) family

        withChecks options (fun options ->
            match Check.readable "The target" target, options.Sweeps.Norm with
            | [], Norm.Frobenius -> RankSelection.run options bound family target
            | [], _ -> weightedToBound options bound family target
            | errors, _ -> Error errors)

    /// <summary>As <c>toBound</c>, and then the least sensitive network of these ranks within the bound (<c>Correction.epc</c>).</summary>
    /// <remarks>S is what this size has at this error: a network with a rank to spare can be far less sensitive. Errors: those of
    /// <c>toBound</c>.</remarks>
    /// <example><code>Factorize.stableToBound options bound FormatFamily.Tucker target |> orStop</code></example>
    let stableToBound
        (options: FactorizeOptions)
        (bound: ErrorBound)
        (family: FormatFamily)
        (target: Tensor)
        : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof bound) bound
        Argument.notNull (nameof family) family
        use _ = torch.NewDisposeScope()

        toBound options bound family target
        |> Result.bind (correctFit (listening options) (Some bound) target)
        |> Result.map Fit.toOuterScope
