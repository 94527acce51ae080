using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

public static partial class Model
{
    /// <summary>The factorized layer for a dense one (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Linear, Embedding): its
    /// kernel as the least sensitive network found, its bias copied.</summary>
    /// <param name="dense">The dense layer; it is not changed.</param>
    /// <param name="format">The format of the kernel, from <see cref="Formats"/>.</param>
    /// <param name="bound">How far the kernel may be from the dense one; null: the error that least squares reach.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <param name="axes">How the format sees the kernel of a convolution; null: <c>Fused</c>.</param>
    /// <exception cref="TensorNetException">Another module, an option that no factorized layer has, a format that does not fit, or a bound
    /// that is not reached.</exception>
    public static FactorizedLayer Factorize(
        Module dense, Format format, ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        Layers.factorize(FitOptions.Or(options).Factorize, axes ?? KernelAxes.Fused, Results.Option(bound), format, dense).OrThrow();

    /// <inheritdoc cref="Factorize(Module, Format, ErrorBound, FitOptions, KernelAxes)"/>
    public static FactorizedConv2d Factorize(
        Conv2d dense, Format format, ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        (FactorizedConv2d)Factorize((Module)dense, format, bound, options, axes);

    /// <inheritdoc cref="Factorize(Module, Format, ErrorBound, FitOptions, KernelAxes)"/>
    public static FactorizedEmbedding Factorize(Embedding dense, Format format, ErrorBound? bound = null, FitOptions? options = null) =>
        (FactorizedEmbedding)Factorize((Module)dense, format, bound, options);

    /// <summary>The same over a network of one's own in place of a format.</summary>
    /// <param name="dense">The dense layer; it is not changed.</param>
    /// <param name="spec">The kernel network, with groups that of one group.</param>
    /// <param name="bound">How far the kernel may be from the dense one; null: the error that least squares reach.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <exception cref="TensorNetException">Another module, an option that no factorized layer has, a spec that does not fit, or a bound
    /// that is not reached.</exception>
    public static FactorizedLayer Factorize(Module dense, Spec spec, ErrorBound? bound = null, FitOptions? options = null) =>
        Layers.factorizeSpec(FitOptions.Or(options).Factorize, Results.Option(bound), spec, dense).OrThrow();

    /// <summary>The least sensitive matrix layer of at most a rank within a bound, exactly.</summary>
    /// <param name="dense">A linear layer, an embedding, or a convolution of one kernel position.</param>
    /// <param name="rank">The most columns of the first factor.</param>
    /// <param name="bound">How far the matrix may be from the dense one.</param>
    /// <exception cref="TensorNetException">A kernel of several positions, or a bound that the rank does not reach.</exception>
    public static FactorizedLayer FactorizeMatrix(Module dense, int rank, ErrorBound bound) => Layers.matrix(rank, bound, dense).OrThrow();

    /// <summary>The layer with the geometry and a copy of the bias of a dense one, and a given kernel network.</summary>
    /// <param name="dense">The dense layer; it is not changed.</param>
    /// <param name="kernel">The network over (in, kernel positions, out); copied.</param>
    /// <param name="lowering">How to apply it; null: the cheapest way.</param>
    /// <exception cref="TensorNetException">A network whose shape is not that of the kernel.</exception>
    public static FactorizedLayer Layer(Module dense, Network kernel, Lowering? lowering = null) =>
        Layers.ofDense(Results.Option(lowering), dense, kernel).OrThrow();

    /// <inheritdoc cref="Layer(Module, Network, Lowering)"/>
    public static FactorizedConv2d Layer(Conv2d dense, Network kernel, Lowering? lowering = null) =>
        Layers.conv2dOf(Results.Option(lowering), dense, kernel).OrThrow();

    /// <inheritdoc cref="Layer(Module, Network, Lowering)"/>
    public static FactorizedEmbedding Layer(Embedding dense, Network kernel, Lowering? lowering = null) =>
        (FactorizedEmbedding)Layer((Module)dense, kernel, lowering);

    /// <summary>The layer of a geometry with a given kernel network.</summary>
    /// <param name="geometry">Everything but the numbers, from <see cref="Geometries"/>.</param>
    /// <param name="kernel">The network, copied; its dtype and device are the layer's.</param>
    /// <param name="bias">Copied; null: none.</param>
    /// <param name="lowering">How to apply it; null: the cheapest way.</param>
    /// <exception cref="TensorNetException">A geometry that cannot be, or a network or bias whose shape is not the geometry's.</exception>
    public static FactorizedLayer Layer(ConvGeometry geometry, Network kernel, Tensor? bias = null, Lowering? lowering = null) =>
        Layers.ofNetwork(Results.Option(lowering), geometry, Results.Option(bias), kernel).OrThrow();

    /// <summary>A fresh layer of a geometry, its kernel a random network of a format that keeps variance times
    /// <paramref name="gain"/>².</summary>
    /// <param name="geometry">Everything but the numbers.</param>
    /// <param name="format">The format of the kernel.</param>
    /// <param name="seed">The seed of the numbers.</param>
    /// <param name="gain">By how much the standard deviation is scaled.</param>
    /// <param name="bias">Whether there is a bias.</param>
    /// <param name="dtype">Float64, Float32, BFloat16 or Float16.</param>
    /// <param name="axes">How the format sees the kernel of a convolution; null: <c>Fused</c>.</param>
    /// <param name="lowering">How to apply it; null: the cheapest way.</param>
    /// <exception cref="TensorNetException">A geometry that cannot be, a format that does not fit it, or another dtype.</exception>
    public static FactorizedLayer Fresh(
        ConvGeometry geometry, Format format, ulong seed = 0, double gain = 1.0, bool bias = true,
        ScalarType dtype = ScalarType.Float32, KernelAxes? axes = null, Lowering? lowering = null) =>
        Fresh(geometry, Layers.spec(axes ?? KernelAxes.Fused, geometry, format).OrThrow(), seed, gain, bias, dtype, lowering);

    /// <summary>The same over a network of one's own.</summary>
    /// <param name="geometry">Everything but the numbers.</param>
    /// <param name="spec">The kernel network, with groups over (groups, in, kernel positions, out).</param>
    /// <param name="seed">The seed of the numbers.</param>
    /// <param name="gain">By how much the standard deviation is scaled.</param>
    /// <param name="bias">Whether there is a bias.</param>
    /// <param name="dtype">Float64, Float32, BFloat16 or Float16.</param>
    /// <param name="lowering">How to apply it; null: the cheapest way.</param>
    /// <exception cref="TensorNetException">A geometry that cannot be, a network that does not fit it, or another dtype.</exception>
    public static FactorizedLayer Fresh(
        ConvGeometry geometry, Spec spec, ulong seed = 0, double gain = 1.0, bool bias = true,
        ScalarType dtype = ScalarType.Float32, Lowering? lowering = null) =>
        Layers.random(new FreshOptions(Results.Option(lowering), seed, gain, dtype, bias), geometry, spec).OrThrow();

    /// <summary>A fresh layer like a dense one, its kernel a random network of a format that keeps variance.</summary>
    /// <param name="like">The dense layer whose geometry, dtype and device it has, and a bias if it has one.</param>
    /// <param name="format">The format of the kernel.</param>
    /// <param name="seed">The seed of the numbers.</param>
    /// <param name="gain">By how much the standard deviation is scaled.</param>
    /// <param name="axes">How the format sees the kernel of a convolution; null: <c>Fused</c>.</param>
    /// <param name="lowering">How to apply it; null: the cheapest way.</param>
    /// <exception cref="TensorNetException">Another module, or a format that does not fit it.</exception>
    public static FactorizedLayer Fresh(
        Module like, Format format, ulong seed = 0, double gain = 1.0, KernelAxes? axes = null, Lowering? lowering = null) =>
        Layers.fresh(Results.Option(lowering), axes ?? KernelAxes.Fused, seed, gain, format, like).OrThrow();

    /// <summary>A layer of its own with the same network, numbers, integers of few bits, bias, lowering, norm and mode of training. Hooks
    /// stay behind.</summary>
    /// <param name="layer">The layer; it is not changed.</param>
    /// <exception cref="TensorNetException">The layer is disposed.</exception>
    public static FactorizedLayer Copy(FactorizedLayer layer) => Layers.copy(layer);
}
