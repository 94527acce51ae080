using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

public static partial class Model
{
    /// <summary>Factorizes the layers that a plan has chosen, in place, several side by side. A layer that fails stays dense and is in the
    /// report; cancelled, the model holds what is finished. With a folder, a run that was ended goes on and ends with the same
    /// bits. An optimizer made before needs <see cref="Follow(optim.Optimizer, Module)"/>.</summary>
    /// <param name="model">The model.</param>
    /// <param name="plan">A plan made for this model.</param>
    /// <param name="settings">How layers are made.</param>
    /// <returns>What was factorized, what failed and why; as text a table.</returns>
    /// <exception cref="TensorNetException">The plan is none for this model, or the folder cannot be made; nothing is changed.</exception>
    public static CompressReport Compress(Module model, CompressionPlan plan, CompressSettings? settings = null) =>
        ModelCompression.run((settings ?? new CompressSettings()).Options, plan, model).OrThrow();

    /// <summary>Factorizes the layers of a source that a plan has chosen, several side by side, as layers with the geometry and bias of the
    /// source, which is not changed: <c>Network()</c> gives the kernel of each. A layer that cannot be read or made is in the
    /// report.</summary>
    /// <param name="source">The layers, from <see cref="LayerSources"/>.</param>
    /// <param name="plan">A plan made for this source.</param>
    /// <param name="settings">How layers are made.</param>
    /// <returns>The layers, which the caller disposes, and what failed and why; as text a table.</returns>
    /// <exception cref="TensorNetException">The plan is none for this source, or the folder cannot be made.</exception>
    public static CompressReport Compress(LayerSource source, CompressionPlan plan, CompressSettings? settings = null) =>
        LayerCompression.run((settings ?? new CompressSettings()).Options, plan, source).OrThrow();

    /// <summary>The mean over a model's factorized layers of S / ‖T‖^(2 − 2/N), which depends neither on the scale of kernels nor on the
    /// number of layers: a differentiable scalar, to be added to a loss.</summary>
    /// <param name="model">A model with at least one factorized layer.</param>
    /// <returns>A differentiable scalar.</returns>
    /// <exception cref="TensorNetException">The model has no factorized layer.</exception>
    public static Tensor RelativeSensitivity(Module model) => SensitivityPenalty.relative(model).OrThrow();

    /// <summary>S, its share of the penalty and the norm of the gradient of each factorized layer, for a log.</summary>
    /// <param name="model">A model with at least one factorized layer.</param>
    /// <returns>A reading for each layer.</returns>
    /// <exception cref="TensorNetException">The model has no factorized layer.</exception>
    public static IReadOnlyList<LayerReading> Readings(Module model) => SensitivityPenalty.readings(model).OrThrow();
}
