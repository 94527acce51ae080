using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Samples.Stability;

/// <summary>Square grey images as bytes with their labels, and the name under which results on them are reported.</summary>
public sealed record ImageSet(string Name, int Size, byte[] Pixels, byte[] Labels)
{
    /// <summary>The number of classes; labels are 0 … 9.</summary>
    public const int Classes = 10;

    /// <summary>The number of images.</summary>
    public int Count => Labels.Length;
}

/// <summary>Training and test images of one origin.</summary>
public sealed record Dataset(string Name, ImageSet Train, ImageSet Test);

/// <summary>Images [n, 1, size, size], float32 with mean 0 and variance 1 over the whole set, and labels [n], int64.</summary>
public sealed class Samples : IDisposable
{
    private Samples(Tensor images, Tensor labels) => (Images, Labels) = (images, labels);

    /// <summary>The images.</summary>
    public Tensor Images { get; }

    /// <summary>The labels.</summary>
    public Tensor Labels { get; }

    /// <summary>The number of images.</summary>
    public int Count => (int)Labels.shape[0];

    /// <summary>The first <paramref name="count"/> images of a set, or all of them if there are fewer.</summary>
    public static Samples First(ImageSet set, int count)
    {
        count = Math.Min(count, set.Count);
        var area = set.Size * set.Size;
        using var scope = NewDisposeScope();
        var raw = tensor(set.Pixels.AsSpan(0, count * area).ToArray(), count, 1, set.Size, set.Size).to(ScalarType.Float32);
        var spread = raw.std();
        var images = (raw - raw.mean()) / (spread.item<float>() > 0 ? spread : ones(1));
        var labels = tensor(set.Labels.AsSpan(0, count).ToArray()).to(ScalarType.Int64);
        return new Samples(images.DetachFromDisposeScope(), labels.DetachFromDisposeScope());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Images.Dispose();
        Labels.Dispose();
    }
}
