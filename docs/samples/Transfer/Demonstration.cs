using Spectre.Console;
using TensorNets.CSharp;
using TensorNets.Samples.Stability;
using static TorchSharp.torch;

namespace TensorNets.Samples.Transfer;

/// <summary>The network compressed by plans at a few ratios: what it costs, what it recognizes, and its files.</summary>
public static class Demonstration
{
    /// <summary>The methods: plans with as many parameters as the uniform network, errors of the outputs on calibration images.</summary>
    public static IReadOnlyList<Method> Methods(IEnumerable<double> ratios, Formats formats) =>
        [.. ratios.Select(ratio => new Method(Ranks.Planned, formats, Cost.Parameters, Errors.Calibrated, ratio))];

    /// <summary>Runs it.</summary>
    public static void Run(IAnsiConsole console, Settings settings, int seed, IReadOnlyList<Method> methods)
    {
        using var images = new Images(settings);
        console.WriteLine(
            $"ResNet-18, trained on ImageNet, brought to {images.Name}: {images.Train.Count} training images, accuracy in % of "
            + $"{images.Test.Count} test images");
        var cells = LiveProgress.Run(console, progress =>
            new Study(settings, images, _ => { }, progress, keepFiles: true).Run([seed], methods));
        foreach (var cell in cells.Where(cell => cell.Method is not null))
        {
            WriteLayers(console, cell);
        }

        console.Write(DemonstrationTable.Of(cells));
        console.WriteLine();
        foreach (var method in methods)
        {
            ReadBack(console, new Network(settings, images), Study.FileOf(settings.Output, seed, method));
        }

        var picture = Path.Combine(settings.Output, "transfer.png");
        Picture.Save(cells, picture);
        console.WriteLine($"Picture: {picture}");
        console.WriteLine($"Numbers, reports and plans: {settings.Output}/seed{seed}-*");
        Cells.Collect(Path.Combine(settings.Output, "transfer.jsonl"), cells);
    }

    private static void WriteLayers(IAnsiConsole console, Cell cell)
    {
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns(Method.RatioOf(cell.Method), "format", "parameters", "kernel error", "S");
        foreach (var layer in cell.Layers)
        {
            table.AddRow(
                layer.Path,
                layer.Format,
                FormattableString.Invariant($"{layer.Parameters:N0}"),
                FormattableString.Invariant($"{layer.Error:F3}"),
                FormattableString.Invariant($"{layer.Sensitivity:G3}"));
        }

        console.Write(table);
    }

    /// <summary>A file put into a network that has never been trained.</summary>
    private static void ReadBack(IAnsiConsole console, Network work, string file)
    {
        using var scope = NewDisposeScope();
        using var fresh = TrainedResNet.Untrained(ImageSet.Classes);
        Model.LoadCompressed(fresh, file);
        console.WriteLine(FormattableString.Invariant($"{file}, read into a new network: {100 * work.Accuracy(fresh):F1}"));
    }
}
