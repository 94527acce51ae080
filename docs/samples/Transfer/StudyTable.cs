namespace TensorNets.Samples.Transfer;

/// <summary>The cells of a folder as a Markdown table: means over the seeds and standard deviations.</summary>
public static class StudyTable
{
    private static readonly IReadOnlyList<string> Head =
    [
        "3×3 layers", "formats", "ranks", "errors of", "parameters", "FLOPs", .. Markdown.AccuracyHeads,
    ];

    /// <summary>The table.</summary>
    public static string Of(IReadOnlyList<Cell> cells)
    {
        var dense = cells.Where(cell => cell.Method is null).ToDictionary(cell => cell.Seed);
        var groups = cells.Where(cell => dense.ContainsKey(cell.Seed)).GroupBy(cell => cell.Method)
            .OrderBy(group => group.Key?.Ratio ?? 0).ThenBy(group => group.Key?.Formats).ThenBy(group => group.Key?.Ranks)
            .ThenBy(group => group.Key?.Cost).ThenBy(group => group.Key?.Errors);
        return Markdown.Table(Head, groups.Select(group => Columns(group.Key, [.. group], dense)));
    }

    private static IReadOnlyList<string> Columns(Method? method, IReadOnlyList<Cell> cells, Dictionary<int, Cell> dense)
    {
        string Share(Func<Cell, long> value) =>
            Markdown.Text(100 * cells.Average(cell => (double)value(cell) / value(dense[cell.Seed])), "F1") + " %";
        return
        [
            Method.RatioOf(method),
            $"{method?.Formats}",
            method?.Ranks == Ranks.Planned ? $"planned, {method.Cost}" : $"{method?.Ranks}",
            $"{method?.Errors}",
            Share(cell => cell.Parameters),
            Share(cell => cell.Flops),
            .. Markdown.Accuracies(cells, dense),
        ];
    }
}
