using Spectre.Console;

namespace TensorNets.Samples.Stability;

/// <summary>One progress bar for each stage of a run.</summary>
public static class LiveProgress
{
    /// <summary>What <paramref name="work"/> gives, with its progress on the console while it runs.</summary>
    public static T Run<T>(IAnsiConsole console, Func<IProgress<ProgressNote>, T> work) =>
        console.Progress()
            .Columns(
                new TaskDescriptionColumn { Alignment = Justify.Left },
                new ProgressBarColumn(),
                new PercentageColumn(),
                new ElapsedTimeColumn())
            .Start(context => work(new Bars(context)));

    private sealed class Bars(ProgressContext context) : IProgress<ProgressNote>
    {
        private readonly Dictionary<string, ProgressTask> _tasks = [];

        public void Report(ProgressNote note)
        {
            if (!_tasks.TryGetValue(note.Stage, out var task))
            {
                _tasks[note.Stage] = task = context.AddTask(Markup.Escape(note.Stage), maxValue: note.Total);
            }

            task.Value = note.Done;
            if (note.Done >= note.Total)
            {
                task.StopTask();
            }
        }
    }
}
