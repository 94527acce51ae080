using System.Globalization;

namespace TensorNets.Tool.Files;

/// <summary>What a network is given where it has to be run.</summary>
/// <param name="Typed">Shapes of inputs as they are typed, between spaces: <c>1,3,224,224</c> of the first input, or
/// <c>NAME=1,3,224,224</c>.</param>
/// <param name="Data">A folder of inputs; empty: noise.</param>
/// <param name="Colours">How images in the folder become numbers.</param>
internal sealed record Inputs(string Typed, string Data, Colours Colours)
{
    /// <summary>Whether nothing is given.</summary>
    internal bool IsEmpty => Typed == "" && Data == "";

    /// <summary>The shapes by the names of inputs.</summary>
    internal IReadOnlyDictionary<string, long[]> Shapes(string first) =>
        Typed.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(text => Shape(text)!.Value)
            .GroupBy(pair => pair.Name == "" ? first : pair.Name).ToDictionary(group => group.Key, group => group.Last().Sizes);

    /// <summary>A shape with its name, which may be empty; null where the text is none.</summary>
    internal static (string Name, long[] Sizes)? Shape(string text)
    {
        var at = text.LastIndexOf('=');
        long Size(string part) => long.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var size) ? size : -1;
        var sizes = text[(at + 1)..].Split(',').Select(Size).ToArray();
        return sizes.All(size => size >= 0) && !text.Contains(' ') ? (at < 0 ? "" : text[..at], sizes) : null;
    }
}
