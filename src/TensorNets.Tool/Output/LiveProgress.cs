using System.Globalization;
using Spectre.Console;

namespace TensorNets.Tool.Output;

/// <summary>How far a run has come: a bar with the time left for who watches, else a line for each layer.</summary>
internal static class LiveProgress
{
    /// <summary>What a plan gives, layer by layer.</summary>
    internal static T Plan<T>(Terminal terminal, Func<IProgress<PlanProgress>, T> work) => Run(
        terminal, "Planning", (PlanProgress value) => new Step(value.Path, value.Done, value.Total, value.TimeLeft, "planned"), work);

    /// <summary>What a compression gives, layer by layer.</summary>
    internal static T Compress<T>(Terminal terminal, Func<IProgress<CompressProgress>, T> work) => Run(
        terminal,
        "Factorizing",
        (CompressProgress value) => new Step(value.Path, value.Done, value.Total, value.TimeLeft, double.IsNaN(value.KernelError)
            ? "stays dense"
            : string.Create(CultureInfo.InvariantCulture, $"error {value.KernelError:F3}")),
        work);

    private static T Run<TProgress, T>(Terminal terminal, string what, Func<TProgress, Step> step, Func<IProgress<TProgress>, T> work)
    {
        if (!terminal.HasScreen) return work(new Told<TProgress>(value => terminal.ErrorWriter.WriteLine($"{step(value)}")));
        return terminal.Progress.Progress()
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn())
            .Start(context =>
            {
                var bar = context.AddTask(what, maxValue: 1);
                return work(new Told<TProgress>(value => Show(bar, step(value))));
            });
    }

    private static void Show(ProgressTask bar, Step step)
    {
        bar.MaxValue = step.Total;
        bar.Value = step.Done;
        bar.Description = Markup.Escape($"{step.Done}/{step.Total} {step.Path} {step.Left}".TrimEnd());
    }

    private sealed class Told<T>(Action<T> tell) : IProgress<T>
    {
        public void Report(T value) => tell(value);
    }

    /// <summary>A layer that is finished.</summary>
    private sealed record Step(string Path, int Done, int Total, TimeSpan TimeLeft, string Result)
    {
        internal string Left => Done < Total ? $"about {Text.Time(TimeLeft)} left" : "";

        public override string ToString() => $"{Done}/{Total} {Path} {Result} {Left}".TrimEnd();
    }
}
