using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Stability;

/// <summary>Who makes the steps of a training.</summary>
public enum Stepper
{
    /// <summary>Stochastic gradient descent with momentum.</summary>
    Sgd,

    /// <summary>Adam, which has no use for the momentum of the options.</summary>
    Adam,
}

/// <summary>How to train: steps of stochastic gradient descent with momentum on seeded, shuffled batches, or of Adam.</summary>
public sealed record TrainingOptions(int Steps, double LearningRate, int Seed)
{
    /// <summary>Images in a batch.</summary>
    public int BatchSize { get; init; } = 64;

    /// <summary>Momentum of the descent.</summary>
    public double Momentum { get; init; } = 0.9;

    /// <summary>Who makes the steps.</summary>
    public Stepper Stepper { get; init; }

    /// <summary>Whether batch norms keep their running means and variances, and are applied by them.</summary>
    public bool Frozen { get; init; }

    /// <summary>Whether the learning rate falls to zero along a half cosine; otherwise it is constant.</summary>
    public bool Anneal { get; init; }

    /// <summary>A loss above this ends the training as diverged: no step from there has been seen to come back.</summary>
    public double LargestAllowedLoss { get; init; } = 100;
}

/// <summary>The loss (without penalty) at each step made, the largest of them, and whether training diverged.</summary>
public sealed record TrainingResult(IReadOnlyList<double> Losses, double LargestLoss, bool Diverged);

/// <summary>Training and evaluation of a net that maps images to class scores.</summary>
public static class Training
{
    /// <summary>The loss of a net that knows nothing, ln 10: to end above it is to have diverged, even with finite losses.</summary>
    public static readonly double LossOfGuessing = Math.Log(ImageSet.Classes);

    private const int EvaluationBatch = 50;

    /// <summary>
    /// Minimises cross-entropy + <paramref name="penalty"/> over the net's parameters, in place. Diverged means that a loss was not finite
    /// or above the largest allowed, or that the mean over the last tenth of the steps was above <see cref="LossOfGuessing"/>.
    /// </summary>
    public static TrainingResult Run(
        Module<Tensor, Tensor> net, LabelledImages samples, TrainingOptions options, Func<Tensor>? penalty = null, Action<int>? stepDone = null)
    {
        // The optimizer looks at gradients in its own calls too, and each look is a tensor.
        using var run = NewDisposeScope();
        net.train();
        foreach (var norm in options.Frozen ? net.modules().OfType<BatchNorm2d>() : [])
        {
            norm.eval();
        }

        using var optimizer = Optimizer(net, options);
        var batches = new Batches(samples, options.BatchSize, options.Seed);
        var losses = new List<double>(options.Steps);
        var diverged = false;
        for (var step = 0; step < options.Steps && !diverged; step++)
        {
            using var scope = NewDisposeScope();
            if (options.Anneal)
            {
                SetLearningRate(optimizer, options.LearningRate * 0.5 * (1 + Math.Cos(Math.PI * step / options.Steps)));
            }

            var (images, labels) = batches.Next();
            optimizer.zero_grad();
            var loss = functional.cross_entropy(net.call(images), labels);
            var total = penalty is null ? loss : loss + penalty();
            total.backward();
            optimizer.step();
            var value = (double)loss.item<float>();
            losses.Add(value);
            diverged = !double.IsFinite(total.to(ScalarType.Float64).item<double>()) || value > options.LargestAllowedLoss;
            stepDone?.Invoke(step + 1);
        }

        // Gradients would live as long as the parameters; evaluation and restored copies have no use for them.
        optimizer.zero_grad();
        var tail = losses.TakeLast(Math.Max(1, losses.Count / 10)).DefaultIfEmpty(0).Average();
        return new TrainingResult(losses, Largest(losses), diverged || tail > LossOfGuessing);
    }

    /// <summary>The share of images, 0 to 1, whose largest score is at their label.</summary>
    public static double Accuracy(Module<Tensor, Tensor> net, LabelledImages samples)
    {
        net.eval();
        using var noGradients = inference_mode();
        var right = 0L;
        for (var start = 0; start < samples.Count; start += EvaluationBatch)
        {
            using var scope = NewDisposeScope();
            var length = Math.Min(EvaluationBatch, samples.Count - start);
            var scores = net.call(samples.Images.narrow(0, start, length));
            right += scores.argmax(1).eq(samples.Labels.narrow(0, start, length)).sum().item<long>();
        }

        return (double)right / samples.Count;
    }

    private static optim.Optimizer Optimizer(Module<Tensor, Tensor> net, TrainingOptions options) => options.Stepper switch
    {
        Stepper.Adam => optim.Adam(net.parameters(), options.LearningRate),
        _ => optim.SGD(net.parameters(), options.LearningRate, options.Momentum),
    };

    /// <summary>The largest loss, where one that is not a number counts as infinite.</summary>
    private static double Largest(IEnumerable<double> losses) =>
        losses.Select(loss => double.IsNaN(loss) ? double.PositiveInfinity : loss).DefaultIfEmpty(0).Max();

    private static void SetLearningRate(optim.Optimizer optimizer, double rate)
    {
        foreach (var group in optimizer.ParamGroups)
        {
            group.LearningRate = rate;
        }
    }
}
