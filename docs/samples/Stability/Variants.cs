using TensorNets.CSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Stability;

/// <summary>
/// One layer to put in the place of a convolution. Variants may share a layer: it is measured once and each is fine-tuned from it.
/// </summary>
/// <param name="Name">The name in tables and pictures.</param>
/// <param name="Layer">The layer itself.</param>
/// <param name="Cores">The tensors that are rounded and disturbed: the cores, not the bias.</param>
/// <param name="Kernel">The kernel [out, in, height, width] that the cores stand for, as a fresh tensor.</param>
/// <param name="Sensitivity">S as a differentiable scalar, or null for a layer without cores.</param>
/// <param name="Flops">Floating-point operations for one image, given the height and width of the input.</param>
/// <param name="Penalised">Whether c·S is added to the loss in fine-tuning.</param>
public sealed record Variant(
    string Name,
    Module<Tensor, Tensor> Layer,
    IReadOnlyList<Tensor> Cores,
    Func<Tensor> Kernel,
    Func<Tensor>? Sensitivity,
    Func<long, long, double> Flops,
    bool Penalised = false)
{
    /// <summary>The convolution itself, beside which the others stand.</summary>
    public static Variant Dense(Conv2d convolution)
    {
        var weight = convolution.weight!;
        double Flops(long height, long width) =>
            2.0 * weight.numel() * OutputSize(convolution, height, 0) * OutputSize(convolution, width, 1);
        return new Variant("dense", convolution, [weight], () => weight.detach().clone(), null, Flops);
    }

    /// <summary>
    /// Three parametrisations of one format at one rank: as alternating least squares leave it, balanced (the same kernel), and corrected
    /// (the same kernel error); the last one also with the penalty in fine-tuning. The convolution stays as it is; the caller disposes the
    /// layers. </summary>
    public static IReadOnlyList<Variant> Build(Conv2d convolution, Options options, int seed)
    {
        using var scope = NewDisposeScope();
        var kernel = TensorNetwork.KernelOfWeight(convolution.weight!.detach()).to(ScalarType.Float64);
        var found = TensorNetwork.Factorize(kernel, FormatOf(options), new FitOptions(options.Sweeps, Tolerance: 1e-6, (ulong)seed, options.RandomStart));
        var balanced = TensorNetwork.Balance(found.Network);
        var bound = ErrorBounds.Absolute(found.Error);
        var corrected = TensorNetwork.Correct(kernel, found.Network, bound, new FitOptions(options.CorrectionSweeps, Tolerance: 1e-6));

        var least = Model.Layer(convolution, corrected.Network);
        return
        [
            Of("ALS", Model.Layer(convolution, found.Network)),
            Of("ALS, balanced", Model.Layer(convolution, balanced)),
            Of("balanced + EPC", least),
            Of("EPC + penalty", least, penalised: true),
        ];
    }

    private static Variant Of(string name, FactorizedConv2d layer, bool penalised = false) =>
        new(name, layer, layer.Factors, () => layer.Kernel().detach(), layer.Sensitivity, layer.Flops, penalised);

    private static Format FormatOf(Options options) => options.Format switch
    {
        FactorFormat.CP => Formats.Cp(options.Rank ?? 48),
        FactorFormat.Tucker2 => Formats.Tucker2(options.Rank ?? 24, options.Rank ?? 24),
        _ => Formats.TensorChain(options.Rank ?? 6, options.Rank ?? 6, options.Rank ?? 6),
    };

    private static long OutputSize(Conv2d convolution, long size, int axis) =>
        ((size + (2 * convolution.padding![axis]) - (convolution.dilation[axis] * (convolution.kernel_size[axis] - 1)) - 1) / convolution.stride[axis]) + 1;
}
