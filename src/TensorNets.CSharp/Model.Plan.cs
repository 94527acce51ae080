using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

public static partial class Model
{
    /// <summary>What every layer of a model costs for an input of a shape, by a forward pass, and whether it can be factorized; of
    /// factorized
    /// layers format, ranks, kernel error and S.</summary>
    /// <param name="model">The model, which is not changed.</param>
    /// <param name="inputShape">The shape of an input, images first.</param>
    /// <returns>The costs, layer by layer; as text a table.</returns>
    /// <exception cref="TensorNetException">The model does not take such an input, or is disposed.</exception>
    public static ModelReport Report(Module<Tensor, Tensor> model, params IReadOnlyList<long> inputShape) =>
        ModelReportModule.make(inputShape, model).OrThrow();

    /// <summary>A plan for a model under a budget (<see cref="Budgets"/>): the formats and ranks of least predicted damage for every linear
    /// layer and convolution.</summary>
    /// <param name="model">The model, which is not changed.</param>
    /// <param name="inputShape">The shape of an input, images first, for which FLOPs are counted.</param>
    /// <param name="budget">What the whole model may cost.</param>
    /// <param name="settings">The candidates; null: the defaults.</param>
    /// <returns>The plan; as text a table.</returns>
    /// <exception cref="TensorNetException">The model does not take such an input, or the smallest candidates exceed the
    /// budget.</exception>
    public static CompressionPlan Plan(
        Module<Tensor, Tensor> model, IReadOnlyList<long> inputShape, Budget budget, PlanSettings? settings = null) =>
        CompressionPlanModule.make(budget, (settings ?? new PlanSettings()).Options, inputShape, model).OrThrow();

    /// <summary>A plan for the layers of any source under a budget.</summary>
    /// <param name="source">The layers, from <see cref="LayerSources"/>; they are not changed.</param>
    /// <param name="budget">What all layers and other parameters together may cost.</param>
    /// <param name="settings">The candidates; null: the defaults.</param>
    /// <returns>The plan; as text a table.</returns>
    /// <exception cref="TensorNetException">Layers that cannot be, or a budget that the smallest candidates exceed.</exception>
    public static CompressionPlan Plan(LayerSource source, Budget budget, PlanSettings? settings = null) =>
        CompressionPlanModule.ofSource(budget, (settings ?? new PlanSettings()).Options, source).OrThrow();

    /// <summary>The same candidates with the choice made anew under another budget.</summary>
    /// <param name="plan">The plan, which is not changed.</param>
    /// <param name="budget">What the whole model may cost.</param>
    /// <returns>Another plan.</returns>
    /// <exception cref="TensorNetException">The smallest candidates exceed the budget.</exception>
    public static CompressionPlan Plan(CompressionPlan plan, Budget budget) => CompressionPlanModule.under(budget, plan).OrThrow();

    /// <summary>The plan with a layer kept dense.</summary>
    /// <param name="plan">The plan, which is not changed.</param>
    /// <param name="path">The path of the layer.</param>
    /// <returns>Another plan.</returns>
    /// <exception cref="TensorNetException">The plan has no layer at that path.</exception>
    public static CompressionPlan KeepDense(CompressionPlan plan, string path) => CompressionPlanModule.keepDense(path, plan).OrThrow();

    /// <summary>The plan with a format of one's own for a layer.</summary>
    /// <param name="plan">The plan, which is not changed.</param>
    /// <param name="path">The path of the layer.</param>
    /// <param name="format">The format, from <see cref="Formats"/>.</param>
    /// <param name="axes">How the format sees the kernel of a convolution; null: <c>Fused</c>.</param>
    /// <returns>Another plan.</returns>
    /// <exception cref="TensorNetException">The plan has no layer at that path, or the format does not fit it.</exception>
    public static CompressionPlan Choose(CompressionPlan plan, string path, Format format, KernelAxes? axes = null) =>
        CompressionPlanModule.choose(path, axes ?? KernelAxes.Fused, format, plan).OrThrow();

    /// <summary>The plan with the choice for a layer, or its dense kernel, at so many bits with a scale for each slice.</summary>
    /// <param name="plan">The plan, which is not changed.</param>
    /// <param name="path">The path of the layer.</param>
    /// <param name="bits">2 to 8; 0: not rounded, the dense kernel as a layer that is kept dense.</param>
    /// <returns>Another plan.</returns>
    /// <exception cref="TensorNetException">The plan has no layer at that path, or other bits.</exception>
    public static CompressionPlan ChooseBits(CompressionPlan plan, string path, int bits) =>
        CompressionPlanModule.chooseBits(path, bits, plan).OrThrow();

    /// <summary>The plan of one of several workers, counted from 1: the layers of all others stay dense. The layers of longest predicted
    /// time are dealt first, each to the worker who has least to do.</summary>
    /// <param name="plan">The plan, which is not changed.</param>
    /// <param name="index">From 1 to the count.</param>
    /// <param name="count">How many workers there are.</param>
    /// <returns>Another plan.</returns>
    /// <exception cref="ArgumentException">There is no such worker.</exception>
    public static CompressionPlan Part(CompressionPlan plan, int index, int count) => Shard.part(index, count, plan);

    /// <summary>What is chosen otherwise in another plan, a line for each layer.</summary>
    /// <param name="before">A plan.</param>
    /// <param name="after">Another one.</param>
    /// <returns>The differences; none where both choose the same.</returns>
    public static IReadOnlyList<string> Diff(CompressionPlan before, CompressionPlan after) =>
        [.. CompressionPlanModule.diff(before, after)];

    /// <summary>The plan as versioned JSON.</summary>
    /// <param name="plan">The plan.</param>
    /// <returns>The text, which <see cref="PlanFromJson"/> reads.</returns>
    public static string PlanToJson(CompressionPlan plan) => CompressionPlanModule.toJson(plan);

    /// <summary>The plan in a JSON text that <see cref="PlanToJson"/> has written.</summary>
    /// <param name="json">The text.</param>
    /// <returns>The plan.</returns>
    /// <exception cref="TensorNetException">Lists everything that is wrong with the text.</exception>
    public static CompressionPlan PlanFromJson(string json) => CompressionPlanModule.ofJson(json).OrThrow();

    /// <summary>Σ of every linear layer and convolution without groups that batches reach, by path, from one pass; layers of more channels
    /// than
    /// allowed are left out.</summary>
    /// <param name="model">The model, which is not changed.</param>
    /// <param name="batches">Inputs of the model; they are not disposed.</param>
    /// <param name="mostChannels">The most channels of a layer; Σ takes 8 bytes times their square.</param>
    /// <returns>Σ by path, in float64.</returns>
    /// <exception cref="TensorNetException">The model does not take a batch, or an input is NaN or infinite.</exception>
    public static IReadOnlyDictionary<string, Tensor> Covariances(
        Module<Tensor, Tensor> model, IEnumerable<Tensor> batches, long mostChannels = 4096) =>
        Calibration.covariances(mostChannels, batches, model).OrThrow().ToDictionary(pair => pair.Item1, pair => pair.Item2);

    /// <summary>Re-estimates running mean and variance of every batch norm from batches, as they are after layers have been
    /// replaced.</summary>
    /// <param name="model">The model.</param>
    /// <param name="batches">Inputs of the model; they are not disposed.</param>
    /// <returns>How many batch norms there are.</returns>
    /// <exception cref="TensorNetException">No batch reached a batch norm, the model does not take one, or an input is NaN or infinite;
    /// nothing is changed.</exception>
    public static int ReestimateBatchNorms(Module<Tensor, Tensor> model, IEnumerable<Tensor> batches) =>
        Calibration.batchNorm(batches, model).OrThrow();
}
