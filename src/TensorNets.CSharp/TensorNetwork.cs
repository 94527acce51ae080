using static TorchSharp.torch;

namespace TensorNets.CSharp;

/// <summary>How long an iteration runs, and whom it tells.</summary>
/// <param name="MaxSweeps">The most sweeps.</param>
/// <param name="Tolerance">A sweep that changes the error (ALS) or S (correction) by less than this share of it is the last.</param>
/// <param name="Seed">The seed of whatever noise a start needs.</param>
/// <param name="RandomStart">Start from white noise instead of singular value decompositions.</param>
/// <param name="Starts">How many starts; the second and further ones are white noise. The best is kept.</param>
/// <param name="Norm">The norm of the error and of S, from <see cref="Norms"/>; null: Frobenius.</param>
/// <param name="Progress">Told after each sweep.</param>
/// <param name="Cancellation">Cancelled: the best so far is returned; where it does not meet the bound asked for yet, <c>Fit.MeetsBound</c>
/// is false. A layer that would miss its bound is not made: a <c>Cancelled</c> error says so.</param>
/// <param name="Svd">How the singular value decompositions of the start are made, from <see cref="SvdStarts"/>; null: of the whole target,
/// by the smaller Gram.</param>
/// <param name="ExtrapolationDepth">How many sweeps of least squares are combined into the start of the next, against swamps; 0: none, 8 is
/// a good choice.</param>
public sealed record FitOptions(
    int MaxSweeps = 200,
    double Tolerance = 1e-7,
    ulong Seed = 0,
    bool RandomStart = false,
    int Starts = 1,
    Norm? Norm = null,
    IProgress<FitProgress>? Progress = null,
    CancellationToken Cancellation = default,
    SvdOptions? Svd = null,
    int ExtrapolationDepth = 0)
{
    internal SweepOptions Sweeps => new(
        MaxSweeps,
        Tolerance,
        Results.Option(Progress),
        Cancellation,
        Norm ?? Norms.Frobenius,
        ExtrapolationDepth == 0 ? Extrapolation.Off : Extrapolation.NewAnderson(ExtrapolationDepth));

    internal FactorizeOptions Factorize => new(
        Sweeps,
        RandomStart ? Start.Random : Svd is null ? Start.Svd : Start.NewSvdWith(Svd),
        Seed,
        Starts);

    internal static FitOptions Or(FitOptions? options) => options ?? new FitOptions();
}

/// <summary>Networks and their tensors: factorize, balance, correct, contract. Errors arrive as one <see cref="TensorNetException"/> that
/// lists all of them.</summary>
public static class TensorNetwork
{
    /// <summary>The network that a text describes, as in <c>"sr, dr, tr -> sdt | s=64 d=9 t=64 r=48"</c>.</summary>
    public static Spec Parse(string text, IReadOnlyDictionary<string, int>? dimensions = null) =>
        SpecModule
            .parse([.. (dimensions ?? new Dictionary<string, int>()).Select(pair => Tuple.Create(pair.Key, pair.Value))], text)
            .OrThrow();

    /// <summary>The network as text, with dimensions; <see cref="Parse"/> reads it.</summary>
    public static string Print(Spec spec) => SpecModule.print(spec);

    /// <summary>The network as versioned JSON, for saved models.</summary>
    public static string ToJson(Spec spec) => SpecJson.write(spec);

    /// <summary>The network that a JSON text made by <see cref="ToJson"/> describes.</summary>
    public static Spec FromJson(string json) => SpecJson.read(json).OrThrow();

    /// <summary>The network of a format over a tensor of the given shape.</summary>
    public static Spec Of(Format format, params IReadOnlyList<int> shape) => FormatModule.spec([.. shape], format).OrThrow();

    /// <summary>A network of the given tensors, by core; it disposes them.</summary>
    public static Network Create(Spec spec, IReadOnlyDictionary<string, Tensor> cores) =>
        NetworkModule.create(spec, cores.Select(pair => Tuple.Create(pair.Key, pair.Value))).OrThrow();

    /// <summary>A network of white noise from a seed, scaled so that the entries of its tensor have variance 1.</summary>
    public static Network Random(Spec spec, ulong seed = 0, ScalarType dtype = ScalarType.Float32) =>
        NetworkModule.random(dtype, seed, spec);

    /// <summary>The order in which a network is contracted, as a table: each step's FLOPs and entries.</summary>
    public static string Explain(Spec spec) => PlanModule.explain(PlanModule.make(Order.Auto, spec));

    /// <summary>A network of a spec near a target, as alternating least squares leave it.</summary>
    public static Fit Factorize(Tensor target, Spec spec, FitOptions? options = null) =>
        TensorNets.Factorize.runSpec(FitOptions.Or(options).Factorize, spec, target).OrThrow();

    /// <summary>The least sensitive network of a spec within an error bound of a target; without a bound, at the error that least squares
    /// reach.</summary>
    public static Fit FactorizeStable(Tensor target, Spec spec, ErrorBound? bound = null, FitOptions? options = null) =>
        TensorNets.Factorize.stableSpec(FitOptions.Or(options).Factorize, Results.Option(bound), spec, target).OrThrow();

    /// <summary>The least sensitive matrix of at most a given rank within an error bound, exactly.</summary>
    public static Fit LeastSensitiveMatrix(Tensor target, int rank, ErrorBound bound) =>
        TensorNets.LeastSensitiveMatrix.fit(rank, bound, target).OrThrow();

    /// <summary>The same tensor with every bond cut to its numerical rank.</summary>
    public static Network Truncate(Network network) => Gauge.truncate(network);

    /// <summary>A network of a format near a target, as alternating least squares leaves it.</summary>
    public static Fit Factorize(Tensor target, Format format, FitOptions? options = null) =>
        TensorNets.Factorize.run(FitOptions.Or(options).Factorize, format, target).OrThrow();

    /// <summary>The least sensitive network of a format within an error bound of a target; without a bound, at the error that least squares
    /// reach.</summary>
    public static Fit FactorizeStable(Tensor target, Format format, ErrorBound? bound = null, FitOptions? options = null) =>
        TensorNets.Factorize.stable(FitOptions.Or(options).Factorize, Results.Option(bound), format, target).OrThrow();

    /// <summary>Alternating least squares from a network.</summary>
    public static Fit LeastSquares(Tensor target, Network start, FitOptions? options = null) =>
        Als.run(FitOptions.Or(options).Sweeps, target, start).OrThrow();

    /// <summary>The network of least sensitivity with the same tensor.</summary>
    public static Network Balance(Network network) => Gauge.balance(network).OrThrow();

    /// <summary>As <see cref="Balance(Network)"/>, with every bond cut to its numerical rank first: for networks whose bonds are wider than
    /// that.</summary>
    public static Network BalanceTruncated(Network network) => Gauge.balanceTruncated(network).OrThrow();

    /// <summary>The network of least sensitivity in a norm with the same tensor.</summary>
    public static Network Balance(Network network, Norm norm) => Gauge.balanceIn(norm, network).OrThrow();

    /// <summary>The least sensitive network found within an error bound of a target, from a network (error-preserving
    /// correction).</summary>
    public static Fit Correct(Tensor target, Network start, ErrorBound bound, FitOptions? options = null) =>
        Correction.epc(FitOptions.Or(options).Sweeps, bound, target, start).OrThrow();

    /// <summary>The least sensitive network within an error bound, from given networks and, where the options ask for more starts, from
    /// noise.</summary>
    public static Fit CorrectBest(Tensor target, IEnumerable<Network> starts, ErrorBound bound, FitOptions? options = null) =>
        TensorNets.Factorize.stableFrom(FitOptions.Or(options).Factorize, bound, target, [.. starts]).OrThrow();

    /// <summary>The smallest network found in a family (<see cref="Families"/>) whose error meets a bound.</summary>
    public static Fit FactorizeToBound(Tensor target, FormatFamily family, ErrorBound bound, FitOptions? options = null) =>
        TensorNets.Factorize.toBound(FitOptions.Or(options).Factorize, bound, family, target).OrThrow();

    /// <summary>As <see cref="FactorizeToBound"/>, and then the least sensitive network of these ranks within the bound.</summary>
    public static Fit FactorizeStableToBound(Tensor target, FormatFamily family, ErrorBound bound, FitOptions? options = null) =>
        TensorNets.Factorize.stableToBound(FitOptions.Or(options).Factorize, bound, family, target).OrThrow();

    /// <summary>The front: S over bounds on the relative error, from a network.</summary>
    public static ParetoFront TraceFront(Tensor target, Network start, IEnumerable<double> bounds, FitOptions? options = null) =>
        ParetoFrontModule.trace(FitOptions.Or(options).Sweeps, [.. bounds], target, start).OrThrow();

    /// <summary>The network of least error found among those of at most a given S, from a network.</summary>
    public static Fit LeastError(Tensor target, Network start, double sensitivity, FitOptions? options = null) =>
        TensorNets.LeastError.fit(FitOptions.Or(options).Sweeps, sensitivity, target, start).OrThrow();

    /// <summary>The tensor of a network. Differentiable.</summary>
    public static Tensor Reconstruct(Network network) => Contraction.reconstruct(network);

    /// <summary>S, a differentiable scalar: the expected squared change of the tensor per unit of white noise in the cores.</summary>
    public static Tensor Sensitivity(Network network) => TensorNets.Sensitivity.total(network);

    /// <summary>log₁₀ S, however large or small S is. Differentiable.</summary>
    public static Tensor Log10Sensitivity(Network network) => TensorNets.Sensitivity.log10(network);

    /// <summary>The norm of the tensor, without forming it. Differentiable.</summary>
    public static Tensor Norm(Network network) => Contraction.norm(network);

    /// <summary>log₁₀ of the norm of the tensor, however large or small it is. Differentiable.</summary>
    public static Tensor Log10Norm(Network network) => Contraction.log10Norm(network);

    /// <summary>S in a norm: the expected squared change of the tensor, measured in that norm, per unit of white noise in the cores.
    /// Differentiable.</summary>
    public static Tensor Sensitivity(Network network, Norm norm) => TensorNets.Sensitivity.totalIn(norm, network).OrThrow();

    /// <summary>The kernel tensor [in, kernel positions, out] of a dense weight [out, in, height, width].</summary>
    public static Tensor KernelOfWeight(Tensor weight) => ConvGeometryModule.kernelOfWeight(ConvGeometryModule.ofWeight(weight), weight);

    /// <summary>The X of least norm with ‖X A − B‖ ≤ δ.</summary>
    public static Tensor LeastNorm(Tensor a, Tensor b, double bound) => ConstrainedQuadratics.leastNorm(bound, a, b).OrThrow();

    /// <summary>The minimum of ½ xᵀdiag(q)x + bᵀx on the unit sphere.</summary>
    public static Tensor SphereQuadratic(Tensor q, Tensor b) => ConstrainedQuadratics.sphereQuadratic(q, b).OrThrow();
}
