using TensorNets.Samples.Stability;
using static TorchSharp.torch;

namespace TensorNets.Samples.Transfer;

/// <summary>The images of a run at the size of the network.</summary>
public sealed class Images : IDisposable
{
    private const int BatchSize = 128;

    /// <summary>Reads the dataset that the settings name.</summary>
    public Images(Settings settings)
    {
        var dataset = settings.Data is null ? FashionMnist.Subset() : FashionMnist.Load(settings.Data);
        using var train = LabelledImages.First(dataset.Train, settings.Images);
        using var test = LabelledImages.First(dataset.Test, settings.TestImages);
        (Name, Train, Test) = (dataset.Name, train.Resized(TrainedResNet.ImageSize), test.Resized(TrainedResNet.ImageSize));
    }

    /// <summary>The name of the dataset.</summary>
    public string Name { get; }

    /// <summary>Images to train on.</summary>
    public LabelledImages Train { get; }

    /// <summary>Images to measure accuracy on.</summary>
    public LabelledImages Test { get; }

    /// <summary>The first training images in batches, which share the memory of all.</summary>
    public IEnumerable<Tensor> Calibration(int count)
    {
        for (var start = 0; start < Math.Min(count, Train.Count); start += BatchSize)
        {
            using var batch = Train.Images.narrow(0, start, Math.Min(BatchSize, Math.Min(count, Train.Count) - start));
            yield return batch;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Train.Dispose();
        Test.Dispose();
    }
}
