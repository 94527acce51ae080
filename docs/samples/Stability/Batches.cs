using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Samples.Stability;

/// <summary>Endless shuffled batches; the order depends on the seed alone. A rest smaller than a batch is left out of its epoch.</summary>
public sealed class Batches
{
    private readonly LabelledImages _samples;
    private readonly int _size;
    private readonly Random _random;
    private readonly long[] _order;
    private int _next;

    /// <summary>Batches of at most <paramref name="size"/> images.</summary>
    public Batches(LabelledImages samples, int size, int seed)
    {
        _samples = samples;
        _size = Math.Min(size, samples.Count);
        _random = new Random(seed);
        _order = [.. Enumerable.Range(0, samples.Count).Select(i => (long)i)];
        _next = _order.Length;
    }

    /// <summary>Fresh copies of the next batch's images and labels.</summary>
    public (Tensor Images, Tensor Labels) Next()
    {
        if (_next + _size > _order.Length)
        {
            _random.Shuffle(_order);
            _next = 0;
        }

        using var chosen = tensor(_order.AsSpan(_next, _size).ToArray());
        _next += _size;
        return (_samples.Images.index_select(0, chosen), _samples.Labels.index_select(0, chosen));
    }
}
