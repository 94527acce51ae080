using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>How far values are from what was expected, by their names, added up batch by batch.</summary>
internal sealed class ErrorSums
{
    private readonly Dictionary<string, (double Difference, double Norm)> _sums = [];

    /// <summary>The names in the order in which they came first.</summary>
    internal IReadOnlyCollection<string> Names => _sums.Keys;

    internal void Add(string name, Tensor expected, Tensor found)
    {
        using var scope = NewDisposeScope();
        if (!expected.shape.SequenceEqual(found.shape))
        {
            throw Errors.Unsupported($"The shape of '{name}'", Errors.Shape(found.shape), Errors.Shape(expected.shape));
        }

        var (a, b) = (expected.to(ScalarType.Float64), found.to(ScalarType.Float64));
        var (difference, norm) = _sums.GetValueOrDefault(name);
        _sums[name] = (difference + (b - a).square().sum().item<double>(), norm + a.square().sum().item<double>());
    }

    /// <summary>‖difference‖ / ‖expected‖ of values together; where nothing is expected, 0 or infinite.</summary>
    internal double Relative(IEnumerable<string> names)
    {
        var sums = names.Select(name => _sums[name]).ToList();
        var difference = sums.Sum(sum => sum.Difference);
        return difference == 0 ? 0 : Math.Sqrt(difference / sums.Sum(sum => sum.Norm));
    }
}
