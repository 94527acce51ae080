using TensorNets.CSharp;
using TensorNets.Samples.Stability;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>What is done with the network: trained dense, planned, compressed, measured.</summary>
public sealed class Network(Settings settings, Images images)
{
    /// <summary>The trained dense network of a seed, from its file where there is one.</summary>
    public Module<Tensor, Tensor> Dense(int seed, string file, Action<int>? stepDone = null)
    {
        if (File.Exists(file))
        {
            var known = Backbones.Untrained(settings.Backbone);
            Model.LoadCompressed(known, file);
            return known;
        }

        var network = Backbones.Create(settings.Backbone, seed);
        var options = new TrainingOptions(Backbones.Steps(settings.Backbone, settings.Steps), settings.LearningRate, seed) { Anneal = true };
        Training.Run(network, images.Train, options, stepDone: stepDone);
        Renorm(network);
        Model.SaveCompressed(network, file);
        return network;
    }

    /// <summary>The share of test images that are recognized.</summary>
    public double Accuracy(Module<Tensor, Tensor> network) => Training.Accuracy(network, images.Test);

    /// <summary>Batch norms re-estimated from training images.</summary>
    public void Renorm(Module<Tensor, Tensor> network) =>
        Model.ReestimateBatchNorms(network, images.Calibration(settings.NormImages));

    /// <summary>A few steps of training, what is to be done after them, and batch norms re-estimated.</summary>
    public void Tune(Module<Tensor, Tensor> network, int seed, Action? then = null)
    {
        Training.Run(network, images.Train, new TrainingOptions(settings.TuneSteps, settings.TuneRate, seed) { Anneal = true });
        then?.Invoke();
        Renorm(network);
    }

    /// <summary>The bytes of the 3×3 convolutions.</summary>
    public static long KernelBytes(Module<Tensor, Tensor> network) =>
        TrainedResNet.Blocks.Sum(at => Model.Find(network, at.Convolution) switch
        {
            FactorizedLayer layer => Model.Bytes(layer),
            var dense => dense.parameters().Sum(parameter => parameter.numel() * parameter.element_size()),
        });

    /// <summary>Σ of every layer by its path, or null for errors of kernels.</summary>
    public IReadOnlyDictionary<string, Tensor>? Covariances(Module<Tensor, Tensor> network, Errors errors) =>
        errors == Errors.Kernel ? null : Model.Covariances(network, images.Calibration(settings.CovarianceImages));

    /// <summary>The plan in which every 3×3 layer has so many times fewer parameters.</summary>
    public CompressionPlan Uniform(
        Module<Tensor, Tensor> network, Formats formats, double ratio, IReadOnlyDictionary<string, Tensor>? covariances)
    {
        var options = new PlanSettings(
            Families: FamiliesOf(formats),
            Keep: [.. TrainedResNet.Shortcuts.Select(at => at.Convolution)],
            Covariances: covariances,
            Workers: settings.Threads,
            Ratios: [ratio],
            Sweeps: 1);
        return Model.Plan(network, TrainedResNet.InputShape, Budgets.LayerError(double.MaxValue), options);
    }

    /// <summary>The plan in which every 3×3 layer is the dense kernel at so many bits.</summary>
    public CompressionPlan Rounded(Module<Tensor, Tensor> network, int bits, IReadOnlyDictionary<string, Tensor>? covariances) =>
        TrainedResNet.Blocks.Aggregate(
            Planned(network, Formats.Dense, covariances, ofBytes: true),
            (plan, at) => Model.ChooseBits(plan, at.Convolution, bits));

    /// <summary>A plan with the candidates of the formats, which <c>Model.Plan(plan, budget)</c> chooses from.</summary>
    /// <param name="network">The network.</param>
    /// <param name="formats">The formats.</param>
    /// <param name="covariances">Σ by path, or null for errors of kernels.</param>
    /// <param name="ofBytes">Whether budgets are of bytes of the 3×3 layers: then there are candidates of few bits, and the shortcuts stay
    /// dense.</param>
    public CompressionPlan Planned(
        Module<Tensor, Tensor> network, Formats formats, IReadOnlyDictionary<string, Tensor>? covariances, bool ofBytes = false)
    {
        var options = new PlanSettings(
            Families: FamiliesOf(formats),
            Keep: ofBytes ? [.. TrainedResNet.Shortcuts.Select(at => at.Convolution)] : null,
            Covariances: covariances,
            Workers: settings.Threads,
            Bits: [8, 6, 5, 4, 3, 2]);
        return Model.Plan(network, TrainedResNet.InputShape, ofBytes ? Budgets.Bytes(long.MaxValue) : Budgets.LayerError(0), options);
    }

    /// <summary>What plans choose from; null: every family.</summary>
    private static IReadOnlyList<FormatFamily>? FamiliesOf(Formats formats) => formats switch
    {
        Formats.CP => [Families.Cp],
        Formats.Tucker2 => [Families.Tucker2],
        Formats.TensorChain => [Families.TensorChain],
        Formats.Dense => [],
        _ => null,
    };

    /// <summary>The network compressed in place.</summary>
    public CompressReport Compress(
        Module<Tensor, Tensor> network,
        CompressionPlan plan,
        IReadOnlyDictionary<string, Tensor>? covariances,
        IProgress<CompressProgress>? progress = null) =>
        Model.Compress(
            network,
            plan,
            new CompressSettings(Sweeps: settings.Sweeps, Covariances: covariances, Workers: settings.Threads, Progress: progress));
}
