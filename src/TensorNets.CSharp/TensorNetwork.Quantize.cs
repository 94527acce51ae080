using static TorchSharp.torch;

namespace TensorNets.CSharp;

public static partial class TensorNetwork
{
    /// <summary>Every entry to the nearest multiple of its scale. The caller disposes the result.</summary>
    /// <param name="network">The network, best balanced or corrected.</param>
    /// <param name="settings">Bits, scales.</param>
    /// <exception cref="TensorNetException">Bits other than 2 to 8, groups without entries, or cores that are not finite.</exception>
    public static QuantizedNetwork Round(Network network, QuantizeSettings settings) =>
        Quantization.round(QuantizeSettings.Of(settings), network).OrThrow();

    /// <summary>Integers that minimise the distance to a target: what one core's entry loses, later ones make up for. Never farther than
    /// the nearest. The caller disposes the result.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="network">The network, best balanced or corrected.</param>
    /// <param name="settings">Bits, scales, norm.</param>
    /// <exception cref="TensorNetException">Those of <see cref="Round"/>; a target or a norm that does not fit.</exception>
    public static QuantizedNetwork Quantize(Tensor target, Network network, QuantizeSettings settings) =>
        Quantization.fit(QuantizeSettings.Of(settings), target, network).OrThrow();

    /// <summary>The correction that is told the bits: the network of least expected squared error once its cores are rounded.</summary>
    /// <param name="target">The tensor.</param>
    /// <param name="start">The network to start from.</param>
    /// <param name="settings">Bits, scales, norm.</param>
    /// <param name="options">The sweeps; null: the defaults.</param>
    /// <exception cref="TensorNetException">Those of <see cref="Quantize"/>.</exception>
    public static Fit CorrectForBits(Tensor target, Network start, QuantizeSettings settings, FitOptions? options = null) =>
        Quantization.correct(QuantizeSettings.Of(settings), FitOptions.Or(options).Sweeps, target, start).OrThrow();

    /// <summary>E‖T̂ − T‖², what rounding is expected to do to the network's tensor, from its sensitivity.</summary>
    /// <param name="network">The network.</param>
    /// <param name="settings">Bits, scales, norm.</param>
    /// <exception cref="TensorNetException">Those of <see cref="Round"/>, or a norm that does not fit.</exception>
    public static double PredictedRounding(Network network, QuantizeSettings settings) =>
        Quantization.predicted(QuantizeSettings.Of(settings), network).OrThrow();
}
