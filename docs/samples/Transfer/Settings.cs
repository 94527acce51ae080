using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace TensorNets.Samples.Transfer;

/// <summary>What all runs share; the values here are those of the documents.</summary>
public sealed record Settings
{
    /// <summary>The network.</summary>
    public Backbone Backbone { get; init; }

    /// <summary>Images to train on.</summary>
    public int Images { get; init; } = 8000;

    /// <summary>Images to measure accuracy on.</summary>
    public int TestImages { get; init; } = 2000;

    /// <summary>Steps of dense training.</summary>
    public int Steps { get; init; } = 240;

    /// <summary>Learning rate at the start of dense training; it falls to zero.</summary>
    public double LearningRate { get; init; } = 0.01;

    /// <summary>Training images by which covariances are measured.</summary>
    public int CovarianceImages { get; init; } = 512;

    /// <summary>Training images by which batch norms are re-estimated.</summary>
    public int NormImages { get; init; } = 1024;

    /// <summary>Steps of training of the compressed network: with 64 images each, about half an epoch of 8,000 images.</summary>
    public int TuneSteps { get; init; } = 60;

    /// <summary>Learning rate at the start of those steps; it falls to zero.</summary>
    public double TuneRate { get; init; } = 0.01;

    /// <summary>Threads of libtorch, and layers worked on side by side.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>The most sweeps of least squares a layer.</summary>
    public int Sweeps { get; init; } = 30;

    /// <summary>A folder with the four IDX files of another dataset, or null: the subset of Fashion-MNIST in this repository.</summary>
    public string? Data { get; init; }

    /// <summary>The folder for results.</summary>
    public string Output { get; init; } = "transfer-results";

    /// <summary>Names the files of dense networks: what training them depends on.</summary>
    [JsonIgnore]
    public string DenseKey => KeyOf(
        [Images, Steps, LearningRate, NormImages, Data, .. Backbone == Backbone.ResNet18 ? Array.Empty<object>() : [Backbone]]);

    /// <summary>Names the files of candidates: what they depend on.</summary>
    [JsonIgnore]
    public string PlanKey => KeyOf(DenseKey, CovarianceImages);

    /// <summary>A run of seconds that shows that everything works; its numbers say nothing.</summary>
    public static Settings Quick => new()
    {
        Images = 128,
        TestImages = 50,
        Steps = 1,
        CovarianceImages = 64,
        NormImages = 64,
        TuneSteps = 1,
        Sweeps = 1,
    };

    /// <summary>A name for what values make.</summary>
    internal static string KeyOf(params object?[] values) =>
        Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(values)))[..8];
}
