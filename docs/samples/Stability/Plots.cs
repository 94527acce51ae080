using System.Globalization;
using ScottPlot;
using ScottPlot.MultiplotLayouts;
using static TensorNets.Samples.Stability.PlotStyle;

namespace TensorNets.Samples.Stability;

/// <summary>The picture of a run: accuracy against bits, accuracy against noise, and the loss in fine-tuning.</summary>
public static class Plots
{
    private const int Width = 1800;
    private const int Height = 700;

    /// <summary>Of so many rows, the panels have all but the last, which is the legend.</summary>
    private const int Rows = 9;

    /// <summary>Losses are drawn as the mean of so many steps, or single batches hide the difference.</summary>
    private const int Window = 10;

    /// <summary>The most that the picture shows of a loss: a little above that of a net that guesses.</summary>
    private const double LargestLossShown = 3;

    /// <summary>The dense layer, then the variants in their order.</summary>
    private static readonly IReadOnlyList<(string Color, LinePattern Line, MarkerShape Marker)> Styles =
    [
        (Grey, LinePattern.Dashed, MarkerShape.FilledDiamond),
        (Vermilion, LinePattern.Solid, MarkerShape.FilledCircle),
        (Orange, LinePattern.Solid, MarkerShape.FilledSquare),
        (Blue, LinePattern.Solid, MarkerShape.FilledTriangleUp),
        (Green, LinePattern.DenselyDashed, MarkerShape.FilledTriangleDown),
    ];

    /// <summary>Writes the picture as PNG.</summary>
    public static void Save(RunResult run, string file)
    {
        var variants = Statistics.ByVariant(run);
        var picture = new Multiplot();
        var layout = new CustomGrid();
        picture.AddPlots(4);
        picture.Layout = layout;
        for (var i = 0; i < 3; i++)
        {
            layout.Set(picture.GetPlot(i), new GridCell(0, i, Rows, 3, Rows - 1, 1));
        }

        layout.Set(picture.GetPlot(3), new GridCell(Rows - 1, 0, Rows, 1, 1, 1));
        DrawBits(picture.GetPlot(0), variants);
        DrawNoise(picture.GetPlot(1), variants);
        ShareAccuracyAxis(picture.GetPlot(0), picture.GetPlot(1));
        DrawLosses(picture.GetPlot(2), run, variants);
        DrawLegend(picture.GetPlot(3), run, variants);
        picture.SavePng(file, Width, Height);
    }

    private static void DrawBits(Plot plot, IReadOnlyList<IReadOnlyList<VariantResult>> variants)
    {
        // From many bits to few, so that in both panels the disturbance grows to the right.
        DrawReadings(plot, variants, variant => variant.ByBits, bits => -bits);
        plot.Axes.Bottom.SetTicks([.. Perturbation.Bits.Select(bits => -(double)bits)], [.. Perturbation.Bits.Select(bits => $"{bits}")]);
        Label(plot, "Cores rounded", "bits", "accuracy, %");
    }

    private static void DrawNoise(Plot plot, IReadOnlyList<IReadOnlyList<VariantResult>> variants)
    {
        DrawReadings(plot, variants, variant => variant.ByNoise, level => level);
        plot.Axes.Bottom.SetTicks([.. Perturbation.NoiseLevels], [.. Perturbation.NoiseLevels.Select(level => $"{100 * level:F0}")]);
        Label(plot, "Noise on the cores", "noise, % of each core's rms", "accuracy, %");
    }

    private static void DrawReadings(
        Plot plot,
        IReadOnlyList<IReadOnlyList<VariantResult>> variants,
        Func<VariantResult, IReadOnlyList<Reading>> readings,
        Func<double, double> position)
    {
        foreach (var (seeds, index) in variants.Select((seeds, index) => (seeds, index)))
        {
            // A variant that only its fine-tuning sets apart has the same readings as the one before it.
            if (index > 0 && readings(seeds[0]).SequenceEqual(readings(variants[index - 1][0])))
            {
                continue;
            }

            double[] settings = [.. readings(seeds[0]).Select(reading => reading.Setting)];
            double[] at = [.. settings.Select(position)];
            double[][] values = [.. settings.Select(setting => seeds.Select(seed => 100 * readings(seed).At(setting)).ToArray())];
            double[] means = [.. values.Select(Statistics.Mean)];
            Style(plot.Add.Scatter(at, means), index, markerSize: 12);
            if (seeds.Count > 1)
            {
                var bars = plot.Add.ErrorBar(at, means, [.. values.Select(Statistics.Deviation)]);
                bars.Color = Color.FromHex(Styles[index % Styles.Count].Color);
            }
        }

        plot.Axes.Margins(0.06, 0.06);
    }

    private static void DrawLosses(Plot plot, RunResult run, IReadOnlyList<IReadOnlyList<VariantResult>> variants)
    {
        foreach (var (seeds, index) in variants.Select((seeds, index) => (seeds, index)))
        {
            double[] losses = [.. Smooth(MeanLosses(seeds)).TakeWhile(loss => loss <= LargestLossShown)];
            if (losses.Length > 0)
            {
                Style(plot.Add.Scatter(Generate.Consecutive(losses.Length, 1, 1), losses), index, markerSize: 0);
            }
        }

        var rate = run.Options.LearningRates[0].ToString("G3", CultureInfo.InvariantCulture);
        Label(plot, $"Fine-tuning, learning rate {rate}", $"step (mean of {Window})", "loss");
        plot.Axes.Margins(0.03, 0.08);
    }

    private static double[] MeanLosses(IReadOnlyList<VariantResult> seeds)
    {
        var steps = seeds.Min(seed => seed.FineTunings[0].Training.Losses.Count);
        return [.. Enumerable.Range(0, steps).Select(step => seeds.Average(seed => seed.FineTunings[0].Training.Losses[step]))];
    }

    private static IEnumerable<double> Smooth(double[] losses) =>
        losses.Select((_, i) => losses[Math.Max(0, i + 1 - Window)..(i + 1)].Average());

    private static void DrawLegend(Plot plot, RunResult run, IReadOnlyList<IReadOnlyList<VariantResult>> variants)
    {
        plot.HideAxesAndGrid();
        LegendItem[] items = [.. variants.Select((seeds, index) => new LegendItem
        {
            LabelText = seeds[0].Name,
            LineColor = Color.FromHex(Styles[index % Styles.Count].Color),
            LinePattern = Styles[index % Styles.Count].Line,
            LineWidth = 3,
            MarkerShape = Styles[index % Styles.Count].Marker,
            MarkerSize = 12,
            MarkerColor = Color.FromHex(Styles[index % Styles.Count].Color),
        })];
        var legend = plot.ShowLegend(items, Alignment.UpperCenter);
        legend.Orientation = Orientation.Horizontal;
        legend.FontSize = LabelSize;
        legend.SymbolWidth = 50;
        legend.TightHorizontalWrapping = true;
        legend.OutlineWidth = 0;
        legend.ShadowColor = Colors.Transparent;
        legend.BackgroundColor = Colors.Transparent;
        var seeds = run.Seeds.Count == 1 ? $"seed {run.Seeds[0].Seed}" : $"mean of {run.Seeds.Count} seeds";
        var about = $"{run.Dataset}, {run.TestImages} test images, {run.Options.Format} in place of {run.Options.Path}, {seeds}";
        var text = plot.Add.Annotation(about, Alignment.LowerCenter);
        text.LabelFontSize = TickSize;
        text.LabelBackgroundColor = Colors.Transparent;
        text.LabelBorderColor = Colors.Transparent;
        text.LabelShadowColor = Colors.Transparent;
    }

    private static void Style(ScottPlot.Plottables.Scatter line, int index, float markerSize)
    {
        var (color, pattern, marker) = Styles[index % Styles.Count];
        line.Color = Color.FromHex(color);
        line.LinePattern = pattern;
        line.LineWidth = 3;
        line.MarkerShape = markerSize > 0 ? marker : MarkerShape.None;
        line.MarkerSize = markerSize;
    }
}
