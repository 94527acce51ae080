using System.CommandLine.Parsing;
using System.Globalization;

namespace TensorNets.Tool.Commands;

/// <summary>One of several shares of the layers, counted from 1.</summary>
internal sealed record Share(int Index, int Count)
{
    /// <summary>Reads <c>2/8</c>.</summary>
    internal static Share? Parse(ArgumentResult result)
    {
        var text = result.Tokens[0].Value;
        int? Number(string part) => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;
        var numbers = text.Split('/').Select(Number).ToList();
        if (numbers is [{ } index and >= 1, { } count] && index <= count) return new(index, count);
        result.AddError($"--shard is '{text}'; expected i/n with i from 1 to n, as 2/8.");
        return null;
    }
}
