using TensorNets.CSharp;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Stability;

/// <summary>
/// Trains a net, puts each variant in the place of one convolution, measures it as it stands under rounding and noise, and fine-tunes it.
/// Every measurement starts from the same trained net.
/// </summary>
public sealed class Experiment(Options options, IProgress<ProgressNote> progress)
{
    /// <summary>Seeds of the parts lie far apart, so that no two parts of runs with neighbouring seeds share one.</summary>
    private const int SeedStride = 7919;

    /// <summary>After fine-tuning only the few bits are measured, where differences are.</summary>
    private static readonly IReadOnlyList<int> BitsAfter = [4, 3];

    /// <summary>The whole run.</summary>
    public RunResult Run(Dataset dataset)
    {
        using var train = LabelledImages.First(dataset.Train, options.Images);
        using var test = LabelledImages.First(dataset.Test, options.TestImages);
        return new RunResult(dataset.Name, options, train.Count, test.Count, [.. options.Seeds.Select(seed => RunSeed(seed, train, test))]);
    }

    private SeedResult RunSeed(int seed, LabelledImages train, LabelledImages test)
    {
        using var net = new ResNet(ResNetShape.Default(options.Norm), seed);
        var convolution = Model.Find<Conv2d>(net, options.Path);
        var training = new TrainingOptions(options.Steps, options.DenseLearningRate, seed) { Anneal = true };
        var dense = Training.Run(net, train, training, stepDone: Note(seed, "train the dense net", options.Steps));

        progress.Report(new ProgressNote(Stage(seed, "factorize"), 0, 1));
        var built = Variant.Build(convolution, options, seed);
        progress.Report(new ProgressNote(Stage(seed, "factorize"), 1, 1));
        try
        {
            Variant[] variants = [Variant.Dense(convolution), .. built];
            var before = Measure(net, variants, test, seed);
            return new SeedResult(seed, dense, FineTune(net, variants, before, train, test, seed));
        }
        finally
        {
            foreach (var layer in built.Select(variant => variant.Layer).Distinct())
            {
                layer.Dispose();
            }
        }
    }

    private List<VariantResult> Measure(ResNet net, Variant[] variants, LabelledImages test, int seed)
    {
        var (height, width) = InputSize(net, variants[0].Layer, test);
        using var trained = variants[0].Kernel();
        var measured = new Dictionary<Module<Tensor, Tensor>, VariantResult>();
        var done = Note(seed, "round and disturb", variants.Select(variant => variant.Layer).Distinct().Count());
        foreach (var variant in variants.Where(variant => !measured.ContainsKey(variant.Layer)))
        {
            measured[variant.Layer] = InPlace(net, variant, () =>
            {
                double Accuracy() => Training.Accuracy(net, test);
                var noise = Perturbation.NoiseLevels.Select(level =>
                    new Reading(level, Perturbation.Noisy(variant.Cores, level, options.NoiseDraws, seed, Accuracy)));
                return new VariantResult(
                    variant.Name,
                    variant.Layer.parameters().Sum(parameter => parameter.numel()),
                    (long)variant.Flops(height, width),
                    KernelError(variant, trained),
                    Sensitivity(variant),
                    Accuracy(),
                    Rounded(variant, Perturbation.Bits, Accuracy),
                    [.. noise],
                    []);
            });
            done(measured.Count);
        }

        return [.. variants.Select(variant => measured[variant.Layer] with { Name = variant.Name })];
    }

    private List<VariantResult> FineTune(
        ResNet net, Variant[] variants, List<VariantResult> before, LabelledImages train, LabelledImages test, int seed)
    {
        var total = variants.Length * options.LearningRates.Count * options.FineTuneSteps;
        var done = 0;
        var note = Note(seed, "fine-tune", total);
        var results = new List<VariantResult>();
        foreach (var (variant, start) in variants.Zip(before))
        {
            var tunings = new List<FineTuning>();
            foreach (var rate in options.LearningRates)
            {
                var from = done;
                tunings.Add(InPlace(net, variant, () =>
                {
                    using var kept = new Snapshot(net);
                    var training = new TrainingOptions(options.FineTuneSteps, rate, seed + SeedStride);
                    var trained = Training.Run(net, train, training, Penalty(variant, start), step => note(from + step));
                    double Accuracy() => Training.Accuracy(net, test);
                    var tuning = new FineTuning(rate, Accuracy(), Rounded(variant, BitsAfter, Accuracy), Sensitivity(variant), trained);
                    kept.Restore();
                    return tuning;
                }));
                done += options.FineTuneSteps;
                note(done);
            }

            results.Add(start with { FineTunings = tunings });
        }

        return results;
    }

    /// <summary>c·S with c such that the penalty begins at the value asked for, whatever the layer's S.</summary>
    private Func<Tensor>? Penalty(Variant variant, VariantResult start)
    {
        if (!variant.Penalised || variant.Sensitivity is not { } sensitivity || start.Sensitivity is not > 0)
        {
            return null;
        }

        var weight = options.Penalty / start.Sensitivity.Value;
        return () => sensitivity() * weight;
    }

    private T InPlace<T>(ResNet net, Variant variant, Func<T> act)
    {
        var isDense = ReferenceEquals(Model.Find(net, options.Path), variant.Layer);
        if (isDense)
        {
            return act();
        }

        var dense = Model.Exchange(net, options.Path, variant.Layer);
        try
        {
            return act();
        }
        finally
        {
            Model.Exchange(net, options.Path, dense);
        }
    }

    private static (long Height, long Width) InputSize(ResNet net, Module<Tensor, Tensor> layer, LabelledImages test)
    {
        long[] shape = [];
        var hook = layer.register_forward_hook((_, input, output) =>
        {
            shape = input.shape;
            return output;
        });
        using (no_grad())
        using (NewDisposeScope())
        {
            net.eval();
            net.call(test.Images.narrow(0, 0, 1));
        }

        hook.remove();
        return (shape[^2], shape[^1]);
    }

    private static double KernelError(Variant variant, Tensor trained)
    {
        using var scope = NewDisposeScope();
        using var noGradients = no_grad();
        return ((variant.Kernel() - trained).norm() / trained.norm()).to(ScalarType.Float64).item<double>();
    }

    private static double? Sensitivity(Variant variant)
    {
        using var scope = NewDisposeScope();
        using var noGradients = no_grad();
        return variant.Sensitivity?.Invoke().to(ScalarType.Float64).item<double>();
    }

    private static IReadOnlyList<Reading> Rounded(Variant variant, IReadOnlyList<int> bits, Func<double> accuracy) =>
        [.. bits.Select(b => new Reading(b, Perturbation.Rounded(variant.Cores, b, accuracy)))];

    private Action<int> Note(int seed, string stage, int total)
    {
        progress.Report(new ProgressNote(Stage(seed, stage), 0, total));
        return done => progress.Report(new ProgressNote(Stage(seed, stage), done, total));
    }

    private string Stage(int seed, string stage) => options.Seeds.Count > 1 ? $"seed {seed}: {stage}" : stage;
}
