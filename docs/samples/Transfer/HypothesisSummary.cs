namespace TensorNets.Samples.Transfer;

/// <summary>What the study of hypotheses comes to, in the few rows and columns that differ by more than their spreads.</summary>
internal static class HypothesisSummary
{
    private static readonly IReadOnlyList<(Parametrization Key, string Name)> Rows =
    [
        (Parametrization.Svd, "as least squares leave them, from SVD"),
        (Parametrization.Balanced, "from noise, balanced"),
        (Parametrization.Corrected, "the same, corrected"),
    ];

    private static readonly IReadOnlyList<int> Bits = [4, 3];

    private static readonly IReadOnlyList<double> Rates = [.003, .01, .03];

    /// <summary>The table of joined cells of the main kind: S of all layers together, accuracy at few bits (a scale for each slice, batch
    /// norms re-estimated) and after training.</summary>
    internal static string Of(IReadOnlyList<HypothesisCell> cells)
    {
        var groups = HypothesisTable.Untrained(cells).ToDictionary(group => group.Key, group => group.Cells);
        return Markdown.Table(
            [
                "cores", "sum of S", .. Bits.Select(bits => $"{bits} bits"),
                .. Rates.Select(rate => $"trained at {HypothesisTable.TextOf(rate)}"),
            ],
            from row in Rows
            where groups.ContainsKey(row.Key)
            let own = groups[row.Key]
            select (IReadOnlyList<string>)
            [
                row.Name,
                $"{Markdown.Text(own.Average(cell => cell.Layers.Sum(layer => layer.Sensitivity)) / 1e6, "F1")} million",
                .. Bits.Select(bits => HypothesisTable.Percent(
                    HypothesisTable.At(own, bits, "slice").Select(reading => reading.Renormed))),
                .. Rates.Select(rate => HypothesisTable.OfStable(own, rate, reading => 100 * reading.Accuracy, "F1", true)),
            ]);
    }
}
