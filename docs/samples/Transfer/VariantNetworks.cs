using TensorNets.CSharp;
using TensorNets.Samples.Stability;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>The network with its 3×3 kernels under each parametrization. What is made is kept in files, which those that are made of it
/// begin with: nothing is fitted twice.</summary>
public sealed class VariantNetworks(HypothesisSettings settings, Network work)
{
    /// <summary>The trained dense network of a seed.</summary>
    public Module<Tensor, Tensor> Trained(int seed) =>
        work.Dense(seed, Path.Combine(settings.Run.Output, $"dense-{settings.Run.DenseKey}-seed{seed}.safetensors"));

    /// <summary>The network of a seed under a parametrization.</summary>
    public Module<Tensor, Tensor> Of(int seed, Parametrization parametrization)
    {
        var kept = parametrization == Parametrization.Penalty ? Parametrization.Corrected : parametrization;
        var file = Path.Combine(
            settings.Run.Output, $"hypotheses-{settings.ModelKey}-seed{seed}-{kept}.safetensors".ToLowerInvariant());
        if (File.Exists(file))
        {
            var known = Backbones.Untrained(settings.Run.Backbone);
            Model.LoadCompressed(known, file);
            return known;
        }

        var network = Trained(seed);
        using var source = SourceOf(kept) is { } of ? Of(seed, of) : null;
        var formats = source is null && kept != Parametrization.Dense ? FormatsOf(network) : null;
        foreach (var (path, _) in TrainedResNet.Blocks)
        {
            using var scope = NewDisposeScope();
            var convolution = Model.Find<Conv2d>(network, path);
            var kernel = TensorNetwork.KernelOfWeight(convolution.weight!.detach());
            using var start = source is null ? null : Model.Find<FactorizedLayer>(source, path).Network();
            using var made = Made(kernel, kept, (ulong)seed, start, formats?[path]);
            Model.Replace(network, path, Model.Layer(convolution, made));
        }

        Model.SaveCompressed(network, file);
        return network;
    }

    /// <summary>What a parametrization is made of; null: of the dense kernels.</summary>
    private static Parametrization? SourceOf(Parametrization parametrization) => parametrization switch
    {
        Parametrization.Dense or Parametrization.Random or Parametrization.Svd => null,
        Parametrization.Corrected or Parametrization.ToldBits => Parametrization.Balanced,
        _ => Parametrization.Random,
    };

    /// <summary>The format of each 3×3 kernel, of so many times fewer parameters.</summary>
    private IReadOnlyDictionary<string, Format> FormatsOf(Module<Tensor, Tensor> network) =>
        settings.Kernels == Formats.CP
            ? TrainedResNet.Blocks.ToDictionary(at => at.Convolution, at => CpOf(Model.Find<Conv2d>(network, at.Convolution).weight!))
            : work.Uniform(network, settings.Kernels, settings.Ratio, covariances: null).Layers
                .Where(layer => layer.IsFactorized).ToDictionary(layer => layer.Path, layer => layer.Choice.Format);

    private TensorNets.Network Made(
        Tensor kernel, Parametrization parametrization, ulong seed, TensorNets.Network? start, Format? format)
    {
        var fit = new FitOptions(settings.Run.Sweeps, settings.Tolerance, seed, RandomStart: parametrization == Parametrization.Random);
        var correction = new FitOptions(settings.Corrections, settings.Tolerance);
        return parametrization switch
        {
            Parametrization.Random or Parametrization.Svd => TensorNetwork.Factorize(kernel, format!, fit).Network,
            Parametrization.UnitColumns => UnitColumns(start!),
            Parametrization.Balanced => TensorNetwork.Balance(start!),
            Parametrization.Corrected =>
                TensorNetwork.Correct(kernel, start!, ErrorBounds.Absolute(ErrorOf(kernel, start!)), correction).Network,
            Parametrization.ToldBits =>
                TensorNetwork.CorrectForBits(kernel, start!, new QuantizeSettings(settings.ToldBits), correction).Network,
            _ => Whole(kernel),
        };
    }

    /// <summary>CP of so many times fewer parameters than a weight.</summary>
    private Format CpOf(Tensor weight) =>
        CSharp.Formats.Cp(Math.Max(
            1, (int)(weight.numel() / settings.Ratio / (weight.shape[0] + weight.shape[1] + (weight.shape[2] * weight.shape[3])))));

    /// <summary>‖K − T‖.</summary>
    public static double ErrorOf(Tensor kernel, TensorNets.Network network)
    {
        using var scope = NewDisposeScope();
        var difference = TensorNetwork.Reconstruct(network).to(ScalarType.Float64) - kernel.to(ScalarType.Float64);
        return difference.norm().item<double>();
    }

    /// <summary>The kernel as a network of one core.</summary>
    private static TensorNets.Network Whole(Tensor kernel)
    {
        var spec = TensorNetwork.Of(CSharp.Formats.Dense, [.. kernel.shape.Select(size => (int)size)]);
        return TensorNetwork.Create(spec, new Dictionary<string, Tensor> { [spec.Cores[0].Name] = kernel.clone() });
    }

    /// <summary>The same tensor of a CP network, the lengths of all columns in its last core.</summary>
    public static TensorNets.Network UnitColumns(TensorNets.Network network)
    {
        using var scope = NewDisposeScope();
        var cores = new Dictionary<string, Tensor>();
        Tensor weights = ones(1, dtype: network.DType);
        foreach (var (core, tensor) in network.Spec.Cores.Zip(network.Cores).SkipLast(1))
        {
            var lengths = tensor.norm(0, keepdim: true);
            cores[core.Name] = (tensor / lengths).MoveToOuterDisposeScope();
            weights *= lengths;
        }

        cores[network.Spec.Cores[^1].Name] = (network.Cores[^1] * weights).MoveToOuterDisposeScope();
        return TensorNetwork.Create(network.Spec, cores);
    }
}
