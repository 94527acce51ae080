using static TorchSharp.torch;

namespace TensorNets.CSharp;

/// <summary>How long an iteration runs, and whom it tells.</summary>
/// <param name="MaxSweeps">The most sweeps.</param>
/// <param name="Tolerance">A sweep that changes the error (ALS) or S (correction) by less than this share of it is the last.</param>
/// <param name="Seed">The seed of whatever noise a start needs.</param>
/// <param name="RandomStart">Start from white noise instead of singular value decompositions.</param>
/// <param name="Progress">Told after each sweep.</param>
/// <param name="Cancellation">Cancelled: the best so far is returned.</param>
public sealed record FitOptions(
    int MaxSweeps = 200,
    double Tolerance = 1e-7,
    ulong Seed = 0,
    bool RandomStart = false,
    IProgress<FitProgress>? Progress = null,
    CancellationToken Cancellation = default)
{
    internal SweepOptions Sweeps => new(
        MaxSweeps,
        Tolerance,
        Results.Option(Progress),
        Cancellation);

    internal FactorizeOptions Factorize => new(Sweeps, RandomStart ? Start.Random : Start.Svd, Seed);

    internal static FitOptions Or(FitOptions? options) => options ?? new FitOptions();
}

/// <summary>Networks and their tensors: factorise, balance, correct, contract. Errors arrive as one <see cref="TensorNetException"/> that lists all of them.</summary>
public static class TensorNetwork
{
    /// <summary>A network of a format near a target, as alternating least squares leaves it.</summary>
    public static Fit Factorize(Tensor target, Format format, FitOptions? options = null) =>
        TensorNets.Factorize.run(FitOptions.Or(options).Factorize, format, target).OrThrow();

    /// <summary>The least sensitive network of a format within an error bound of a target; without a bound, at the error that least squares reach.</summary>
    public static Fit FactorizeStable(Tensor target, Format format, ErrorBound? bound = null, FitOptions? options = null) =>
        TensorNets.Factorize.stable(FitOptions.Or(options).Factorize, Results.Option(bound), format, target).OrThrow();

    /// <summary>Alternating least squares from a network.</summary>
    public static Fit LeastSquares(Tensor target, Network start, FitOptions? options = null) =>
        Als.run(FitOptions.Or(options).Sweeps, target, start).OrThrow();

    /// <summary>The network of least sensitivity with the same tensor.</summary>
    public static Network Balance(Network network) => Gauge.balance(network).OrThrow();

    /// <summary>The least sensitive network found within an error bound of a target, from a network (error-preserving correction).</summary>
    public static Fit Correct(Tensor target, Network start, ErrorBound bound, FitOptions? options = null) =>
        Correction.epc(FitOptions.Or(options).Sweeps, bound, target, start).OrThrow();

    /// <summary>The tensor of a network. Differentiable.</summary>
    public static Tensor Reconstruct(Network network) => Contraction.reconstruct(network);

    /// <summary>S, a differentiable scalar: the expected squared change of the tensor per unit of white noise in the cores.</summary>
    public static Tensor Sensitivity(Network network) => TensorNets.Sensitivity.total(network);

    /// <summary>The kernel tensor [in, kernel positions, out] of a dense weight [out, in, height, width].</summary>
    public static Tensor KernelOfWeight(Tensor weight) => Convolution.kernelOfWeight(weight);

    /// <summary>The X of least norm with ‖X A − B‖ ≤ δ.</summary>
    public static Tensor LeastNorm(Tensor a, Tensor b, double bound) => Linalg.leastNorm(bound, a, b).OrThrow();

    /// <summary>The minimum of ½ xᵀdiag(q)x + bᵀx on the unit sphere.</summary>
    public static Tensor SphereQuadratic(Tensor q, Tensor b) => Linalg.sphereQuadratic(q, b).OrThrow();
}
