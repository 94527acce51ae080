using System.Text.Json.Serialization;
using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>What the cells of the study of hypotheses share; the values here are those of its page.</summary>
public sealed record HypothesisSettings
{
    /// <summary>The network and its images.</summary>
    public Settings Run { get; init; } = new() { TestImages = 1000, TuneSteps = 30 };

    /// <summary>Training images by which batch norms of compressed networks are re-estimated.</summary>
    public int NormImages { get; init; } = 512;

    /// <summary>The format of the 3×3 kernels.</summary>
    public Formats Kernels { get; init; } = Formats.CP;

    /// <summary>How many times fewer parameters every 3×3 layer has.</summary>
    public double Ratio { get; init; } = 3;

    /// <summary>The most sweeps of correction a layer.</summary>
    public int Corrections { get; init; } = 15;

    /// <summary>A sweep that changes the error, or S, by less than this share is the last.</summary>
    public double Tolerance { get; init; } = 1e-4;

    /// <summary>The bits that <see cref="Parametrization.ToldBits"/> is told.</summary>
    public int ToldBits { get; init; } = 4;

    /// <summary>The bits that accuracy is measured at before training.</summary>
    public IReadOnlyList<int> Bits { get; init; } = [8, 6, 5, 4, 3];

    /// <summary>The bits that accuracy is measured at after training at the rate <see cref="RateOfBits"/>.</summary>
    public IReadOnlyList<int> BitsAfter { get; init; } = [8, 6, 5, 4];

    /// <summary>The bits at which changes of outputs are predicted and measured; none: they are not.</summary>
    public IReadOnlyList<int> BitsPredicted { get; init; } = [6, 4];

    /// <summary>The images by which changes of outputs are measured; none of them is among those of the covariances.</summary>
    public int PredictionImages { get; init; } = 128;

    /// <summary>Constant rates of training, one training each.</summary>
    public IReadOnlyList<double> Rates { get; init; } = [.003, .01, .03, .1];

    /// <summary>The rate after which cores are rounded.</summary>
    public double RateOfBits { get; init; } = .01;

    /// <summary>The penalty c·S at the start of training, as its share of a loss of 1: it fixes c.</summary>
    public double Penalty { get; init; } = .1;

    /// <summary>The steps of which the mean loss is kept, the last ones.</summary>
    public int LastSteps { get; init; } = 10;

    /// <summary>Who makes the steps.</summary>
    public Stepper Stepper { get; init; }

    /// <summary>Whether batch norms keep their means and variances in training.</summary>
    public bool Frozen { get; init; }

    /// <summary>Whether training alone is measured, of networks that others measure.</summary>
    public bool TrainingAlone { get; init; }

    /// <summary>Whether all is measured; else training alone.</summary>
    [JsonIgnore]
    public bool IsMain => Stepper == Stepper.Sgd && !Frozen && !TrainingAlone;

    /// <summary>Names the files of compressed networks: what they depend on.</summary>
    [JsonIgnore]
    public string ModelKey => Settings.KeyOf(
        [Run.DenseKey, Run.Sweeps, Ratio, Corrections, Tolerance, ToldBits, .. Kernels == Formats.CP ? Array.Empty<object>() : [Kernels]]);

    /// <summary>A run of seconds that shows that everything works; its numbers say nothing.</summary>
    public static HypothesisSettings Quick => new()
    {
        Run = Settings.Quick,
        NormImages = Settings.Quick.NormImages,
        Ratio = 64,
        Corrections = 1,
        Bits = [4],
        BitsAfter = [4],
        BitsPredicted = [6],
        PredictionImages = 16,
        Rates = [.01],
    };
}
