using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

/// <summary>Layers of a model by path: find, factorize, replace, exchange. On any error the model is as it was.</summary>
/// <namespacedoc><summary>The same for C#: static classes with optional arguments, options as records, one type of
/// exception.</summary></namespacedoc>
public static partial class Model
{
    /// <summary>The submodule at a path.</summary>
    /// <param name="model">The model.</param>
    /// <param name="path">Names of submodules with dots between them, as in <c>layer1.1.conv2</c>.</param>
    /// <exception cref="TensorNetException">The path leads nowhere; the closest names are listed.</exception>
    public static Module Find(Module model, string path) => Surgery.find(path, model).OrThrow();

    /// <summary>The submodule of a given type at a path.</summary>
    /// <param name="model">The model.</param>
    /// <param name="path">Names of submodules with dots between them.</param>
    /// <typeparam name="T">The type that is expected.</typeparam>
    /// <exception cref="TensorNetException">The path leads nowhere, or to a module of another type.</exception>
    public static T Find<T>(Module model, string path)
        where T : Module =>
        Find(model, path) is var found && found is T typed
            ? typed
            : throw new TensorNetException([TensorNetError.NewModuleType(path, found.GetType().Name, typeof(T).Name)]);

    /// <summary>Replaces the submodule at a path; the old one is disposed, with its hooks. While another thread may be running the model,
    /// or an optimizer holds the old parameters, <see cref="Exchange"/> is the one to take.</summary>
    /// <param name="model">The model.</param>
    /// <param name="path">The path of the submodule.</param>
    /// <param name="replacement">The module that belongs to the model from then on.</param>
    /// <exception cref="TensorNetException">The path leads nowhere, or a field cannot hold the replacement.</exception>
    public static void Replace(Module model, string path, Module<Tensor, Tensor> replacement) =>
        Surgery.replace(path, replacement, model).OrThrow();

    /// <summary>Replaces the submodule at a path and returns the old one, unharmed: exchanging again restores the model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="path">The path of the submodule.</param>
    /// <param name="replacement">The module that belongs to the model from then on.</param>
    /// <returns>The old module, which the caller disposes.</returns>
    /// <exception cref="TensorNetException">The path leads nowhere, or a field cannot hold the replacement.</exception>
    public static Module<Tensor, Tensor> Exchange(Module model, string path, Module<Tensor, Tensor> replacement) =>
        Surgery.exchange(path, replacement, model).OrThrow();

    /// <summary>Σ, the mean of x xᵀ over the inputs of the layer at a path while batches run through the model in evaluation mode; for
    /// <see cref="Norms.Weighted(Tensor, int)"/>.</summary>
    /// <param name="model">The model, which is as it was afterwards.</param>
    /// <param name="path">The path of a linear layer or convolution.</param>
    /// <param name="batches">Inputs of the model; they are not disposed.</param>
    /// <returns>Channels × channels, in float64.</returns>
    /// <exception cref="TensorNetException">The path leads to no such layer, no batch reaches it, or an input is NaN or
    /// infinite.</exception>
    public static Tensor Covariance(Module<Tensor, Tensor> model, string path, IEnumerable<Tensor> batches) =>
        Calibration.covariance(path, batches, model).OrThrow();
}
