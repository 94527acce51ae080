using TensorNets.CSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>Cores of 3×3 layers at the nearest multiples of their scales, in place: nothing makes up for what is lost.</summary>
public static class CoreRounding
{
    /// <summary>Rounds all 3×3 layers, and gives the bytes of their integers and scales.</summary>
    public static long Round(Module<Tensor, Tensor> network, QuantizeSettings settings) =>
        TrainedResNet.Blocks.Sum(at => Round(Model.Find<FactorizedLayer>(network, at.Convolution), settings));

    /// <summary>Rounds a layer, and gives the bytes of its integers and scales.</summary>
    public static long Round(FactorizedLayer layer, QuantizeSettings settings)
    {
        using var scope = NewDisposeScope();
        using var network = layer.Network();
        using var integers = TensorNetwork.Round(network, settings);
        using var rounded = integers.Restored(network.DType);
        layer.SetFactors([.. rounded.Cores]);
        return integers.Bytes;
    }
}
