using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

/// <summary>Layers of a model by path: find, factorise, replace, exchange. On any error the model is as it was.</summary>
public static class Model
{
    /// <summary>The factorised layer for a dense one: its kernel as the least sensitive network found, its bias copied. Without a bound, at the error that least squares reach.</summary>
    public static FactorizedConv2d Factorize(Conv2d convolution, Format format, ErrorBound? bound = null, FitOptions? options = null) =>
        Layers.conv2d(FitOptions.Or(options).Factorize, Results.Option(bound), format, convolution).OrThrow();

    /// <summary>The layer with the geometry and a copy of the bias of a dense one, and the kernel of a network over (in, kernel positions, out).</summary>
    public static FactorizedConv2d Layer(Conv2d convolution, Network kernel, Lowering? lowering = null) =>
        Layers.conv2dOf(Results.Option(lowering), convolution, kernel).OrThrow();

    /// <summary>Replaces the Conv2d at a path by its factorised layer; the dense one is disposed.</summary>
    /// <returns>The new layer, which belongs to the model.</returns>
    public static FactorizedConv2d Compress(Module model, string path, Format format, ErrorBound? bound = null, FitOptions? options = null) =>
        TensorNets.Compress.layer(FitOptions.Or(options).Factorize, Results.Option(bound), format, path, model).OrThrow();

    /// <summary>Σ, the mean of x xᵀ over the inputs of the layer at a path while batches run through the model in evaluation mode; for <see cref="Norms.Weighted(Tensor, int)"/>.</summary>
    public static Tensor Covariance(Module<Tensor, Tensor> model, string path, IEnumerable<Tensor> batches) =>
        Calibration.covariance(path, batches, model).OrThrow();

    /// <summary>The submodule at a path.</summary>
    public static Module Find(Module model, string path) => Surgery.find(path, model).OrThrow();

    /// <summary>The submodule of a given type at a path.</summary>
    public static T Find<T>(Module model, string path)
        where T : Module =>
        Find(model, path) is var found && found is T typed
            ? typed
            : throw new TensorNetException([TensorNetError.NewModuleType(path, found.GetType().Name, typeof(T).Name)]);

    /// <summary>Replaces the submodule at a path; the old one is disposed.</summary>
    public static void Replace(Module model, string path, Module<Tensor, Tensor> replacement) =>
        Surgery.replace(path, replacement, model).OrThrow();

    /// <summary>Replaces the submodule at a path and returns the old one, unharmed: exchanging again restores the model.</summary>
    public static Module<Tensor, Tensor> Exchange(Module model, string path, Module<Tensor, Tensor> replacement) =>
        Surgery.exchange(path, replacement, model).OrThrow();

    /// <summary>The sum of the sensitivities of a model's factorised layers: a differentiable scalar, to be added to a loss.</summary>
    public static Tensor Sensitivity(Module model) => TensorNets.Compress.sensitivity(model).OrThrow();
}
