using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>The cells of the study of hypotheses as Markdown tables: means over the seeds and standard deviations.</summary>
public static class HypothesisTable
{
    /// <summary>In place of a number that is not there.</summary>
    internal const string None = "–";

    /// <summary>All tables, each under its title.</summary>
    public static string Of(IReadOnlyList<HypothesisCell> cells) =>
        string.Join("\n\n", Tables(cells).Select(table => $"**{table.Title}**\n\n{table.Text}"));

    /// <summary>The tables that cells have numbers for: of the main kind, then of the others.</summary>
    public static IReadOnlyList<(string Title, string Text)> Tables(IReadOnlyList<HypothesisCell> all)
    {
        var cells = HypothesisCells.Joined(all);
        return
        [
            .. TablesOf(HypothesisKind.Main.Cells(cells)),
            .. from kind in HypothesisKind.Of(cells)
               where kind != HypothesisKind.Main
               let own = kind.Cells(cells)
               from table in new[]
               {
                   ("the networks", Networks(own)),
                   ("a scale for each slice, batch norms re-estimated", Bits(own, "slice", reading => reading.Renormed)),
                   ("trained", Training(own)),
                   ("trained, then rounded with a scale for each slice", BitsAfter(own)),
                   ("differences in one seed", HypothesisDifferences.Of(own)),
                   ("changes of outputs, predicted and measured", Predictions(own)),
               }
               select ($"{kind.Name}: {table.Item1}", table.Item2),
            ("The largest rate without divergence", HypothesisRates.Of(cells)),
        ];
    }

    private static IReadOnlyList<(string Title, string Text)> TablesOf(IReadOnlyList<HypothesisCell> cells)
    {
        var main = cells.Where(cell => cell.Settings.IsMain).ToList();
        var others = from cell in cells
                     where !cell.Settings.IsMain
                     group cell by HypothesisTraining.Of(cell.Settings) into alike
                     orderby alike.Key.Stepper, alike.Key.Frozen, alike.Key.Steps
                     select ($"Trained{alike.Key.Beside(StepsOf(main))}", Training([.. alike]));
        return
        [
            ("In short", HypothesisSummary.Of(main)),
            ("The networks", Networks(main)),
            ("A scale for each core, as it stands", Bits(main, "core", reading => reading.Accuracy)),
            ("A scale for each slice, as it stands", Bits(main, "slice", reading => reading.Accuracy)),
            ("A scale for each slice, batch norms re-estimated", Bits(main, "slice", reading => reading.Renormed)),
            ("Trained", Training(main)),
            ("Trained, then rounded with a scale for each slice", BitsAfter(main)),
            ("Differences in one seed", HypothesisDifferences.Of(main)),
            ("Changes of outputs, predicted and measured", Predictions(main)),
            .. others,
            ("Trained, each at its best rate", HypothesisDifferences.OfBest(main)),
        ];
    }

    /// <summary>The steps of training of those cells that all is measured of; null: there are none.</summary>
    internal static int? StepsOf(IEnumerable<HypothesisCell> cells) =>
        cells.FirstOrDefault(cell => cell.Settings.IsMain)?.Settings.Run.TuneSteps;

    /// <summary>A rate as tables and pictures write it.</summary>
    public static string TextOf(double rate) => Markdown.Text(rate, "0.######");

    /// <summary>Cells by their parametrization, by seed in each.</summary>
    public static IReadOnlyList<(Parametrization Key, IReadOnlyList<HypothesisCell> Cells)> Groups(IEnumerable<HypothesisCell> cells) =>
    [
        .. cells.GroupBy(cell => cell.Parametrization).OrderBy(group => group.Key)
            .Select(group => (group.Key, (IReadOnlyList<HypothesisCell>)[.. group.OrderBy(cell => cell.Seed)])),
    ];

    /// <summary>Those with numbers before training.</summary>
    public static IReadOnlyList<(Parametrization Key, IReadOnlyList<HypothesisCell> Cells)> Untrained(
        IEnumerable<HypothesisCell> cells) =>
        Groups(cells.Where(cell => cell.Rounded.Count > 0));

    /// <summary>The name of a parametrization.</summary>
    public static string NameOf(Parametrization parametrization) => parametrization switch
    {
        Parametrization.Dense => "dense",
        Parametrization.Balanced => "balanced",
        Parametrization.Corrected => "corrected",
        Parametrization.Random => "least squares from noise",
        Parametrization.UnitColumns => "the same, unit columns",
        Parametrization.ToldBits => "told 4 bits",
        Parametrization.Penalty => "corrected, penalty",
        _ => "least squares from SVD",
    };

    /// <summary>The readings of networks at some bits; none where not all were rounded to these.</summary>
    public static IReadOnlyList<RoundedReading> At(IReadOnlyList<HypothesisCell> cells, int bits, string scales)
    {
        IReadOnlyList<RoundedReading> found =
            [.. cells.SelectMany(cell => cell.Rounded.Where(reading => reading.Bits == bits && (bits == 32 || reading.Scales == scales)))];
        return found.Count == cells.Count ? found : [];
    }

    /// <summary>The bits of cells that are rounded, most first, 32 for floats before them.</summary>
    public static IReadOnlyList<int> BitsOf(IEnumerable<HypothesisCell> cells) =>
        [.. cells.SelectMany(cell => cell.Rounded).Select(reading => reading.Bits).Distinct().OrderDescending()];

    /// <summary>The rates that cells are trained at; of dense ones, which stand beside all formats, those of the others alone.</summary>
    public static IReadOnlyList<double> RatesOf(IReadOnlyList<HypothesisCell> cells)
    {
        var factorized = cells.Where(cell => cell.Parametrization != Parametrization.Dense).ToList();
        return [.. (factorized.Count > 0 ? factorized : cells).SelectMany(cell => cell.Rates).Select(reading => reading.Rate).Distinct().Order()];
    }

    /// <summary>Shares in %, their mean and standard deviation.</summary>
    internal static string Percent(IEnumerable<double> values) =>
        values.Select(value => 100 * value).ToList() is { Count: > 0 } all ? Markdown.Spread(all, "F1") : None;

    private static string Networks(IReadOnlyList<HypothesisCell> cells)
    {
        var bits = BitsOf(cells);
        return Markdown.Table(
            [
                "3×3 kernels", "seeds", "kernel error", "relative S, mean", "S, sum",
                .. bits.Select(bits => bits == 32 ? "MB, float" : $"{bits} bits"),
            ],
            Untrained(cells).Select(group => (IReadOnlyList<string>)
            [
                NameOf(group.Key),
                $"{group.Cells.Count}",
                Markdown.Spread([.. group.Cells.Select(cell => cell.Layers.Average(layer => layer.Error))], "F4", "F4"),
                Markdown.Spread([.. group.Cells.Select(cell => cell.RelativeSensitivity)], "N0", "N0"),
                Markdown.Spread([.. group.Cells.Select(cell => cell.Layers.Sum(layer => layer.Sensitivity))], "N0", "N0"),
                .. bits.Select(bits => At(group.Cells, bits, "slice") is { Count: > 0 } all ? Markdown.Text(all.Average(one => one.Bytes) / 1e6, "F2") : None),
            ]));
    }

    private static string Bits(IReadOnlyList<HypothesisCell> cells, string scales, Func<RoundedReading, double> value)
    {
        var bits = BitsOf(cells);
        return Markdown.Table(
            ["3×3 kernels", "seeds", .. bits.Select(bits => bits == 32 ? "float" : $"{bits} bits")],
            Untrained(cells).Select(group => (IReadOnlyList<string>)
            [
                NameOf(group.Key),
                $"{group.Cells.Count}",
                .. bits.Select(bits => Percent(At(group.Cells, bits, scales).Select(value))),
            ]));
    }

    private static string Training(IReadOnlyList<HypothesisCell> cells)
    {
        var rates = RatesOf(cells);
        return Markdown.Table(
            [
                "3×3 kernels", "seeds",
                .. rates.Select(rate => $"loss at {TextOf(rate)}"), .. rates.Select(rate => $"% at {TextOf(rate)}"),
            ],
            Groups(cells).Select(group => (IReadOnlyList<string>)
            [
                NameOf(group.Key),
                $"{group.Cells.Count}",
                .. rates.Select(rate => OfStable(group.Cells, rate, reading => reading.Loss, "F3", true)),
                .. rates.Select(rate => OfStable(group.Cells, rate, reading => 100 * reading.Accuracy, "F1", false)),
            ]));
    }

    /// <summary>Of the trainings that did not diverge; where some did, how many.</summary>
    internal static string OfStable(
        IEnumerable<HypothesisCell> cells, double rate, Func<RateReading, double> value, string format, bool names)
    {
        var all = cells.SelectMany(cell => cell.Rates.Where(reading => reading.Rate == rate)).ToList();
        var stable = all.Where(reading => !reading.Diverged).Select(value).ToList();
        var diverged = all.Count - stable.Count;
        var spread = stable.Count > 0 ? Markdown.Spread(stable, format, format) : None;
        return diverged > 0 && names ? $"{spread} ({diverged} diverged)" : spread;
    }

    private static string BitsAfter(IReadOnlyList<HypothesisCell> cells)
    {
        var bits = cells.SelectMany(cell => cell.Rates).SelectMany(reading => reading.Rounded).Select(reading => reading.Setting)
            .Distinct().OrderDescending().ToList();
        var groups = Groups(cells).Select(group => (group.Key, Rates: group.Cells.SelectMany(cell => cell.Rates)
            .Where(reading => reading.Rounded.Count > 0).ToList())).Where(group => group.Rates.Count > 0);
        return Markdown.Table(
            ["3×3 kernels", "seeds", "S, sum", "float", .. bits.Select(bits => $"{bits} bits")],
            groups.Select(group => (IReadOnlyList<string>)
            [
                NameOf(group.Key),
                $"{group.Rates.Count}",
                Markdown.Spread([.. group.Rates.Select(reading => reading.Sensitivity)], "N0", "N0"),
                Percent(group.Rates.Select(reading => reading.Accuracy)),
                .. bits.Select(bits => Percent(After(group.Rates, bits))),
            ]));
    }

    /// <summary>Accuracies of trained networks at some bits; none where not all were rounded to these.</summary>
    private static IReadOnlyList<double> After(IReadOnlyList<RateReading> rates, double bits) =>
        rates.All(reading => reading.Rounded.Any(one => one.Setting == bits)) ? [.. rates.Select(reading => reading.Rounded.At(bits))] : [];

    private static string Predictions(IReadOnlyList<HypothesisCell> cells)
    {
        var rows = from key in Groups(cells).Select(one => (Parametrization?)one.Key).Append(null)
                   from bits in cells.SelectMany(cell => cell.Predictions).Select(one => (int?)one.Bits).Distinct()
                       .OrderDescending().Concat(key is null ? [null] : [])
                   let all = cells.Where(cell => key is null || cell.Parametrization == key)
                       .SelectMany(cell => cell.Predictions).Where(one => bits is null || one.Bits == bits).ToList()
                   where all.Count > 0
                   select (IReadOnlyList<string>)
                   [
                       key is { } known ? NameOf(known) : "all",
                       bits is null ? "all" : $"{bits}",
                       $"{all.Count}",
                       Markdown.Text(LogCorrelation(all, one => one.Plain), "F2"),
                       Markdown.Text(MedianRatio(all, one => one.Plain), "F2"),
                       Markdown.Text(LogCorrelation(all, one => one.Weighted), "F2"),
                       Markdown.Text(MedianRatio(all, one => one.Weighted), "F2"),
                   ];
        return Markdown.Table(
            [
                "3×3 kernels", "bits", "layers", "correlation, plain S", "measured / predicted", "correlation, S of the inputs",
                "measured / predicted",
            ],
            rows);
    }

    /// <summary>The correlation of the logarithms of what is predicted and measured.</summary>
    public static double LogCorrelation(IReadOnlyList<Prediction> all, Func<Prediction, double> predicted)
    {
        double[] x = [.. all.Select(one => Math.Log(predicted(one)))];
        double[] y = [.. all.Select(one => Math.Log(one.Measured))];
        var (meanX, meanY) = (x.Average(), y.Average());
        var product = x.Zip(y).Sum(pair => (pair.First - meanX) * (pair.Second - meanY));
        return product / Math.Sqrt(x.Sum(value => (value - meanX) * (value - meanX)) * y.Sum(value => (value - meanY) * (value - meanY)));
    }

    private static double MedianRatio(IReadOnlyList<Prediction> all, Func<Prediction, double> predicted)
    {
        double[] ratios = [.. all.Select(one => one.Measured / predicted(one)).Order()];
        return (ratios[(ratios.Length - 1) / 2] + ratios[ratios.Length / 2]) / 2;
    }
}
