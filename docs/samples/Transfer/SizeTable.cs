using System.Globalization;
using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>The cells of the study of bytes as a Markdown table: means over the seeds and standard deviations.</summary>
public static class SizeTable
{
    private static readonly IReadOnlyList<string> Head =
    [
        "3×3 layers", "bits", "MB", "times fewer bytes", "seeds", "as it stands", "batch norm", "points to dense", "+ training",
        "points to dense",
    ];

    /// <summary>The methods of cells whose bytes were measured, with their cells; the dense network first, then by their bytes.</summary>
    public static IReadOnlyList<(Method? Method, IReadOnlyList<Cell> Cells)> Groups(IEnumerable<Cell> cells) =>
    [
        .. cells.Where(cell => cell.KernelBytes > 0).GroupBy(cell => cell.Method)
            .OrderBy(group => group.Key is not null).ThenByDescending(group => group.Average(cell => cell.KernelBytes))
            .Select(group => (group.Key, (IReadOnlyList<Cell>)[.. group.OrderBy(cell => cell.Seed)])),
    ];

    /// <summary>The name of a method, without its size.</summary>
    public static string NameOf(Method? method) => method switch
    {
        null => "dense, float",
        { Ranks: Ranks.Uniform } => "dense",
        { Formats: Formats.Dense } => "dense, bits planned",
        { Cost: Cost.Bytes } => $"{method.Formats}, ranks and bits planned",
        _ => $"{method.Formats}, ranks planned, float",
    };

    /// <summary>The table.</summary>
    public static string Of(IReadOnlyList<Cell> cells)
    {
        var groups = Groups(cells);
        var dense = groups.Single(group => group.Method is null).Cells.ToDictionary(cell => cell.Seed);
        return string.Join(
            "\n",
            [
                Line(Head),
                Line(Head.Select(_ => "---")),
                .. groups.Select(group => Line(Columns(group.Method, [.. group.Cells.Where(cell => dense.ContainsKey(cell.Seed))], dense))),
            ]);
    }

    /// <summary>How many times fewer bytes than those of the dense network, the mean over the seeds.</summary>
    public static double Fewer(IEnumerable<Cell> cells, Cell dense) => dense.KernelBytes / cells.Average(cell => cell.KernelBytes);

    private static IReadOnlyList<string> Columns(Method? method, IReadOnlyList<Cell> cells, Dictionary<int, Cell> dense)
    {
        string Percent(Func<Cell, double> value) => Spread([.. cells.Select(cell => 100 * value(cell))], "F1");
        string Loss(Func<Cell, double> value) =>
            Spread([.. cells.Select(cell => 100 * (value(cell) - dense[cell.Seed].Accuracy))], "+0.0;−0.0;0.0");
        return
        [
            NameOf(method),
            BitsOf(cells),
            Text(cells.Average(cell => cell.KernelBytes) / 1e6, "F2"),
            Text(Fewer(cells, dense.Values.First()), "F1"),
            $"{cells.Count}",
            Percent(cell => cell.Accuracy),
            Percent(cell => cell.Renormed),
            Loss(cell => cell.Renormed),
            Percent(cell => cell.Tuned),
            Loss(cell => cell.Tuned),
        ];
    }

    private static string BitsOf(IReadOnlyList<Cell> cells)
    {
        var layers = cells.SelectMany(cell => cell.Layers);
        var bits = layers.Where(layer => layer.Bits > 0).Select(layer => layer.Bits).Distinct().Order().ToList();
        return bits.Count == 0 ? "32" : bits.Count == 1 ? $"{bits[0]}" : $"{bits[0]} to {bits[^1]}";
    }

    private static string Line(IEnumerable<string> columns) => $"| {string.Join(" | ", columns)} |";

    private static string Spread(IReadOnlyCollection<double> values, string format) =>
        Text(Statistics.Mean(values), format) + (values.Count > 1 ? $" ± {Text(Statistics.Deviation(values), "F1")}" : "");

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
