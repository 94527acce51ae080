using static TorchSharp.torch;

namespace TensorNets.CSharp;

public static partial class Model
{
    /// <summary>Rounds the cores of a layer to few bits, in place, its kernel as near as it can be to a dense weight; files hold the
    /// integers from then on. Batch norms are best re-estimated afterwards.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="settings">Bits, scales; errors are measured in the norm given, not in that of the layer.</param>
    /// <param name="weight">The dense weight as TorchSharp's layers hold it; null: the kernel that the layer has now.</param>
    /// <exception cref="TensorNetException">Bits other than 2 to 8, cores that are not finite, a weight of another shape.</exception>
    public static void Quantize(FactorizedLayer layer, QuantizeSettings settings, Tensor? weight = null) =>
        LayerQuantization.fit(QuantizeSettings.Of(settings), Results.Option(weight), layer).OrThrow();

    /// <summary>The integers that a layer's cores stand for, which belong to the layer; null for a layer that was never quantized, or whose
    /// cores have changed since.</summary>
    /// <param name="layer">The layer.</param>
    public static QuantizedNetwork? Integers(FactorizedLayer layer) => LayerQuantization.current(layer)?.Value;

    /// <summary>The bytes of a layer's numbers in a file: of its integers and scales, or of its cores; and of its bias.</summary>
    /// <param name="layer">The layer.</param>
    public static long Bytes(FactorizedLayer layer) => LayerQuantization.bytes(layer);
}
