namespace TensorNets.Samples.Stability;

/// <summary>The network by which the convolution is replaced.</summary>
public enum FactorFormat
{
    /// <summary>Canonical polyadic: a sum of rank-one kernels.</summary>
    CP,

    /// <summary>Tucker-2: a core between a matrix for the inputs and one for the outputs.</summary>
    Tucker2,

    /// <summary>Tensor chain: a ring of cores.</summary>
    TC,
}

/// <summary>What a run does; the values here are those of the default run.</summary>
public sealed record Options
{
    /// <summary>Everything is repeated for each seed; the seed fixes weights, order of images, and noise.</summary>
    public IReadOnlyList<int> Seeds { get; init; } = [1];

    /// <summary>Each variant is fine-tuned once at each learning rate.</summary>
    public IReadOnlyList<double> LearningRates { get; init; } = [0.01];

    /// <summary>The convolution to replace.</summary>
    public string Path { get; init; } = "layer1.1.conv2";

    /// <summary>The format of the replacement.</summary>
    public FactorFormat Format { get; init; } = FactorFormat.CP;

    /// <summary>The rank of the replacement, or null for the default of the format.</summary>
    public int? Rank { get; init; }

    /// <summary>The most sweeps of alternating least squares.</summary>
    public int Sweeps { get; init; } = 200;

    /// <summary>The most sweeps of the correction.</summary>
    public int CorrectionSweeps { get; init; } = 1000;

    /// <summary>Least squares start from noise instead of singular value decompositions.</summary>
    public bool RandomStart { get; init; }

    /// <summary>A folder with the four IDX files, or null for Fashion-MNIST: the Debian package's, or the subset in the program.</summary>
    public string? Data { get; init; }

    /// <summary>The folder for the picture and the numbers.</summary>
    public string Output { get; init; } = "stability-results";

    /// <summary>Steps of dense training.</summary>
    public int Steps { get; init; } = 300;

    /// <summary>Steps of each fine-tuning.</summary>
    public int FineTuneSteps { get; init; } = 100;

    /// <summary>Learning rate at the start of dense training; it falls to zero.</summary>
    public double DenseLearningRate { get; init; } = 0.05;

    /// <summary>Images to train on.</summary>
    public int Images { get; init; } = 8000;

    /// <summary>Images to measure accuracy on.</summary>
    public int TestImages { get; init; } = 2000;

    /// <summary>What stands behind each convolution.</summary>
    public Norm Norm { get; init; } = Norm.Batch;

    /// <summary>The weight of the penalty, as its share of the loss at the start: c = Penalty / S before fine-tuning.</summary>
    public double Penalty { get; init; } = 0.1;

    /// <summary>Draws of noise at each level.</summary>
    public int NoiseDraws { get; init; } = 3;

    /// <summary>Threads of libtorch; results repeat to the bit only at the same number.</summary>
    public int Threads { get; init; } = 2;

    /// <summary>A run of seconds that shows that everything works, and nothing else.</summary>
    public static Options Quick => new() { Steps = 12, FineTuneSteps = 4, Images = 512, TestImages = 100, Sweeps = 10, CorrectionSweeps = 10 };
}
