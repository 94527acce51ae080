using System.Globalization;
using Spectre.Console;

namespace TensorNets.Samples.Stability;

/// <summary>The tables at the end of a run. With several seeds each number is the mean and, after ±, the standard deviation.</summary>
public static class Report
{
    private const int LeastWidth = 100;

    /// <summary>Writes everything measured.</summary>
    public static void Write(IAnsiConsole console, RunResult run)
    {
        // A table of several seeds needs so much; where the output is no terminal, a width of 80 is only a guess.
        console.Profile.Width = Math.Max(console.Profile.Width, LeastWidth);
        var variants = Statistics.ByVariant(run);
        var options = run.Options;
        var seeds = string.Join(", ", options.Seeds);
        console.MarkupLineInterpolated($"[bold]{run.Dataset}[/]: {run.TrainImages} training images, accuracy in % of {run.TestImages} test images");
        console.MarkupLineInterpolated($"{options.Format} in place of {options.Path}, seed {seeds}");

        Table(console, "As it stands, before fine-tuning", variants,
            ("parameters", v => Plain(v, r => r.Parameters, "N0")),
            ("MFLOP", v => Plain(v, r => r.Flops / 1e6, "F2")),
            ("kernel error", v => Plain(v, r => r.KernelError, "F3")),
            ("S", v => v[0].Sensitivity is null ? "–" : Spread(v, r => r.Sensitivity ?? double.NaN, "N0")),
            ("accuracy", v => Percent(v, r => r.Accuracy)));
        Table(console, "Accuracy with the cores rounded to so many bits, before fine-tuning", variants,
            [.. Perturbation.Bits.Select(bits => Column($"{bits} bits", v => Percent(v, r => r.ByBits.At(bits))))]);
        Table(console, $"Accuracy with noise of so much of the cores' rms (mean of {options.NoiseDraws} draws), before fine-tuning", variants,
            [.. Perturbation.NoiseLevels.Select(level => Column($"{level:P0}", v => Percent(v, r => r.ByNoise.At(level))))]);
        for (var i = 0; i < options.LearningRates.Count; i++)
        {
            WriteFineTuning(console, run, variants, i);
        }

        if (options.LearningRates.Count > 1)
        {
            Table(console, "Largest learning rate up to which no fine-tuning diverged, for each seed", variants,
                ("learning rate", v => string.Join(", ", v.Select(StableRate))));
        }

        WriteGains(console, run, variants);
    }

    private static void WriteFineTuning(
        IAnsiConsole console, RunResult run, IReadOnlyList<IReadOnlyList<VariantResult>> variants, int i)
    {
        var title = $"After {run.Options.FineTuneSteps} steps of fine-tuning at learning rate {Text(run.Options.LearningRates[i], "G3")}";
        Table(console, title, variants,
            ("accuracy", v => Percent(v, r => r.FineTunings[i].Accuracy)),
            ("4 bits", v => Percent(v, r => r.FineTunings[i].ByBits.At(4))),
            ("3 bits", v => Percent(v, r => r.FineTunings[i].ByBits.At(3))),
            ("S", v => v[0].Sensitivity is null ? "–" : Plain(v, r => r.FineTunings[i].Sensitivity ?? double.NaN, "N0")),
            ("top loss", v => Text(v.Max(r => r.FineTunings[i].Training.LargestLoss), "G2")),
            ("diverged", v => Diverged(v, i)));
    }

    private static string StableRate(VariantResult result) =>
        result.LargestStableRate == 0 ? "none" : Text(result.LargestStableRate, "G3");

    private static string Diverged(IReadOnlyList<VariantResult> seeds, int i)
    {
        var count = seeds.Count(result => result.FineTunings[i].Training.Diverged);
        return seeds.Count == 1 ? (count == 1 ? "yes" : "no") : $"{count}/{seeds.Count}";
    }

    /// <summary>What each later variant gains on the first factorized one, in points of accuracy, or that it does not.</summary>
    private static void WriteGains(IAnsiConsole console, RunResult run, IReadOnlyList<IReadOnlyList<VariantResult>> variants)
    {
        if (variants.Count < 3)
        {
            return;
        }

        var reference = variants[1];
        (string, Func<IReadOnlyList<VariantResult>, string>) Gain(string name, Func<VariantResult, double> value) =>
            Column(name, v => Difference(v, reference, value, run.TestImages));
        Table(console, $"Points of accuracy gained on '{reference[0].Name}'", [.. variants.Skip(2)],
            Gain("float", r => r.Accuracy),
            Gain("4 bits", r => r.ByBits.At(4)),
            Gain("3 bits", r => r.ByBits.At(3)),
            Gain("noise 20%", r => r.ByNoise.At(0.20)),
            Gain("fine-tuned", r => r.FineTunings[0].Accuracy),
            Gain("+ 3 bits", r => r.FineTunings[0].ByBits.At(3)));
        console.MarkupLine("[dim]“(…)” is within two standard errors of nothing.[/]");
    }

    private static string Difference(
        IReadOnlyList<VariantResult> seeds, IReadOnlyList<VariantResult> reference, Func<VariantResult, double> value, int images)
    {
        var gain = Statistics.Mean(seeds.Select(value)) - Statistics.Mean(reference.Select(value));
        var text = Text(100 * gain, "+0.0;−0.0;0.0");
        return Math.Abs(gain) <= Statistics.Doubt(Statistics.Mean(reference.Select(value)), images * seeds.Count) ? $"({text})" : text;
    }

    private static (string Name, Func<IReadOnlyList<VariantResult>, string> Text) Column(
        string name, Func<IReadOnlyList<VariantResult>, string> text) => (name, text);

    private static void Table(
        IAnsiConsole console,
        string title,
        IReadOnlyList<IReadOnlyList<VariantResult>> variants,
        params (string Name, Func<IReadOnlyList<VariantResult>, string> Text)[] columns)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumn(string.Empty, column => column.NoWrap().PadRight(0));
        foreach (var (name, _) in columns)
        {
            table.AddColumn(Markup.Escape(name), column => column.RightAligned().NoWrap().PadLeft(2).PadRight(0));
        }

        foreach (var variant in variants)
        {
            table.AddRow([Markup.Escape(variant[0].Name), .. columns.Select(column => Markup.Escape(column.Text(variant)))]);
        }

        console.WriteLine();
        console.MarkupLineInterpolated($"[bold]{title}[/]");
        console.Write(table);
    }

    private static string Percent(IReadOnlyList<VariantResult> seeds, Func<VariantResult, double> value) =>
        Spread(seeds, result => 100 * value(result), "F1");

    private static string Plain(IReadOnlyList<VariantResult> seeds, Func<VariantResult, double> value, string format) =>
        Text(Statistics.Mean(seeds.Select(value)), format);

    private static string Spread(IReadOnlyList<VariantResult> seeds, Func<VariantResult, double> value, string format)
    {
        double[] values = [.. seeds.Select(value)];
        var mean = Text(Statistics.Mean(values), format);
        return values.Length == 1 ? mean : $"{mean}±{Text(Statistics.Deviation(values), format)}";
    }

    /// <summary>Numbers that no column is wide enough for are given by their power of ten.</summary>
    private static string Text(double value, string format) =>
        double.IsInfinity(value) ? "∞" : value.ToString(Math.Abs(value) < 1e7 ? format : "0.0E+0", CultureInfo.InvariantCulture);
}
