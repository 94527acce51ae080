using ScottPlot;
using TensorNets.Samples.Stability;
using static TensorNets.Samples.Stability.PlotStyle;

namespace TensorNets.Samples.Transfer;

/// <summary>The picture of the study of bytes: accuracy after training over how many times fewer bytes the 3×3 layers have.</summary>
public static class SizePicture
{
    private const int Width = 1400;
    private const int Height = 760;

    private static readonly IReadOnlyList<(string Color, MarkerShape Marker)> Styles =
    [
        (Vermilion, MarkerShape.FilledCircle), (Blue, MarkerShape.FilledTriangleUp), (Orange, MarkerShape.FilledSquare),
        (Green, MarkerShape.FilledDiamond), (Grey, MarkerShape.FilledTriangleDown), (SkyBlue, MarkerShape.OpenCircle),
        (Purple, MarkerShape.OpenSquare), (Black, MarkerShape.OpenTriangleUp), (Vermilion, MarkerShape.Eks),
    ];

    /// <summary>Writes the picture as PNG.</summary>
    public static void Save(IReadOnlyList<Cell> cells, string file)
    {
        var plot = new Plot();
        var groups = SizeTable.Groups(cells);
        var dense = groups.Single(group => group.Method is null).Cells;
        var level = plot.Add.HorizontalLine(100 * dense.Average(cell => cell.Accuracy), 2, Color.FromHex(Grey), LinePattern.Dashed);
        level.LegendText = "dense, float";
        var lines = groups.Where(group => group.Method is not null).GroupBy(group => SizeTable.NameOf(group.Method));
        foreach (var (line, (color, marker)) in lines.OrderBy(line => line.Key, StringComparer.Ordinal).Zip(Styles))
        {
            var points = line.OrderByDescending(group => group.Cells.Average(cell => cell.KernelBytes))
                .Select(group => (X: Math.Log2(SizeTable.Fewer(group.Cells, dense[0])), group.Cells)).ToList();
            double[] x = [.. points.Select(point => point.X)];
            double[] y = [.. points.Select(point => 100 * point.Cells.Average(cell => cell.Tuned))];
            var scatter = plot.Add.Scatter(x, y);
            scatter.LegendText = line.Key;
            scatter.Color = Color.FromHex(color);
            scatter.LineWidth = 3;
            scatter.MarkerShape = marker;
            scatter.MarkerSize = 13;
            var spread = plot.Add.ErrorBar(
                x, y, [.. points.Select(point => Statistics.Deviation([.. point.Cells.Select(cell => 100 * cell.Tuned)]))]);
            spread.Color = Color.FromHex(color);
            spread.LineWidth = 2;
        }

        double[] ticks = [4, 8, 16, 32, 64];
        plot.Axes.Bottom.SetTicks([.. ticks.Select(Math.Log2)], [.. ticks.Select(tick => $"{tick}×")]);
        ShareAccuracyAxis(plot);
        plot.ShowLegend(Edge.Right).Legend.FontSize = TickSize;
        Label(plot, "ResNet-18, its 3×3 layers in fewer bytes", "times fewer bytes", "% of the test images, after 60 steps");
        plot.SavePng(file, Width, Height);
    }
}
