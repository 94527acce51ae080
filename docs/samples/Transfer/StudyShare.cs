using System.CommandLine.Parsing;
using System.Globalization;

namespace TensorNets.Samples.Transfer;

/// <summary>One of several shares of a study's cells, counted from 1.</summary>
public sealed record StudyShare(int Index, int Count)
{
    /// <summary>Reads <c>2/8</c>.</summary>
    public static StudyShare? Parse(ArgumentResult result)
    {
        var text = result.Tokens[0].Value;
        int? Number(string part) => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;
        if (text.Split('/').Select(Number).ToList() is [{ } index and >= 1, { } count] && index <= count) return new(index, count);
        result.AddError($"--shard is '{text}'; expected i/n with i from 1 to n, as 2/8.");
        return null;
    }

    /// <summary>Its share of cells, every n-th: the same deal on every worker.</summary>
    public IReadOnlyList<T> Of<T>(IReadOnlyList<T> cells) => [.. cells.Where((_, at) => at % Count == Index - 1)];
}
