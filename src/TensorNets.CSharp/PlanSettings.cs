using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

/// <summary>How a plan is made.</summary>
/// <param name="Families">The families for kernels of several positions, from <see cref="CSharp.Families"/>; null: CP, Tucker-2, tensor
/// chain
/// and tensor train.</param>
/// <param name="KeepFirst">Whether the first layer stays dense.</param>
/// <param name="KeepLast">Whether the last layer stays dense.</param>
/// <param name="Keep">Paths of further layers that stay dense.</param>
/// <param name="Covariances">Σ by path, from <see cref="Model.Covariances"/>: errors are then those of the layers' outputs.</param>
/// <param name="Workers">Layers worked on side by side, on one thread of libtorch each; 0: as many as there are processors.</param>
/// <param name="Ratios">How many times fewer parameters than the dense layer the candidates have, each above 1; null: from 1.5 to
/// 13.</param>
/// <param name="Sweeps">Sweeps of least squares for each candidate whose error singular values do not give; 0: the plan's own
/// number.</param>
/// <param name="Latencies">For a budget of latency: milliseconds that a layer takes for all its inputs, dense, then as each of some
/// candidates, NaN for those that cannot be run; null: measured by forward passes of TorchSharp's layers.</param>
/// <param name="TrainMatrixModes">Of how many factors channels are made in TT-matrix candidates of linear layers and kernels of one
/// position; null: there are none.</param>
/// <param name="Evaluate">What the model is worth with one layer changed, such as its loss on a few batches; lower is better. Called with
/// the dense model, then for each candidate of each layer; damage is by how much the value rises. Null: the squared error of the
/// layer.</param>
/// <param name="Bits">Bits that cores are rounded to under a budget of bytes, 2 to 8; null: 8, 6, 5, 4 and 3.</param>
/// <param name="Progress">Told after each layer, from any thread.</param>
public sealed record PlanSettings(
    IReadOnlyList<FormatFamily>? Families = null,
    bool KeepFirst = true,
    bool KeepLast = true,
    IReadOnlyList<string>? Keep = null,
    IReadOnlyDictionary<string, Tensor>? Covariances = null,
    int Workers = 0,
    IReadOnlyList<double>? Ratios = null,
    int Sweeps = 0,
    Func<PlannedLayer, IReadOnlyList<PlanCandidate>, IReadOnlyList<double>>? Latencies = null,
    IReadOnlyList<int>? TrainMatrixModes = null,
    Func<Module<Tensor, Tensor>, double>? Evaluate = null,
    IReadOnlyList<int>? Bits = null,
    IProgress<PlanProgress>? Progress = null)
{
    internal PlanOptions Options
    {
        get
        {
            var d = CompressionPlanModule.defaults;
            return new(
                Families is null ? d.Families : [.. Families],
                Ratios is null ? d.Ratios : [.. Ratios],
                Bits is null ? d.Bits : [.. Bits],
                Sweeps == 0 ? d.Sweeps : Sweeps,
                KeepFirst,
                KeepLast,
                [.. Keep ?? []],
                [.. (Covariances ?? new Dictionary<string, Tensor>()).Select(pair => Tuple.Create(pair.Key, pair.Value))],
                Workers,
                Results.Option(Latencies is null
                    ? null
                    : FuncConvert.FromFunc((PlannedLayer layer, FSharpList<PlanCandidate> candidates) =>
                        ListModule.OfSeq(Latencies(layer, candidates)))),
                [.. TrainMatrixModes ?? []],
                Results.Option(Evaluate is null ? null : FuncConvert.FromFunc(Evaluate)),
                Results.Option(Progress));
        }
    }
}
