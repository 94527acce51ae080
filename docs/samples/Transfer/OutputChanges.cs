using TensorNets.CSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>How far rounding moves the outputs of layers, predicted by S and measured, on inputs that layers have in the dense
/// network.</summary>
/// <param name="settings">The bits and the images.</param>
/// <param name="work">The covariances.</param>
/// <param name="images">The images.</param>
public sealed class OutputChanges(HypothesisSettings settings, Network work, Images images)
{
    /// <summary>For every layer of a network and all bits; the network stays as it is.</summary>
    /// <param name="trained">The dense network of the seed.</param>
    /// <param name="network">The network, its 3×3 layers factorized.</param>
    public IReadOnlyList<Prediction> Measure(Module<Tensor, Tensor> trained, Module<Tensor, Tensor> network)
    {
        using var scope = NewDisposeScope();
        using var noGradients = no_grad();
        trained.eval();
        network.eval();
        var covariances = work.Covariances(trained, Errors.Calibrated)!;
        var inputs = Inputs(trained);
        foreach (var input in inputs.Values)
        {
            scope.Attach(input);
        }

        return
        [
            .. from at in TrainedResNet.Blocks
               let layer = Model.Find<FactorizedLayer>(network, at.Convolution)
               from bits in settings.BitsPredicted
               select Of(at.Convolution, bits, layer, inputs[at.Convolution], covariances[at.Convolution]),
        ];
    }

    private static Prediction Of(string path, int bits, FactorizedLayer layer, Tensor input, Tensor covariance)
    {
        using var scope = NewDisposeScope();
        using var network = layer.Network();
        var plain = new QuantizeSettings(bits);
        var weighted = plain with { Norm = Norms.Weighted(covariance) };
        var tensor = TensorNetwork.Reconstruct(network).to(ScalarType.Float64);
        var norm = tensor.norm().item<double>();
        var weightedNorm = Math.Sqrt(einsum("sdt,su,udt->", tensor, covariance, tensor).item<double>());
        return new(
            path,
            bits,
            Math.Sqrt(TensorNetwork.PredictedRounding(network, plain)) / norm,
            Math.Sqrt(TensorNetwork.PredictedRounding(network, weighted)) / weightedNorm,
            Measured(layer, plain, input, network));
    }

    private static double Measured(FactorizedLayer layer, QuantizeSettings rounding, Tensor input, TensorNets.Network own)
    {
        var before = layer.call(input);
        CoreRounding.Round(layer, rounding);
        var after = layer.call(input);
        layer.SetFactors([.. own.Cores]);
        return ((after - before).norm() / before.norm()).item<float>();
    }

    /// <summary>The inputs of the 3×3 layers, of images that the covariances have not seen.</summary>
    private Dictionary<string, Tensor> Inputs(Module<Tensor, Tensor> trained)
    {
        var inputs = new Dictionary<string, Tensor>();
        foreach (var (path, _) in TrainedResNet.Blocks)
        {
            Model.Find<Conv2d>(trained, path).register_forward_pre_hook((_, input) =>
            {
                inputs[path] = input.clone().DetachFromDisposeScope();
                return input;
            });
        }

        var count = Math.Min(settings.PredictionImages, images.Train.Count);
        trained.call(images.Train.Images.narrow(0, images.Train.Count - count, count));
        return inputs;
    }
}
