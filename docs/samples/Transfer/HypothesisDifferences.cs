namespace TensorNets.Samples.Transfer;

/// <summary>What parametrizations differ by in the same seed, means over the seeds and standard deviations.</summary>
internal static class HypothesisDifferences
{
    private const string Points = "+0.0;−0.0;0.0";
    private const string Losses = "+0.000;−0.000;0.000";

    /// <summary>A quantity, as a difference is written, and its value in a cell; NaN: it has none.</summary>
    private sealed record Measure(string Name, string Format, string Spread, Func<HypothesisCell, double> Of);

    private static readonly IReadOnlyList<Measure> Measures =
    [
        OfRounded("points, float, batch norm", 32, "none", reading => reading.Renormed),
        OfRounded("points, core, 6 bits", 6, "core", reading => reading.Accuracy),
        OfRounded("points, core, 5 bits", 5, "core", reading => reading.Accuracy),
        OfRounded("points, slice, 4 bits", 4, "slice", reading => reading.Renormed),
        OfRounded("points, slice, 3 bits", 3, "slice", reading => reading.Renormed),
        OfRate("loss at .01", Losses, "F3", .01, reading => reading.Loss),
        OfRate("points at .01", Points, "F1", .01, reading => 100 * reading.Accuracy),
        OfRate("loss at .03", Losses, "F3", .03, reading => reading.Loss),
        OfRate("points at .03", Points, "F1", .03, reading => 100 * reading.Accuracy),
    ];

    /// <summary>The table: a row for each parametrization and each of the two that others are held against.</summary>
    internal static string Of(IReadOnlyList<HypothesisCell> cells)
    {
        var rows = from other in new[] { Parametrization.Balanced, Parametrization.Dense }
                   from key in HypothesisTable.Groups(cells).Select(one => one.Key)
                   where key != other
                   select Row(cells, key, other);
        return Markdown.Table(["3×3 kernels", "less", .. Measures.Select(measure => measure.Name)], rows);
    }

    /// <summary>Each network at its own best rates, those of least loss and of most accuracy.</summary>
    internal static string OfBest(IReadOnlyList<HypothesisCell> cells)
    {
        var best = cells
            .Select(cell => (Key: (cell.Parametrization, cell.Seed), Rates: cell.Rates.Where(one => !one.Diverged).ToList()))
            .Where(one => one.Rates.Count > 0)
            .ToDictionary(one => one.Key, one => (
                Loss: one.Rates.Min(rate => rate.Loss), Accuracy: 100 * one.Rates.Max(rate => rate.Accuracy)));
        var rows = from key in best.Keys.Select(key => key.Parametrization).Distinct().Order()
                   let seeds = best.Keys.Where(one => one.Parametrization == key).Select(one => one.Seed).ToList()
                   let both = seeds.Where(seed => best.ContainsKey((Parametrization.Balanced, seed))).ToList()
                   where both.Count > 0
                   select (IReadOnlyList<string>)
                   [
                       HypothesisTable.NameOf(key),
                       $"{seeds.Count}",
                       Markdown.Spread([.. seeds.Select(seed => best[(key, seed)].Loss)], "F3", "F3"),
                       Less(both, seed => best[(key, seed)].Loss - best[(Parametrization.Balanced, seed)].Loss, Losses, "F3"),
                       Markdown.Spread([.. seeds.Select(seed => best[(key, seed)].Accuracy)], "F1"),
                       Less(both, seed => best[(key, seed)].Accuracy - best[(Parametrization.Balanced, seed)].Accuracy, Points, "F1"),
                   ];
        return Markdown.Table(["3×3 kernels", "seeds", "loss", "less balanced", "%", "less balanced"], rows);

        string Less(IEnumerable<int> seeds, Func<int, double> difference, string format, string spread) =>
            Markdown.Spread([.. seeds.Select(difference)], format, spread);
    }

    private static IReadOnlyList<string> Row(IReadOnlyList<HypothesisCell> cells, Parametrization key, Parametrization other)
    {
        var others = cells.Where(cell => cell.Parametrization == other).ToDictionary(cell => cell.Seed);
        var pairs = cells.Where(cell => cell.Parametrization == key && others.ContainsKey(cell.Seed))
            .Select(cell => (One: cell, Two: others[cell.Seed])).ToList();
        return [HypothesisTable.NameOf(key), HypothesisTable.NameOf(other), .. Measures.Select(Text)];

        string Text(Measure measure)
        {
            double[] differences = [.. pairs.Select(pair => measure.Of(pair.One) - measure.Of(pair.Two)).Where(double.IsFinite)];
            return differences.Length == 0 ? "" : Markdown.Spread(differences, measure.Format, measure.Spread);
        }
    }

    private static Measure OfRounded(string name, int bits, string scales, Func<RoundedReading, double> value) => new(
        name,
        Points,
        "F1",
        cell => 100 * FirstOf(cell.Rounded.Where(one => one.Bits == bits && one.Scales == scales).Select(value)));

    private static Measure OfRate(string name, string format, string spread, double rate, Func<RateReading, double> value) => new(
        name, format, spread, cell => FirstOf(cell.Rates.Where(one => one.Rate == rate && !one.Diverged).Select(value)));

    private static double FirstOf(IEnumerable<double> values) => values.DefaultIfEmpty(double.NaN).First();
}
