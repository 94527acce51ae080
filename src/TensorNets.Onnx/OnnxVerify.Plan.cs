using static TorchSharp.torch;

namespace TensorNets.Onnx;

public static partial class OnnxVerify
{
    /// <summary>How long the model takes, and how long it would take with a plan's chains in the place of layers, before anything is
    /// compressed: the cores are noise of the size of each weight, on whose values the time does not depend.</summary>
    /// <param name="model">The model that is planned.</param>
    /// <param name="plan">A plan for its source.</param>
    /// <param name="inputs">Inputs by name, such as <see cref="OnnxInputs.Noise"/>.</param>
    /// <param name="threads">Threads of ONNX Runtime.</param>
    /// <param name="pairs">Runs of both, one after the other, whose median is told; 1 or more.</param>
    /// <returns>Milliseconds of both and their ratio.</returns>
    /// <exception cref="TensorNetException"><c>PathNotFound</c> for a layer that the model has not; <c>Unsupported</c> for a format that
    /// has no chain, or where ONNX Runtime refuses the inputs.</exception>
    /// <example><code>var times = OnnxVerify.PlanTimes(model, plan, OnnxInputs.Noise(model));</code></example>
    public static OnnxTimes PlanTimes(
        OnnxModel model, CompressionPlan plan, IReadOnlyDictionary<string, Tensor> inputs, int threads = 1, int pairs = 21)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(inputs);
        if (pairs < 1) throw Errors.Unsupported("The pairs", $"{pairs}", "1 or more");
        model.Check(plan);
        using var scope = NewDisposeScope();
        var chained = model.Replace([.. plan.Layers.Where(planned => planned.IsFactorized).Select(model.Noise)]);
        using var first = new OnnxSession(model.Proto, model.Path, threads: threads);
        using var second = new OnnxSession(chained.Proto, model.Path, threads: threads);
        return Times(first, second, inputs, pairs);
    }
}
