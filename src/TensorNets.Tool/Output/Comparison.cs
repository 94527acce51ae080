using TensorNets.Tool.Files;

namespace TensorNets.Tool.Output;

/// <summary>Two files, tensor by tensor.</summary>
/// <param name="First">A file.</param>
/// <param name="Second">Another one.</param>
/// <param name="FirstBytes">The size of the first.</param>
/// <param name="SecondBytes">The size of the second.</param>
/// <param name="FirstParameters">Numbers in the first.</param>
/// <param name="SecondParameters">Numbers in the second.</param>
/// <param name="Tensors">What both have and is not the same.</param>
/// <param name="Same">How many tensors are the same to the bit.</param>
/// <param name="OnlyFirst">What the second lacks.</param>
/// <param name="OnlySecond">What the first lacks.</param>
internal sealed record Comparison(
    string First,
    string Second,
    long FirstBytes,
    long SecondBytes,
    long FirstParameters,
    long SecondParameters,
    IReadOnlyList<TensorLine> Tensors,
    int Same,
    IReadOnlyList<string> OnlyFirst,
    IReadOnlyList<string> OnlySecond)
{
    /// <summary>The name and version of this object's form.</summary>
    public string Schema => "tensornets.compare/1";

    internal static Comparison Of(NetworkFile first, NetworkFile second, StateDifference found) => new(
        first.Path,
        second.Path,
        first.Bytes,
        second.Bytes,
        found.FirstParameters,
        found.SecondParameters,
        [.. found.Tensors.Where(IsOther).Select(tensor => new TensorLine(tensor.Name, tensor.Shape, tensor.RelativeError))],
        found.Tensors.Count(tensor => !IsOther(tensor)),
        found.OnlyFirst,
        found.OnlySecond);

    private static bool IsOther(TensorDifference tensor) => tensor.RelativeError != 0;
}

/// <summary>A tensor that two files have with other numbers.</summary>
/// <param name="Name">Its name in both.</param>
/// <param name="Shape">Its shape in the first.</param>
/// <param name="Error">‖A − B‖ / ‖A‖; null where shapes differ.</param>
internal sealed record TensorLine(string Name, IReadOnlyList<long> Shape, double Error);
