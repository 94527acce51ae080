using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Samples.Stability;

/// <summary>Changes of a layer's tensors for the time of one measurement: rounding to few bits, or white noise.</summary>
public static class Perturbation
{
    /// <summary>The bits measured.</summary>
    public static readonly IReadOnlyList<int> Bits = [8, 6, 5, 4, 3];

    /// <summary>The noise measured: its standard deviation as a share of each tensor's root mean square.</summary>
    public static readonly IReadOnlyList<double> NoiseLevels = [0.05, 0.10, 0.20, 0.30, 0.40];

    /// <summary>
    /// The tensor at the nearest of 2m + 1 evenly spaced levels k·max|t|/m, k = −m … m, with m = 2^(bits−1) − 1: symmetric, one scale for
    /// the tensor. Zero stays zero.
    /// </summary>
    public static Tensor Round(Tensor tensor, int bits)
    {
        if (bits < 2)
        {
            throw new ArgumentOutOfRangeException(nameof(bits), bits, "Expected at least 2 bits.");
        }

        using var scope = NewDisposeScope();
        var scale = tensor.abs().max() / ((1 << (bits - 1)) - 1);
        return (scale.item<float>() > 0 ? (tensor / scale).round() * scale : tensor.clone()).MoveToOuterDisposeScope();
    }

    /// <summary>The tensor plus white noise whose standard deviation is <paramref name="share"/> of the tensor's rms.</summary>
    public static Tensor AddNoise(Tensor tensor, double share, Generator generator)
    {
        using var scope = NewDisposeScope();
        var rms = tensor.square().mean().sqrt();
        var noise = randn(tensor.shape, dtype: tensor.dtype, generator: generator);
        return (tensor + (noise * rms * share)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// What <paramref name="measure"/> gives while each tensor holds its changed value. The old values, bit for bit, are back afterwards,
    /// also if the measurement throws.
    /// </summary>
    public static T With<T>(IReadOnlyList<Tensor> tensors, Func<Tensor, Tensor> change, Func<T> measure)
    {
        using var scope = NewDisposeScope();
        using var noGradients = no_grad();
        var saved = tensors.Select(tensor => tensor.detach().clone()).ToArray();
        try
        {
            foreach (var tensor in tensors)
            {
                tensor.copy_(change(tensor.detach()));
            }

            return measure();
        }
        finally
        {
            for (var i = 0; i < saved.Length; i++)
            {
                tensors[i].copy_(saved[i]);
            }
        }
    }

    /// <summary>What <paramref name="measure"/> gives with the tensors rounded.</summary>
    public static double Rounded(IReadOnlyList<Tensor> tensors, int bits, Func<double> measure) =>
        With(tensors, tensor => Round(tensor, bits), measure);

    /// <summary>The mean of what <paramref name="measure"/> gives over draws of noise, which depend on the seed and the level
    /// alone.</summary>
    public static double Noisy(IReadOnlyList<Tensor> tensors, double share, int draws, int seed, Func<double> measure)
    {
        // One generator for all draws and tensors: layers with the same shapes get the same noise, so they are compared draw by draw.
        using var generator = new Generator((ulong)HashOf(seed, share));
        return Enumerable.Range(0, draws).Select(_ => With(tensors, tensor => AddNoise(tensor, share, generator), measure)).Average();
    }

    private static long HashOf(int seed, double share) => (1_000_003L * seed) + (long)Math.Round(1000 * share);
}
