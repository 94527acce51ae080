using Microsoft.FSharp.Core;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

/// <summary>Layers of a model by path: find, factorize, replace, exchange. On any error the model is as it was.</summary>
public static partial class Model
{
    /// <summary>The factorized layer for a dense one (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Linear): its kernel as the
    /// least sensitive network found, its bias copied. Without a bound, at the error that least squares reach.</summary>
    public static FactorizedLayer Factorize(
        Module dense, Format format, ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        Layers.factorize(FitOptions.Or(options).Factorize, axes ?? KernelAxes.Fused, Results.Option(bound), format, dense).OrThrow();

    /// <summary>The same for a Conv2d.</summary>
    public static FactorizedConv2d Factorize(
        Conv2d dense, Format format, ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        (FactorizedConv2d)Factorize((Module)dense, format, bound, options, axes);

    /// <summary>The same over a network of one's own in place of a format; with groups, the network of one group.</summary>
    public static FactorizedLayer Factorize(Module dense, Spec spec, ErrorBound? bound = null, FitOptions? options = null) =>
        Layers.factorizeSpec(FitOptions.Or(options).Factorize, Results.Option(bound), spec, dense).OrThrow();

    /// <summary>The least sensitive matrix layer of at most a rank within a bound, exactly: for a Linear, or a convolution of one kernel
    /// position.</summary>
    public static FactorizedLayer FactorizeMatrix(Module dense, int rank, ErrorBound bound) => Layers.matrix(rank, bound, dense).OrThrow();

    /// <summary>The layer with the geometry and a copy of the bias of a dense one, and the kernel of a network over (in, kernel positions,
    /// out).</summary>
    public static FactorizedLayer Layer(Module dense, Network kernel, Lowering? lowering = null) =>
        Layers.ofDense(Results.Option(lowering), dense, kernel).OrThrow();

    /// <summary>The same for a Conv2d.</summary>
    public static FactorizedConv2d Layer(Conv2d convolution, Network kernel, Lowering? lowering = null) =>
        Layers.conv2dOf(Results.Option(lowering), convolution, kernel).OrThrow();

    /// <summary>The layer of a geometry (<see cref="Geometries"/>) with a given kernel network and a copy of a bias, or none. The network
    /// is copied; its dtype and device are the layer's.</summary>
    public static FactorizedLayer Layer(ConvGeometry geometry, Network kernel, Tensor? bias = null, Lowering? lowering = null) =>
        Layers.ofNetwork(Results.Option(lowering), geometry, Results.Option(bias), kernel).OrThrow();

    /// <summary>A fresh layer of a geometry, its kernel a random network of a format that keeps variance times <paramref name="gain"/>
    /// squared.</summary>
    public static FactorizedLayer Fresh(
        ConvGeometry geometry, Format format, ulong seed = 0, double gain = 1.0, bool bias = true,
        ScalarType dtype = ScalarType.Float32, KernelAxes? axes = null, Lowering? lowering = null) =>
        Fresh(geometry, Layers.spec(axes ?? KernelAxes.Fused, geometry, format).OrThrow(), seed, gain, bias, dtype, lowering);

    /// <summary>The same over a network of one's own; with groups it is over (groups, in, kernel positions, out).</summary>
    public static FactorizedLayer Fresh(
        ConvGeometry geometry, Spec spec, ulong seed = 0, double gain = 1.0, bool bias = true,
        ScalarType dtype = ScalarType.Float32, Lowering? lowering = null) =>
        Layers.random(new FreshOptions(Results.Option(lowering), seed, gain, dtype, bias), geometry, spec).OrThrow();

    /// <summary>A fresh layer like a dense one, its kernel a random network of a format that keeps variance.</summary>
    public static FactorizedLayer Fresh(
        Module like, Format format, ulong seed = 0, double gain = 1.0, KernelAxes? axes = null, Lowering? lowering = null) =>
        Layers.fresh(Results.Option(lowering), axes ?? KernelAxes.Fused, seed, gain, format, like).OrThrow();

    /// <summary>Replaces the linear layer or convolution at a path by its factorized layer, on which its forward hooks run from then on. An
    /// optimizer made before does not know the new parameters, its next step throws a KeyNotFoundException or leaves them out:
    /// <see cref="Follow(optim.Optimizer, Module)"/> gives them to it. Another thread may be in a forward pass meanwhile: the dense layer
    /// is left to the garbage collector.</summary>
    /// <returns>The new layer, which belongs to the model.</returns>
    public static FactorizedLayer Compress(
        Module model, string path, Format format, ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        TensorNets.Compress
            .layerWith(FitOptions.Or(options).Factorize, axes ?? KernelAxes.Fused, Results.Option(bound), format, path, model)
            .OrThrow();

    /// <summary>Replaces every linear layer and convolution that a predicate on path and module names; the report lists what was skipped
    /// and why. An optimizer made before needs <see cref="Follow(optim.Optimizer, Module)"/>.</summary>
    public static ReplaceReport ReplaceAll(
        Module model, Func<string, Module, bool> predicate, Format format,
        ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        ReplaceAll(model, (path, module) => predicate(path, module) ? format : null, bound, options, axes);

    /// <summary>The same with a format for each layer, or null to leave it.</summary>
    public static ReplaceReport ReplaceAll(
        Module model, Func<string, Module, Format?> choose,
        ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        TensorNets.ReplaceAll.run(
            FitOptions.Or(options).Factorize,
            axes ?? KernelAxes.Fused,
            Results.Option(bound),
            FuncConvert.FromFunc<string, Module, FSharpOption<Format>?>((path, module) => Results.Option(choose(path, module))),
            model);

    /// <summary>After <see cref="Compress"/> or ReplaceAll: puts the cores and biases of a model's factorized layers into the groups of an
    /// optimizer in the place of the dense parameters, with a fresh state. Groups and schedules of the learning rate stay as they
    /// are.</summary>
    /// <returns>How many parameters have entered.</returns>
    /// <exception cref="TensorNetException">The optimizer's parameters are fixed (LBFGS).</exception>
    public static int Follow(optim.Optimizer optimizer, Module model) => Optimizers.follow(model, optimizer).OrThrow();

    /// <summary>The same for any replaced module, which must not be disposed (<see cref="Exchange"/>): parameters take the place of those
    /// of their name, all others that of the first.</summary>
    /// <returns>How many parameters have entered.</returns>
    /// <exception cref="TensorNetException">The optimizer's parameters are fixed (LBFGS), or a module is disposed.</exception>
    public static int Follow(optim.Optimizer optimizer, Module old, Module replacement) =>
        Optimizers.exchange(old, replacement, optimizer).OrThrow();

    /// <summary>A layer of its own with the same network, numbers, bias, lowering, norm and mode of training. Hooks stay behind.</summary>
    public static FactorizedLayer Copy(FactorizedLayer layer) => Layers.copy(layer);

    /// <summary>Writes a factorized layer to a file (safetensors) that <see cref="Load"/> reads with no knowledge of the original. The file
    /// holds its old content or the new one whole, whatever happens meanwhile.</summary>
    public static void Save(FactorizedLayer layer, string path) => LayerFile.save(path, layer).OrThrow();

    /// <summary>The factorized layer in a file.</summary>
    public static FactorizedLayer Load(string path) => LayerFile.load(path).OrThrow();

    /// <summary>Copies a state into the parameters and buffers of a module, whole or not at all: the exception lists every missing, extra
    /// and misshapen key. TorchSharp's own load_state_dict of a model stops at the first and does not ask the factorized layers in
    /// it.</summary>
    public static void LoadState(Module model, IReadOnlyDictionary<string, Tensor> state) => StateDict.load(state, model).OrThrow();

    /// <summary>The same from a file that TorchSharp's save has written.</summary>
    public static void LoadState(Module model, string path) => StateDict.loadFile(path, model).OrThrow();

    /// <summary>Writes the parameters and buffers of a module as TorchSharp's save does, but the file holds its old content or the new one
    /// whole, whatever happens meanwhile.</summary>
    public static void SaveState(Module model, string path) => StateDict.saveFile(path, model).OrThrow();

    /// <summary>Σ, the mean of x xᵀ over the inputs of the layer at a path while batches run through the model in evaluation mode; for
    /// <see cref="Norms.Weighted(Tensor, int)"/>.</summary>
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

    /// <summary>Replaces the submodule at a path; the old one is disposed, with its hooks. While another thread may be running the model,
    /// or an optimizer holds the old parameters, <see cref="Exchange"/> is the one to take.</summary>
    public static void Replace(Module model, string path, Module<Tensor, Tensor> replacement) =>
        Surgery.replace(path, replacement, model).OrThrow();

    /// <summary>Replaces the submodule at a path and returns the old one, unharmed: exchanging again restores the model.</summary>
    public static Module<Tensor, Tensor> Exchange(Module model, string path, Module<Tensor, Tensor> replacement) =>
        Surgery.exchange(path, replacement, model).OrThrow();

    /// <summary>The sum of the sensitivities of a model's factorized layers: a differentiable scalar, to be added to a loss.</summary>
    public static Tensor Sensitivity(Module model) => TensorNets.Compress.sensitivity(model).OrThrow();
}
