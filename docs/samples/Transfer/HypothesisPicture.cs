using ScottPlot;
using ScottPlot.MultiplotLayouts;
using ScottPlot.Plottables;
using TensorNets.Samples.Stability;
using static TensorNets.Samples.Stability.PlotStyle;

namespace TensorNets.Samples.Transfer;

/// <summary>The picture of the study of hypotheses: accuracy over bits, loss and accuracy over rates, predictions over measurements.</summary>
public static class HypothesisPicture
{
    private const int Width = 2100;
    private const int Height = 1300;
    private const float MarkerSize = 11;

    /// <summary>Where floats stand, beside the bits.</summary>
    private const int FloatAt = 10;

    private static readonly IReadOnlyList<(string Color, MarkerShape Marker)> Styles =
    [
        (Grey, MarkerShape.FilledDiamond), (Blue, MarkerShape.FilledTriangleUp), (Green, MarkerShape.FilledSquare),
        (Vermilion, MarkerShape.FilledCircle), (Orange, MarkerShape.FilledTriangleDown), (Purple, MarkerShape.Cross),
        (SkyBlue, MarkerShape.OpenSquare), (Black, MarkerShape.OpenCircle),
    ];

    /// <summary>Writes the picture of joined cells as PNG.</summary>
    public static void Save(IReadOnlyList<HypothesisCell> all, string file)
    {
        IReadOnlyList<HypothesisCell> cells = [.. all.Where(cell => cell.Settings.IsMain)];
        var picture = new Multiplot();
        picture.AddPlots(6);
        picture.Layout = new Grid(rows: 2, columns: 3);
        DrawBits(picture.GetPlot(0), cells, "core", "One scale for each core", reading => reading.Accuracy);
        DrawBits(picture.GetPlot(1), cells, "slice", "One scale for each slice, batch norm", reading => reading.Renormed);
        DrawPredictions(picture.GetPlot(2), cells);
        DrawRates(picture.GetPlot(3), cells, "Loss of the last steps", "loss", reading => reading.Loss);
        DrawRates(picture.GetPlot(4), cells, "Accuracy after training", "% of the test images", reading => 100 * reading.Accuracy);
        DrawLegend(picture.GetPlot(5), cells);
        picture.SavePng(file, Width, Height);
    }

    private static void DrawBits(
        Plot plot, IReadOnlyList<HypothesisCell> cells, string scales, string title, Func<RoundedReading, double> value)
    {
        var bits = HypothesisTable.BitsOf(cells);
        double At(int bits) => -Math.Min(bits, FloatAt);
        foreach (var (key, group) in HypothesisTable.Untrained(cells))
        {
            var readings = bits.Select(bits => (X: At(bits), Values: (IReadOnlyList<double>)
                [.. HypothesisTable.At(group, bits, scales).Select(reading => 100 * value(reading))]));
            Line(plot, key, [.. readings.Where(reading => reading.Values.Count > 0)]);
        }

        plot.Axes.Bottom.SetTicks([.. bits.Select(At)], [.. bits.Select(bits => bits == 32 ? "float" : $"{bits}")]);
        Label(plot, title, "bits", "% of the test images");
        plot.Axes.AutoScale();
    }

    private static void DrawRates(
        Plot plot, IReadOnlyList<HypothesisCell> cells, string title, string left, Func<RateReading, double> value)
    {
        var rates = HypothesisTable.RatesOf(cells);
        foreach (var (key, group) in HypothesisTable.Groups(cells))
        {
            // A line ends where a seed diverges: the mean of the others would flatter.
            var stable = group.SelectMany(cell => cell.Rates).GroupBy(one => one.Rate)
                .Where(all => rates.Contains(all.Key) && all.All(one => !one.Diverged));
            var readings = stable.OrderBy(all => all.Key)
                .Select(all => (Math.Log10(all.Key), (IReadOnlyList<double>)[.. all.Select(value)]));
            Line(plot, key, [.. readings]);
        }

        plot.Axes.Bottom.SetTicks([.. rates.Select(Math.Log10)], [.. rates.Select(rate => HypothesisTable.TextOf(rate))]);
        Label(plot, title, "rate", left);
        plot.Axes.AutoScale();
    }

    private static void DrawPredictions(Plot plot, IReadOnlyList<HypothesisCell> cells)
    {
        foreach (var (key, group) in HypothesisTable.Untrained(cells))
        {
            var all = group.SelectMany(cell => cell.Predictions).ToList();
            var points = plot.Add.ScatterPoints(
                all.Select(one => Math.Log10(one.Weighted)).ToArray(), all.Select(one => Math.Log10(one.Measured)).ToArray());
            Style(points, key);
            points.LineWidth = 0;
            points.MarkerSize = 7;
        }

        double[] ends = [.. cells.SelectMany(cell => cell.Predictions).Select(one => Math.Log10(one.Measured)).Order()];
        if (ends.Length > 0)
        {
            var same = plot.Add.Line(ends[0], ends[0], ends[^1], ends[^1]);
            same.LineColor = Color.FromHex(Grey);
            same.LinePattern = LinePattern.Dashed;
        }

        double[] ticks = [.001, .003, .01, .03, .1, .3, 1];
        plot.Axes.Bottom.SetTicks([.. ticks.Select(Math.Log10)], [.. ticks.Select(tick => Markdown.Text(tick, "G3"))]);
        plot.Axes.Left.SetTicks([.. ticks.Select(Math.Log10)], [.. ticks.Select(tick => Markdown.Text(tick, "G3"))]);
        Label(plot, "Change of a layer's output by rounding", "predicted by S of the inputs", "measured");
        plot.Axes.AutoScale();
    }

    private static void DrawLegend(Plot plot, IReadOnlyList<HypothesisCell> cells)
    {
        plot.HideAxesAndGrid();
        LegendItem[] items = [.. HypothesisTable.Groups(cells).Select(group => new LegendItem
        {
            LabelText = HypothesisTable.NameOf(group.Key),
            LineColor = Color.FromHex(Styles[(int)group.Key].Color),
            LineWidth = 3,
            MarkerShape = Styles[(int)group.Key].Marker,
            MarkerSize = MarkerSize,
            MarkerColor = Color.FromHex(Styles[(int)group.Key].Color),
        })];
        var legend = plot.ShowLegend(items, Alignment.MiddleCenter);
        legend.FontSize = LabelSize;
        legend.OutlineWidth = 0;
        legend.ShadowColor = Colors.Transparent;
    }

    private static void Line(Plot plot, Parametrization key, IReadOnlyList<(double X, IReadOnlyList<double> Values)> readings)
    {
        double[] x = [.. readings.Select(reading => reading.X)];
        double[] y = [.. readings.Select(reading => reading.Values.Average())];
        var line = plot.Add.Scatter(x, y);
        Style(line, key);
        if (readings.Any(reading => reading.Values.Count > 1))
        {
            var spread = plot.Add.ErrorBar(x, y, [.. readings.Select(reading => Statistics.Deviation([.. reading.Values]))]);
            spread.Color = Color.FromHex(Styles[(int)key].Color);
        }
    }

    private static void Style(Scatter line, Parametrization key)
    {
        line.Color = Color.FromHex(Styles[(int)key].Color);
        line.LineWidth = 3;
        line.MarkerShape = Styles[(int)key].Marker;
        line.MarkerSize = MarkerSize;
    }
}
