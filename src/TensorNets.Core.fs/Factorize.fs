namespace TensorNets

open System
open System.Threading
open TorchSharp

/// <summary>Where alternating least squares starts.</summary>
[<RequireQualifiedAccess>]
type Start =
    /// Singular value decompositions of the target (<c>Svd.start</c>).
    | Svd
    /// White noise from the seed.
    | Random

/// <summary>How a tensor is factorised.</summary>
type FactorizeOptions =
    {
        /// The iteration; by default 200 sweeps at most, until a sweep changes the error by less than 1e-7 of it.
        Sweeps: SweepOptions
        /// Where it starts; by default singular value decompositions.
        Start: Start
        /// The seed of whatever noise the start needs.
        Seed: uint64
    }

/// <summary>The front door: target → format → fit.</summary>
[<RequireQualifiedAccess>]
module Factorize =
    let defaults = { Sweeps = SweepOptions.defaults; Start = Start.Svd; Seed = 0UL }

    /// <summary>A network of a given spec near a target: a start, then alternating least squares.</summary>
    /// <remarks>The parametrisation is as ALS leaves it: balance it (<c>Gauge.balance</c>) or correct it (<c>Correction.epc</c>), or call
    /// <c>stableSpec</c>, which does both. Computed in float64, returned in the dtype of the target.</remarks>
    let runSpec (options: FactorizeOptions) (spec: Spec) (target: Tensor) : Result<Fit, TensorNetError list> =
        let start =
            match options.Start with
            | Start.Svd -> Svd.start options.Seed spec target
            | Start.Random -> Svd.noise options.Seed spec target

        start
        |> Result.bind (fun start ->
            use start = start
            Als.run options.Sweeps target start)

    /// <summary>The least sensitive network of a given spec: <c>runSpec</c>, then <c>Correction.epc</c> within an error bound.</summary>
    /// <param name="options">The iterations.</param>
    /// <param name="bound">None: the error that <c>runSpec</c> reaches, so that S falls at no cost in error. Bonds that least squares leave rank deficient
    /// are cut to their rank, so that the fit may be smaller than asked.</param>
    /// <param name="spec">The network.</param>
    /// <param name="target">K, of the shape of the spec's output.</param>
    let stableSpec (options: FactorizeOptions) (bound: ErrorBound option) (spec: Spec) (target: Tensor) : Result<Fit, TensorNetError list> =
        runSpec options spec target
        |> Result.bind (fun fit ->
            use fit = fit
            use exact = Gauge.truncate fit.Network
            Correction.epc options.Sweeps (defaultArg bound (ErrorBound.Absolute fit.Error)) target exact)

    /// The spec of a format over a target, and the target in the shape of the spec's output: a TT-matrix splits the modes of its matrix.
    let private prepared (format: Format) (target: Tensor) : Result<Spec * Tensor, TensorNetError list> =
        Format.spec (target.shape |> Array.map int |> List.ofArray) format
        |> Result.mapError (List.map TensorNetError.Format)
        |> Result.map (fun spec -> spec, target.reshape (List.toArray (Spec.shape spec)))

    /// <summary>A network of the given format near a target, as alternating least squares leave it (<c>runSpec</c>).</summary>
    let run (options: FactorizeOptions) (format: Format) (target: Tensor) : Result<Fit, TensorNetError list> =
        use _ = torch.NewDisposeScope()

        prepared format target
        |> Result.bind (fun (spec, k) -> runSpec options spec k |> Result.map Fit.toOuterScope)

    /// <summary>The least sensitive network of the given format: <c>run</c>, then <c>Correction.epc</c> within an error bound (<c>stableSpec</c>).</summary>
    let stable (options: FactorizeOptions) (bound: ErrorBound option) (format: Format) (target: Tensor) : Result<Fit, TensorNetError list> =
        use _ = torch.NewDisposeScope()

        prepared format target
        |> Result.bind (fun (spec, k) -> stableSpec options bound spec k |> Result.map Fit.toOuterScope)
