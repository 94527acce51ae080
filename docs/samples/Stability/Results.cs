namespace TensorNets.Samples.Stability;

/// <summary>A share of right answers, 0 to 1, under one setting: so many bits, or so much noise.</summary>
public sealed record Reading(double Setting, double Accuracy);

/// <summary>One fine-tuning of one variant.</summary>
/// <param name="LearningRate">The learning rate.</param>
/// <param name="Accuracy">Accuracy afterwards.</param>
/// <param name="ByBits">Accuracy afterwards with the cores rounded.</param>
/// <param name="Sensitivity">S afterwards.</param>
/// <param name="Training">Losses, the largest of them, diverged or not.</param>
public sealed record FineTuning(
    double LearningRate, double Accuracy, IReadOnlyList<Reading> ByBits, double? Sensitivity, TrainingResult Training);

/// <summary>Everything measured of one variant for one seed.</summary>
/// <param name="Name">The variant.</param>
/// <param name="Parameters">Parameters of the layer.</param>
/// <param name="Flops">Floating-point operations of the layer for one image.</param>
/// <param name="KernelError">‖K − K₀‖ / ‖K₀‖ with the trained kernel K₀.</param>
/// <param name="Sensitivity">S before fine-tuning.</param>
/// <param name="Accuracy">Accuracy before fine-tuning.</param>
/// <param name="ByBits">Accuracy before fine-tuning with the cores rounded.</param>
/// <param name="ByNoise">Accuracy before fine-tuning with noise on the cores, the mean over the draws.</param>
/// <param name="FineTunings">One for each learning rate, in rising order.</param>
public sealed record VariantResult(
    string Name,
    long Parameters,
    long Flops,
    double KernelError,
    double? Sensitivity,
    double Accuracy,
    IReadOnlyList<Reading> ByBits,
    IReadOnlyList<Reading> ByNoise,
    IReadOnlyList<FineTuning> FineTunings)
{
    /// <summary>The largest learning rate up to which no fine-tuning diverged, or 0 if the smallest did.</summary>
    public double LargestStableRate =>
        FineTunings.TakeWhile(tuning => !tuning.Training.Diverged).Select(tuning => tuning.LearningRate).LastOrDefault();
}

/// <summary>Everything measured for one seed.</summary>
/// <param name="Seed">The seed.</param>
/// <param name="DenseTraining">The training of the dense net.</param>
/// <param name="Variants">The variants, the dense layer first.</param>
public sealed record SeedResult(int Seed, TrainingResult DenseTraining, IReadOnlyList<VariantResult> Variants);

/// <summary>A whole run.</summary>
/// <param name="Dataset">The name of the dataset.</param>
/// <param name="Options">What was asked for.</param>
/// <param name="TrainImages">Images trained on.</param>
/// <param name="TestImages">Images that the accuracies are shares of.</param>
/// <param name="Seeds">One result for each seed.</param>
public sealed record RunResult(string Dataset, Options Options, int TrainImages, int TestImages, IReadOnlyList<SeedResult> Seeds);

/// <summary>How far a stage of the run is.</summary>
public sealed record ProgressNote(string Stage, int Done, int Total);
