using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Samples.Stability;

/// <summary>Images [n, 1, size, size], float32 with mean 0 and variance 1 over the whole set, and labels [n], int64.</summary>
public sealed class LabelledImages : IDisposable
{
    private LabelledImages(Tensor images, Tensor labels) => (Images, Labels) = (images, labels);

    /// <summary>The images.</summary>
    public Tensor Images { get; }

    /// <summary>The labels.</summary>
    public Tensor Labels { get; }

    /// <summary>The number of images.</summary>
    public int Count => (int)Labels.shape[0];

    /// <summary>The first <paramref name="count"/> images of a set, or all of them if there are fewer.</summary>
    public static LabelledImages First(ImageSet set, int count)
    {
        count = Math.Min(count, set.Count);
        var area = set.Size * set.Size;
        using var scope = NewDisposeScope();
        var raw = tensor(set.Pixels.AsSpan(0, count * area).ToArray(), count, 1, set.Size, set.Size).to(ScalarType.Float32);
        var spread = raw.std();
        var images = (raw - raw.mean()) / (spread.item<float>() > 0 ? spread : ones(1, dtype: ScalarType.Float32));
        var labels = tensor(set.Labels.AsSpan(0, count).ToArray()).to(ScalarType.Int64);
        return new LabelledImages(images.DetachFromDisposeScope(), labels.DetachFromDisposeScope());
    }

    /// <summary>Copies of the images brought to another size by bilinear interpolation.</summary>
    public LabelledImages Resized(int size)
    {
        using var scope = NewDisposeScope();
        var images = nn.functional.interpolate(Images, [size, size], mode: InterpolationMode.Bilinear, align_corners: false);
        return new LabelledImages(images.DetachFromDisposeScope(), Labels.clone().DetachFromDisposeScope());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Images.Dispose();
        Labels.Dispose();
    }
}
