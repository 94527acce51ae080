using System.Diagnostics;
using TensorNets.CSharp;
using TensorNets.Samples.Stability;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>The study of hypotheses: networks that differ by their cores alone, rounded and trained. A cell at a time; cells that were made
/// with the same settings are left as they are.</summary>
/// <param name="settings">What all cells share.</param>
/// <param name="images">The images.</param>
/// <param name="say">Told of each cell in a line.</param>
public sealed class HypothesisStudy(HypothesisSettings settings, Images images, Action<string> say)
{
    private readonly Network _work = new(settings.Run with { NormImages = settings.NormImages }, images);

    /// <summary>The cells of a study: all parametrizations of a seed, then those of the next.</summary>
    public static IReadOnlyList<(int Seed, Parametrization Parametrization)> CellsOf(
        IReadOnlyList<int> seeds, IReadOnlyList<Parametrization> parametrizations) =>
        [.. from seed in seeds from parametrization in parametrizations select (seed, parametrization)];

    /// <summary>What is measured of a format: columns can be brought to length 1 in CP alone, and the dense kernels stand beside CP.</summary>
    public static IReadOnlyList<Parametrization> ParametrizationsOf(Formats kernels, IReadOnlyList<Parametrization> asked) =>
        kernels == Formats.CP ? asked : [.. asked.Except([Parametrization.Dense, Parametrization.UnitColumns])];

    /// <summary>Makes the cells that are missing of those that are named, and gives these.</summary>
    public IReadOnlyList<HypothesisCell> Run(IReadOnlyList<(int Seed, Parametrization Parametrization)> cells)
    {
        Directory.CreateDirectory(settings.Run.Output);
        return [.. cells.Select(cell => Missing(cell.Seed, cell.Parametrization))];
    }

    private HypothesisCell Missing(int seed, Parametrization parametrization)
    {
        if (HypothesisCells.Find(settings, seed, parametrization) is { } known) return known;
        using var scope = NewDisposeScope();
        var clock = Stopwatch.StartNew();
        var variants = new VariantNetworks(settings, new Network(settings.Run, images));
        using var network = variants.Of(seed, parametrization);
        var making = clock.Elapsed.TotalSeconds;
        using var trained = variants.Trained(seed);
        var isMeasured = settings.IsMain && parametrization != Parametrization.Penalty;
        var layers = Layers(trained, network);
        var sensitivity = Model.RelativeSensitivity(network).item<float>();
        var rounded = Rounded(network, isMeasured);
        var weight = parametrization == Parametrization.Penalty ? settings.Penalty / layers.Sum(layer => layer.Sensitivity) : 0;
        var rates = Rates(network, seed, weight);
        var predictions = isMeasured && settings.BitsPredicted.Count > 0 ? new OutputChanges(settings, _work, images).Measure(trained, network) : [];
        var seconds = clock.Elapsed.TotalSeconds;
        var cell = new HypothesisCell(
            seed, parametrization, settings, layers, sensitivity, weight, rounded, rates, predictions, making, seconds, Study.Machine());
        HypothesisCells.Save(cell);
        say(FormattableString.Invariant($"seed {seed} {parametrization}: {seconds:F0} s, {making:F0} s of them until it stood"));
        return cell;
    }

    private static IReadOnlyList<HypothesisLayer> Layers(Module<Tensor, Tensor> trained, Module<Tensor, Tensor> network)
    {
        using var noGradients = no_grad();
        return [.. TrainedResNet.Blocks.Select(at => Of(at.Convolution))];

        HypothesisLayer Of(string path)
        {
            using var scope = NewDisposeScope();
            var layer = Model.Find<FactorizedLayer>(network, path);
            var kernel = TensorNetwork.KernelOfWeight(Model.Find<Conv2d>(trained, path).weight!.detach());
            using var own = layer.Network();
            var error = VariantNetworks.ErrorOf(kernel, own) / kernel.to(ScalarType.Float64).norm().item<double>();
            return new(path, layer.ParameterCount, error, layer.Sensitivity().item<float>());
        }
    }

    /// <summary>Before training. The network ends as it was, batch norms re-estimated.</summary>
    private List<RoundedReading> Rounded(Module<Tensor, Tensor> network, bool isMeasured)
    {
        var readings = new List<RoundedReading>();
        using var start = new Snapshot(network);
        foreach (var (name, scales) in isMeasured ? new[] { ("core", Scales.PerCore), ("slice", Scales.PerSlice) } : [])
        {
            foreach (var bits in settings.Bits)
            {
                var bytes = CoreRounding.Round(network, new QuantizeSettings(bits, scales));
                var accuracy = _work.Accuracy(network);
                readings.Add(new(bits, name, bytes, accuracy, scales == Scales.PerSlice ? Renormed(network) : double.NaN));
                start.Restore();
            }
        }

        var plain = isMeasured ? _work.Accuracy(network) : double.NaN;
        var renormed = Renormed(network);
        return isMeasured ? [new(32, "none", Network.KernelBytes(network), plain, renormed), .. readings] : [];
    }

    private double Renormed(Module<Tensor, Tensor> network)
    {
        _work.Renorm(network);
        return _work.Accuracy(network);
    }

    private List<RateReading> Rates(Module<Tensor, Tensor> network, int seed, double weight)
    {
        var readings = new List<RateReading>();
        using var start = new Snapshot(network);
        foreach (var rate in settings.Rates)
        {
            var options = new TrainingOptions(settings.Run.TuneSteps, rate, seed) { Stepper = settings.Stepper, Frozen = settings.Frozen };
            var run = Training.Run(network, images.Train, options, weight > 0 ? () => weight * Model.Sensitivity(network) : null);
            var loss = run.Losses.TakeLast(settings.LastSteps).Average();
            readings.Add(run.Diverged ? new(rate, loss, true, double.NaN, double.NaN, []) : Trained(network, rate, loss));
            start.Restore();
        }

        return readings;
    }

    private RateReading Trained(Module<Tensor, Tensor> network, double rate, double loss)
    {
        var accuracy = Renormed(network);
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        var sensitivity = Model.Sensitivity(network).item<float>();
        using var trained = new Snapshot(network);
        var rounded = new List<Reading>();
        foreach (var bits in rate == settings.RateOfBits ? settings.BitsAfter : [])
        {
            CoreRounding.Round(network, new QuantizeSettings(bits));
            rounded.Add(new(bits, Renormed(network)));
            trained.Restore();
        }

        return new(rate, loss, false, accuracy, sensitivity, rounded);
    }
}
