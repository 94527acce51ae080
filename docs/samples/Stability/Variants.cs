using TorchSharp;
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
/// <param name="Flops">Floating-point operations for one image, given the height and width of the output.</param>
/// <param name="Penalised">Whether c·S is added to the loss in fine-tuning.</param>
public sealed record Variant(
    string Name,
    Module<Tensor, Tensor> Layer,
    IReadOnlyList<Tensor> Cores,
    Func<Tensor> Kernel,
    Func<Tensor>? Sensitivity,
    Func<long, long, long> Flops,
    bool Penalised = false)
{
    /// <summary>The convolution itself, beside which the others stand.</summary>
    public static Variant Dense(Conv2d convolution)
    {
        var weight = convolution.weight;
        long Flops(long height, long width) => 2 * weight.numel() * height * width;
        return new Variant("dense", convolution, [weight], () => weight.detach().clone(), null, Flops);
    }
}

/// <summary>What the experiment asks of the library.</summary>
public interface IVariants
{
    /// <summary>The convolution at a path of a net.</summary>
    Conv2d Find(Module<Tensor, Tensor> net, string path);

    /// <summary>Layers of equal rank and kernel error for a trained convolution, which stays as it is. The caller disposes them.</summary>
    IReadOnlyList<Variant> Build(Conv2d convolution, Options options, int seed);

    /// <summary>Puts a layer at a path of a net and returns the one that was there, unharmed.</summary>
    Module<Tensor, Tensor> Exchange(Module<Tensor, Tensor> net, string path, Module<Tensor, Tensor> layer);
}
