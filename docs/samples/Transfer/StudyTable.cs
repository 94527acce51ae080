using System.Globalization;
using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>The cells of a folder as a Markdown table: means over the seeds and standard deviations.</summary>
public static class StudyTable
{
    private static readonly IReadOnlyList<string> Head =
    [
        "3×3 layers", "formats", "ranks", "errors of", "parameters", "FLOPs", "seeds", "as it stands", "batch norm", "points to dense",
        "+ training", "points to dense",
    ];

    /// <summary>The table.</summary>
    public static string Of(IReadOnlyList<Cell> cells)
    {
        var dense = cells.Where(cell => cell.Method is null).ToDictionary(cell => cell.Seed);
        var groups = cells.Where(cell => dense.ContainsKey(cell.Seed)).GroupBy(cell => cell.Method)
            .OrderBy(group => group.Key?.Ratio ?? 0).ThenBy(group => group.Key?.Formats).ThenBy(group => group.Key?.Ranks)
            .ThenBy(group => group.Key?.Cost).ThenBy(group => group.Key?.Errors);
        return string.Join(
            "\n",
            [
                Line(Head),
                Line(Head.Select(_ => "---")),
                .. groups.Select(group => Line(Columns(group.Key, [.. group], dense))),
            ]);
    }

    private static IReadOnlyList<string> Columns(Method? method, IReadOnlyList<Cell> cells, Dictionary<int, Cell> dense)
    {
        string Percent(Func<Cell, double> value) => Spread([.. cells.Select(cell => 100 * value(cell))], "F1");
        string Loss(Func<Cell, double> value) =>
            Spread([.. cells.Select(cell => 100 * (value(cell) - dense[cell.Seed].Accuracy))], "+0.0;−0.0;0.0");
        string Share(Func<Cell, long> value) =>
            Text(100 * cells.Average(cell => (double)value(cell) / value(dense[cell.Seed])), "F1") + " %";
        return
        [
            Method.RatioOf(method),
            $"{method?.Formats}",
            method?.Ranks == Ranks.Planned ? $"planned, {method.Cost}" : $"{method?.Ranks}",
            $"{method?.Errors}",
            Share(cell => cell.Parameters),
            Share(cell => cell.Flops),
            $"{cells.Count}",
            Percent(cell => cell.Accuracy),
            Percent(cell => cell.Renormed),
            Loss(cell => cell.Renormed),
            Percent(cell => cell.Tuned),
            Loss(cell => cell.Tuned),
        ];
    }

    private static string Line(IEnumerable<string> columns) => $"| {string.Join(" | ", columns)} |";

    private static string Spread(IReadOnlyCollection<double> values, string format) =>
        Text(Statistics.Mean(values), format) + (values.Count > 1 ? $" ± {Text(Statistics.Deviation(values), "F1")}" : "");

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
