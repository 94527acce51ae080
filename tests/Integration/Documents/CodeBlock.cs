using System.Globalization;
using System.Text.RegularExpressions;

namespace TensorNets.Integration;

/// <summary>A fenced block of code in a document of this repository.</summary>
/// <param name="Document">The document's path in the repository.</param>
/// <param name="Line">The line of its fence.</param>
/// <param name="Language">What stands behind the fence.</param>
/// <param name="Text">The code.</param>
/// <param name="Printed">What the code prints, where a block of <c>text</c> follows with nothing between but one line.</param>
/// <param name="Excuse">Why it is not run: a comment <c>&lt;!-- not run: reason --&gt;</c> right above.</param>
/// <param name="Needs">A file that it reads, which the build fetches: a comment <c>&lt;!-- needs FILE: reason --&gt;</c> right above.</param>
internal sealed partial record CodeBlock(
    string Document, int Line, string Language, string Text, string? Printed, string? Excuse, string? Needs)
{
    /// <summary>A line that stands for any lines of what is printed.</summary>
    private const string Elision = "…";

    internal string Name => $"{Document}, line {Line}";

    internal bool IsCommands => Language is "bash" or "sh";

    /// <summary>The blocks of one document, in order.</summary>
    internal static List<CodeBlock> Of(string root, string document)
    {
        var lines = File.ReadAllLines(Path.Combine(root, document));
        var blocks = new List<CodeBlock>();
        var ends = new List<int>();

        for (var i = 0; i < lines.Length; i++)
        {
            if (!lines[i].StartsWith("```")) continue;
            var end = Array.IndexOf(lines, "```", i + 1);
            if (end < 0) throw new InvalidDataException($"{document}, line {i + 1}: a block that does not end");
            var text = string.Join("\n", lines[(i + 1)..end]);
            var block = new CodeBlock(document, i + 1, lines[i][3..].Trim(), text, null, Above(Excused(), lines, i), Above(Needing(), lines, i));
            var between = blocks.Count > 0 ? lines[(ends[^1] + 1)..i].Count(line => line.Trim().Length > 0) : int.MaxValue;
            if (block.Language == "text" && between <= 1) blocks[^1] = blocks[^1] with { Printed = block.Text };
            blocks.Add(block);
            ends.Add(end);
            i = end;
        }

        return blocks;
    }

    /// <summary>What differs between the printed text and the expected one, or null.</summary>
    /// <remarks>Numbers may differ by two per cent, since processors round differently. A line of an ellipsis stands for any
    /// lines.</remarks>
    internal static string? Difference(string expected, string printed)
    {
        if (expected.Split('\n').Any(line => line.Trim() == Elision))
        {
            var all = expected.Split('\n').Where(line => line.Trim() != Elision);
            return Shown(expected, printed) is { } shown
                ? Difference(string.Join("\n", all), shown)
                : $"the document says\n{expected}\nbut it prints\n{printed}";
        }

        static double Value(Match match) => double.Parse(match.Value.Replace(",", ""), CultureInfo.InvariantCulture);
        static IEnumerable<double> Numbers(string text) => Number().Matches(text).Select(Value);
        if (Words(expected) != Words(printed)) return $"the document says\n{expected}\nbut it prints\n{printed}";
        var pairs = Numbers(expected).Zip(Numbers(printed));
        var apart = pairs.Where(pair => Math.Abs(pair.First - pair.Second) > 0.02 * Math.Abs(pair.First)).ToList();
        return apart.Count == 0 ? null : $"the document says {apart[0].First}, it prints {apart[0].Second}, in\n{printed}";
    }

    private static string Words(string text) => Space().Replace(Number().Replace(text, "#"), " ").Trim();

    /// <summary>The printed lines that the expected text shows, where it leaves out some; null where one is missing.</summary>
    private static string? Shown(string expected, string printed)
    {
        static string[] Lines(string text) => [.. text.Split('\n').Where(line => line.Trim().Length > 0)];
        var left = new Queue<string>(Lines(printed));
        var shown = new List<string>();
        var isElided = false;

        foreach (var line in Lines(expected))
        {
            if (line.Trim() == Elision)
            {
                isElided = true;
                continue;
            }

            while (isElided && left.TryPeek(out var next) && Words(next) != Words(line)) left.Dequeue();
            if (!left.TryDequeue(out var found)) return null;
            shown.Add(found);
            isElided = false;
        }

        return isElided || left.Count == 0 ? string.Join("\n", shown) : null;
    }

    private static string? Above(Regex comment, string[] lines, int fence) =>
        fence > 0 && comment.Match(lines[fence - 1]) is { Success: true } match ? match.Groups[1].Value : null;

    [GeneratedRegex(@"^<!-- not run: (.+) -->$")]
    private static partial Regex Excused();

    [GeneratedRegex(@"^<!-- needs ([\w.-]+): .+ -->$")]
    private static partial Regex Needing();

    [GeneratedRegex(@"(?<![\w.])\d+(,\d{3})*(\.\d+)?(E[+-]\d+)?")]
    private static partial Regex Number();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Space();
}
