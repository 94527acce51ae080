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
