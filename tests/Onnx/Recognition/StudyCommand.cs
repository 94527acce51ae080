using System.Runtime.CompilerServices;
using ScottPlot;

namespace TensorNets.Integration.OnnxFiles.Recognition;

/// <summary>The whole study: its results in data/ocr/recognition.json, its picture beside the page docs/recognition.md.</summary>
internal static class StudyCommand
{
    private static readonly double[] Ratios = [1.1, 1.2, 1.3, 1.5, 2, 3];

    internal static int Run(string[] args)
    {
        var count = args is [var text, ..] ? int.Parse(text) : 400;
        if (Study.Here(reason => Console.WriteLine($"Skipped: {reason}")) is not { } study) return 0;
        var result = study.Run(Ratios, calibration: 64, test: count, Console.WriteLine);
        ResultFile.Write("recognition.json", result);
        Draw(result, At("docs", "img", "recognition.png"));
        foreach (var line in result.Table()) Console.WriteLine(line);
        return 0;
    }

    /// <summary>The study of bits: its results in data/ocr/recognition-bits.json.</summary>
    internal static int RunBits(string[] args)
    {
        var count = args is [var text, ..] ? int.Parse(text) : 400;
        if (Study.Here(reason => Console.WriteLine($"Skipped: {reason}")) is not { } study) return 0;
        var result = study.RunBits([8, 6, 5, 4], ratio: 1.2, calibration: 64, test: count, Console.WriteLine);
        ResultFile.Write("recognition-bits.json", result);
        foreach (var line in result.Table()) Console.WriteLine(line);
        return 0;
    }

    internal static string At(params string[] parts) => Path.Combine([Root(), .. parts]);

    private static string Root([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", ".."));

    private static void Draw(StudyResult result, string path)
    {
        using var plot = new Plot();
        var dense = result.Rows[0];
        foreach (var (fitted, name, colour) in new[] { ("kernels", "fitted to kernels", "#D55E00"), ("data", "fitted to data", "#0072B2") })
        {
            var rows = result.Rows.Where(row => row.FittedTo == fitted).Prepend(dense).OrderBy(row => row.Parameters).ToList();
            var line = plot.Add.Scatter(
                rows.Select(row => 100.0 * row.Parameters / dense.Parameters).ToArray(), rows.Select(row => 100 * row.Accuracy).ToArray());
            (line.LegendText, line.Color, line.LineWidth, line.MarkerSize) = (name, Color.FromHex(colour), 3, 12);
        }

        plot.XLabel("parameters, % of the dense network", 22);
        plot.YLabel("characters read right, %", 22);
        (plot.Axes.Bottom.TickLabelStyle.FontSize, plot.Axes.Left.TickLabelStyle.FontSize) = (19, 19);
        plot.Axes.SetLimitsY(0, 102);
        plot.Legend.FontSize = 20;
        plot.ShowLegend(Alignment.LowerRight);
        plot.SavePng(path, 1000, 640);
    }
}
