using Microsoft.FSharp.Core;
using static TorchSharp.torch;

namespace TensorNets.CSharp;

/// <summary>How a model is compressed by a plan.</summary>
/// <param name="Sweeps">The most sweeps of least squares a layer.</param>
/// <param name="Tolerance">A sweep that lowers the error by less than this share of it is the last.</param>
/// <param name="Corrections">The most sweeps of correction for networks with a loop or a hyperedge; trees are balanced.</param>
/// <param name="Slack">The correction may raise the error of least squares to this many times it.</param>
/// <param name="Covariances">Σ by path, from <see cref="Model.Covariances"/>: the error is then that of the layers' outputs.</param>
/// <param name="Workers">Layers worked on side by side, on one thread of libtorch each; 0: as many as there are processors.</param>
/// <param name="Folder">A folder for finished layers, from which a run that was ended goes on.</param>
/// <param name="TimeLimit">The time for the whole run: correction then goes on layer by layer where it lowers S most a second, and the
/// result depends on the clock.</param>
/// <param name="Progress">Told after each layer.</param>
/// <param name="Quantize">Bits and scales of the cores; null: numbers of the dtype of the weight. Errors are measured in the layer's
/// norm.</param>
/// <param name="ReleaseLayers">Whether a layer of a source is disposed as soon as it stands in the folder, so that a run holds no more than
/// one for each worker.</param>
/// <param name="Cancellation">Cancelled: layers under way and to come stay dense.</param>
public sealed record CompressSettings(
    int Sweeps = 30,
    double Tolerance = 1e-4,
    int Corrections = 15,
    double Slack = 1.02,
    IReadOnlyDictionary<string, Tensor>? Covariances = null,
    int Workers = 0,
    string? Folder = null,
    TimeSpan? TimeLimit = null,
    IProgress<CompressProgress>? Progress = null,
    QuantizeSettings? Quantize = null,
    bool ReleaseLayers = false,
    CancellationToken Cancellation = default)
{
    internal CompressOptions Options => new(
        Sweeps,
        Tolerance,
        Corrections,
        Slack,
        [.. (Covariances ?? new Dictionary<string, Tensor>()).Select(pair => Tuple.Create(pair.Key, pair.Value))],
        Workers,
        Results.Option(Quantize?.Options),
        Results.Option(Folder),
        ReleaseLayers,
        TimeLimit is { } limit ? FSharpOption<TimeSpan>.Some(limit) : FSharpOption<TimeSpan>.None,
        Results.Option(Progress),
        Cancellation);
}
