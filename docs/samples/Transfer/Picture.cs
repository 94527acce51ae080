using System.Globalization;
using ScottPlot;
using static TensorNets.Samples.Stability.PlotStyle;

namespace TensorNets.Samples.Transfer;

/// <summary>The picture of the demonstration: accuracy and file over how many times smaller the network is.</summary>
public static class Picture
{
    private const int Width = 1800;
    private const int Height = 640;

    private static readonly IReadOnlyList<(string Name, string Color, MarkerShape Marker, Func<Cell, double> Value)> Lines =
    [
        ("as it stands", Vermilion, MarkerShape.FilledCircle, cell => cell.Accuracy),
        ("batch norm re-estimated", Blue, MarkerShape.FilledTriangleUp, cell => cell.Renormed),
    ];

    /// <summary>Writes the picture as PNG.</summary>
    public static void Save(IReadOnlyList<Cell> cells, string file)
    {
        var picture = new Multiplot();
        picture.AddPlots(2);
        picture.Layout = new ScottPlot.MultiplotLayouts.Grid(rows: 1, columns: 2);
        DrawAccuracy(picture.GetPlot(0), cells);
        DrawSizes(picture.GetPlot(1), cells);
        picture.SavePng(file, Width, Height);
    }

    private static void DrawAccuracy(Plot plot, IReadOnlyList<Cell> cells)
    {
        double[] places = Generate.Consecutive(cells.Count);
        foreach (var (name, color, marker, value) in Lines)
        {
            var line = plot.Add.Scatter(places, [.. cells.Select(cell => 100 * value(cell))]);
            line.LegendText = name;
            line.Color = Color.FromHex(color);
            line.LineWidth = 3;
            line.MarkerShape = marker;
            line.MarkerSize = 12;
        }

        var dense = plot.Add.HorizontalLine(100 * cells[0].Accuracy, 2, Color.FromHex(Grey), LinePattern.Dashed);
        dense.LegendText = "dense";
        ShareAccuracyAxis(plot);
        var legend = plot.ShowLegend(Alignment.LowerLeft);
        legend.FontSize = TickSize;
        Name(plot, cells, "Accuracy", "% of the test images");
    }

    private static void DrawSizes(Plot plot, IReadOnlyList<Cell> cells)
    {
        const double width = 0.38;
        (string Name, string Color, Func<Cell, double> Value)[] kinds =
            [("parameters", Blue, cell => cell.Parameters), ("multiplications and additions", Orange, cell => cell.Flops)];
        foreach (var (i, (name, color, value)) in kinds.Index())
        {
            var bars = plot.Add.Bars([.. cells.Select(cell => 100 * value(cell) / value(cells[0]))]);
            bars.LegendText = name;
            bars.Color = Color.FromHex(color);
            bars.ValueLabelStyle.FontSize = TickSize;
            foreach (var (at, bar) in bars.Bars.Index())
            {
                bar.Position = at + ((i - 0.5) * width);
                bar.Size = width;
                bar.LineWidth = 0;
                bar.Label = bar.Value.ToString("F0", CultureInfo.InvariantCulture);
            }
        }

        plot.Axes.Margins(bottom: 0, top: 0.2);
        plot.ShowLegend(Alignment.UpperRight).FontSize = TickSize;
        Name(plot, cells, "Size", "% of the dense network");
    }

    private static void Name(Plot plot, IReadOnlyList<Cell> cells, string title, string left)
    {
        plot.Axes.Bottom.SetTicks(Generate.Consecutive(cells.Count), [.. cells.Select(cell => Method.RatioOf(cell.Method))]);
        Label(plot, title, bottom: null, left);
    }
}
