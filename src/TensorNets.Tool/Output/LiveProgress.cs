using System.Globalization;
using Spectre.Console;

namespace TensorNets.Tool.Output;

/// <summary>How far a run has come: a bar with the time left for who watches, else a line for each layer.</summary>
internal static class LiveProgress
{
    internal static T Run<T>(Terminal terminal, Func<IProgress<CompressProgress>, T> work)
    {
        if (!terminal.HasScreen) return work(new Lines(terminal));
        return terminal.Progress.Progress()
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn())
            .Start(context => work(new Bar(context.AddTask("Factorizing", maxValue: 1))));
    }

    private static string Left(CompressProgress progress) =>
        progress.Done < progress.Total ? $"about {Text.Time(progress.TimeLeft)} left" : "";

    private sealed class Bar(ProgressTask task) : IProgress<CompressProgress>
    {
        public void Report(CompressProgress value)
        {
            task.MaxValue = value.Total;
            task.Value = value.Done;
            task.Description = Markup.Escape($"{value.Done}/{value.Total} {value.Path} {Left(value)}".TrimEnd());
        }
    }

    private sealed class Lines(Terminal terminal) : IProgress<CompressProgress>
    {
        public void Report(CompressProgress value)
        {
            var result = double.IsNaN(value.KernelError) ? "stays dense"
                : string.Create(CultureInfo.InvariantCulture, $"error {value.KernelError:F3}");
            terminal.ErrorWriter.WriteLine($"{value.Done}/{value.Total} {value.Path} {result} {Left(value)}".TrimEnd());
        }
    }
}
