using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

/// <summary>What the whole of a compressed model may cost.</summary>
public static class Budgets
{
    /// <summary>Parameters of the whole model: this many times fewer.</summary>
    public static Budget ParameterRatio(double ratio) => Budget.NewParameterRatio(ratio);

    /// <summary>Parameters of the whole model at most.</summary>
    public static Budget Parameters(long count) => Budget.NewParameters(count);

    /// <summary>FLOPs of linear layers and convolutions: this many times fewer.</summary>
    public static Budget FlopRatio(double ratio) => Budget.NewFlopRatio(ratio);

    /// <summary>FLOPs of linear layers and convolutions at most.</summary>
    public static Budget Flops(long count) => Budget.NewFlops(count);

    /// <summary>The error of each layer for itself, in the measure of the plan, at most.</summary>
    public static Budget LayerError(double error) => Budget.NewLayerError(error);
}

/// <summary>How a plan is made.</summary>
/// <param name="Families">The families for kernels of several positions, from <see cref="CSharp.Families"/>; null: CP, Tucker-2, tensor chain
/// and tensor train.</param>
/// <param name="KeepFirst">Whether the first layer stays dense.</param>
/// <param name="KeepLast">Whether the last layer stays dense.</param>
/// <param name="Keep">Paths of further layers that stay dense.</param>
/// <param name="Covariances">Σ by path, from <see cref="Model.Covariances"/>: errors are then those of the layers' outputs.</param>
/// <param name="Workers">Layers worked on side by side; 0: as many as there are processors.</param>
public sealed record PlanSettings(
    IReadOnlyList<FormatFamily>? Families = null,
    bool KeepFirst = true,
    bool KeepLast = true,
    IReadOnlyList<string>? Keep = null,
    IReadOnlyDictionary<string, Tensor>? Covariances = null,
    int Workers = 0)
{
    internal PlanOptions Options
    {
        get
        {
            var d = CompressionPlanModule.defaults;
            return new(
                Families is null ? d.Families : [.. Families],
                d.Ratios,
                d.Sweeps,
                KeepFirst,
                KeepLast,
                [.. Keep ?? []],
                [.. (Covariances ?? new Dictionary<string, Tensor>()).Select(pair => Tuple.Create(pair.Key, pair.Value))],
                Workers);
        }
    }
}

public static partial class Model
{
    /// <summary>What every layer of a model costs for an input of a shape, by a forward pass, and whether it can be factorized; of factorized
    /// layers format, ranks, kernel error and S.</summary>
    public static ModelReport Report(Module<Tensor, Tensor> model, params IReadOnlyList<long> inputShape) =>
        ModelReportModule.make(inputShape, model).OrThrow();

    /// <summary>A plan for a model under a budget (<see cref="Budgets"/>): the formats and ranks of least predicted damage for every linear
    /// layer and convolution.</summary>
    public static CompressionPlan Plan(
        Module<Tensor, Tensor> model, IReadOnlyList<long> inputShape, Budget budget, PlanSettings? settings = null) =>
        CompressionPlanModule.make(budget, (settings ?? new PlanSettings()).Options, inputShape, model).OrThrow();

    /// <summary>The same candidates with the choice made anew under another budget.</summary>
    public static CompressionPlan Plan(CompressionPlan plan, Budget budget) => CompressionPlanModule.under(budget, plan).OrThrow();

    /// <summary>The plan with a layer kept dense.</summary>
    public static CompressionPlan KeepDense(CompressionPlan plan, string path) => CompressionPlanModule.keepDense(path, plan).OrThrow();

    /// <summary>The plan with a format of one's own for a layer.</summary>
    public static CompressionPlan Choose(CompressionPlan plan, string path, Format format, KernelAxes? axes = null) =>
        CompressionPlanModule.choose(path, axes ?? KernelAxes.Fused, format, plan).OrThrow();

    /// <summary>What is chosen otherwise in another plan, a line for each layer.</summary>
    public static IReadOnlyList<string> Diff(CompressionPlan before, CompressionPlan after) => [.. CompressionPlanModule.diff(before, after)];

    /// <summary>The plan as versioned JSON.</summary>
    public static string PlanToJson(CompressionPlan plan) => CompressionPlanModule.toJson(plan);

    /// <summary>The plan in a JSON text that <see cref="PlanToJson"/> has written.</summary>
    public static CompressionPlan PlanFromJson(string json) => CompressionPlanModule.ofJson(json).OrThrow();

    /// <summary>Σ of every linear layer and convolution without groups that batches reach, by path, from one pass; layers of more channels than
    /// allowed are left out.</summary>
    public static IReadOnlyDictionary<string, Tensor> Covariances(
        Module<Tensor, Tensor> model, IEnumerable<Tensor> batches, long mostChannels = 4096) =>
        Calibration.covariances(mostChannels, batches, model).OrThrow().ToDictionary(pair => pair.Item1, pair => pair.Item2);

    /// <summary>Re-estimates running mean and variance of every batch norm from batches, as they are after layers have been replaced.</summary>
    /// <returns>How many batch norms there are.</returns>
    public static int ReestimateBatchNorms(Module<Tensor, Tensor> model, IEnumerable<Tensor> batches) =>
        Calibration.batchNorm(batches, model).OrThrow();
}
