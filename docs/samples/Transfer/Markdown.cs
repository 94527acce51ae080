using System.Globalization;
using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>Rows of Markdown tables, and the columns of accuracy that all tables of cells share.</summary>
internal static class Markdown
{
    /// <summary>The heads of <see cref="Accuracies"/>.</summary>
    internal static IReadOnlyList<string> AccuracyHeads { get; } =
        ["seeds", "as it stands", "batch norm", "points to dense", "+ training", "points to dense"];

    /// <summary>A table.</summary>
    internal static string Table(IReadOnlyList<string> head, IEnumerable<IReadOnlyList<string>> rows) =>
        string.Join("\n", [Line(head), Line(head.Select(_ => "---")), .. rows.Select(Line)]);

    /// <summary>A number as all tables write it.</summary>
    internal static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    /// <summary>How many seeds, and the accuracies of one method: means over the seeds and standard deviations.</summary>
    internal static IReadOnlyList<string> Accuracies(IReadOnlyList<Cell> cells, IReadOnlyDictionary<int, Cell> dense)
    {
        string Percent(Func<Cell, double> value) => Spread([.. cells.Select(cell => 100 * value(cell))], "F1");
        string Loss(Func<Cell, double> value) =>
            Spread([.. cells.Select(cell => 100 * (value(cell) - dense[cell.Seed].Accuracy))], "+0.0;−0.0;0.0");
        return
        [
            $"{cells.Count}",
            Percent(cell => cell.Accuracy),
            Percent(cell => cell.Renormed),
            Loss(cell => cell.Renormed),
            Percent(cell => cell.Tuned),
            Loss(cell => cell.Tuned),
        ];
    }

    private static string Line(IEnumerable<string> columns) => $"| {string.Join(" | ", columns)} |";

    /// <summary>The mean, and with several values the standard deviation.</summary>
    internal static string Spread(IReadOnlyCollection<double> values, string format, string spread = "F1") =>
        Text(Statistics.Mean(values), format) + (values.Count > 1 ? $" ± {Text(Statistics.Deviation(values), spread)}" : "");
}
