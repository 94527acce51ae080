using TensorNets.CSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>The matrix of each 3×3 kernel, (inputs · offsets) × outputs, as two factors: a 3×3 convolution to few channels and a 1×1 one
/// from them. No plan has this format: its networks are written by hand.</summary>
public static class MatrixKernels
{
    /// <summary>Puts two factors of so many times fewer parameters in the place of every 3×3 layer.</summary>
    /// <param name="network">The network, changed in place.</param>
    /// <param name="ratio">How many times fewer parameters each layer has.</param>
    /// <param name="covariances">Σ by path, or null for errors of kernels.</param>
    /// <param name="sweeps">The most sweeps, of which errors of kernels need one: the start is the best of its rank then.</param>
    public static IReadOnlyList<CellLayer> Replace(
        Module<Tensor, Tensor> network, double ratio, IReadOnlyDictionary<string, Tensor>? covariances, int sweeps) =>
        [.. TrainedResNet.Blocks.Select(at => Replaced(network, at.Convolution, ratio, covariances?[at.Convolution], sweeps))];

    private static CellLayer Replaced(Module<Tensor, Tensor> network, string path, double ratio, Tensor? covariance, int sweeps)
    {
        using var scope = NewDisposeScope();
        var convolution = Model.Find<Conv2d>(network, path);
        var kernel = TensorNetwork.KernelOfWeight(convolution.weight!.detach());
        var sizes = kernel.shape.Select(size => (int)size).ToList();
        var rank = Math.Max(1, (int)(kernel.numel() / ratio / ((sizes[0] * sizes[1]) + sizes[2])));
        var spec = TensorNetwork.Parse(
            "sdr,rt->sdt", new Dictionary<string, int> { ["s"] = sizes[0], ["d"] = sizes[1], ["t"] = sizes[2], ["r"] = rank });
        var norm = covariance is null ? Norms.Frobenius : Norms.Weighted(covariance);
        using var fit = TensorNetwork.Factorize(kernel, spec, new FitOptions(sweeps, Norm: norm));
        var layer = Model.Layer(convolution, fit.Network);
        Model.Replace(network, path, layer);
        var error = VariantNetworks.ErrorOf(kernel, fit.Network) / kernel.norm().item<float>();
        return new(path, $"matrix of rank {rank}", layer.ParameterCount, error, layer.Sensitivity().item<float>(), 0);
    }
}
