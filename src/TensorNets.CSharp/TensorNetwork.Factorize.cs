using static TorchSharp.torch;

namespace TensorNets.CSharp;

public static partial class TensorNetwork
{
    /// <summary>A network of a format near a target, as alternating least squares leave it.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="format">The format, from <see cref="Formats"/>.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero, or a format or options that do not fit it.</exception>
    public static Fit Factorize(Tensor target, Format format, FitOptions? options = null) =>
        TensorNets.Factorize.run(FitOptions.Or(options).Factorize, format, target).OrThrow();

    /// <summary>A network of a spec near a target, as alternating least squares leave it.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="spec">The network, whose output has the target's shape.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero, or a spec or options that do not fit it.</exception>
    public static Fit Factorize(Tensor target, Spec spec, FitOptions? options = null) =>
        TensorNets.Factorize.runSpec(FitOptions.Or(options).Factorize, spec, target).OrThrow();

    /// <summary>The least sensitive network of a format within an error bound of a target.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="format">The format.</param>
    /// <param name="bound">How far it may be from the target; null: the error that least squares reach.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero, a format or options that do not fit it, or a bound that is
    /// not reached.</exception>
    public static Fit FactorizeStable(Tensor target, Format format, ErrorBound? bound = null, FitOptions? options = null) =>
        TensorNets.Factorize.stable(FitOptions.Or(options).Factorize, Results.Option(bound), format, target).OrThrow();

    /// <summary>The same over a spec of one's own.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="spec">The network, whose output has the target's shape.</param>
    /// <param name="bound">How far it may be from the target; null: the error that least squares reach.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero, a spec or options that do not fit it, or a bound that is
    /// not reached.</exception>
    public static Fit FactorizeStable(Tensor target, Spec spec, ErrorBound? bound = null, FitOptions? options = null) =>
        TensorNets.Factorize.stableSpec(FitOptions.Or(options).Factorize, Results.Option(bound), spec, target).OrThrow();

    /// <summary>The smallest network found in a family whose error meets a bound.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="family">The family, from <see cref="Families"/>.</param>
    /// <param name="bound">How far it may be from the target.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero, a family that does not fit it, or a bound that is not
    /// reached.</exception>
    public static Fit FactorizeToBound(Tensor target, FormatFamily family, ErrorBound bound, FitOptions? options = null) =>
        TensorNets.Factorize.toBound(FitOptions.Or(options).Factorize, bound, family, target).OrThrow();

    /// <summary>As <see cref="FactorizeToBound"/>, and then the least sensitive network of these ranks within the bound.</summary>
    /// <inheritdoc cref="FactorizeToBound" path="/param|/exception"/>
    public static Fit FactorizeStableToBound(Tensor target, FormatFamily family, ErrorBound bound, FitOptions? options = null) =>
        TensorNets.Factorize.stableToBound(FitOptions.Or(options).Factorize, bound, family, target).OrThrow();

    /// <summary>The least sensitive matrix of at most a given rank within an error bound, exactly.</summary>
    /// <param name="target">A matrix.</param>
    /// <param name="rank">The most columns of the first factor.</param>
    /// <param name="bound">How far it may be from the target.</param>
    /// <exception cref="TensorNetException">No matrix, numbers that are not finite, or a bound that the rank does not reach.</exception>
    public static Fit LeastSensitiveMatrix(Tensor target, int rank, ErrorBound bound) =>
        TensorNets.LeastSensitiveMatrix.fit(rank, bound, target).OrThrow();

    /// <summary>Alternating least squares from a network.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="start">Where they start; it is not changed.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero or of another shape.</exception>
    public static Fit LeastSquares(Tensor target, Network start, FitOptions? options = null) =>
        Als.run(FitOptions.Or(options).Sweeps, target, start).OrThrow();

    /// <summary>The least sensitive network found within an error bound of a target, from a network (error-preserving
    /// correction).</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="start">Where it starts; it is not changed.</param>
    /// <param name="bound">How far it may be from the target.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero or of another shape, or a bound that is not
    /// reached.</exception>
    public static Fit Correct(Tensor target, Network start, ErrorBound bound, FitOptions? options = null) =>
        Correction.epc(FitOptions.Or(options).Sweeps, bound, target, start).OrThrow();

    /// <summary>The least sensitive network within an error bound, from given networks and, where the options ask for more starts, from
    /// noise.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="starts">Networks of one structure; they are not changed.</param>
    /// <param name="bound">How far it may be from the target.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero or of another shape, or a bound that none
    /// reaches.</exception>
    public static Fit CorrectBest(Tensor target, IEnumerable<Network> starts, ErrorBound bound, FitOptions? options = null) =>
        TensorNets.Factorize.stableFrom(FitOptions.Or(options).Factorize, bound, target, [.. starts]).OrThrow();

    /// <summary>The front: S over bounds on the relative error, from a network.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="start">Where it starts; it is not changed.</param>
    /// <param name="bounds">Bounds on ‖K − T‖ / ‖K‖.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero or of another shape, or bounds that cannot be.</exception>
    public static ParetoFront TraceFront(Tensor target, Network start, IEnumerable<double> bounds, FitOptions? options = null) =>
        ParetoFrontModule.trace(FitOptions.Or(options).Sweeps, [.. bounds], target, start).OrThrow();

    /// <summary>The network of least error found among those of at most a given S, from a network.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="start">Where it starts; it is not changed.</param>
    /// <param name="sensitivity">The most that S may be.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">A target that is not finite or zero or of another shape, or an S that cannot be.</exception>
    public static Fit LeastError(Tensor target, Network start, double sensitivity, FitOptions? options = null) =>
        TensorNets.LeastError.fit(FitOptions.Or(options).Sweeps, sensitivity, target, start).OrThrow();
}
