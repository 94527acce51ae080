using System.Collections.Concurrent;
using System.Diagnostics;

namespace TensorNets.Fuzz;

/// <summary>Shares inputs out to child processes and counts how they fared. A child that ends early is a crash, one that says nothing for
/// long is a hang; the next goes on behind it.</summary>
internal static class Parent
{
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(Child.Seconds + 25);

    internal static Process Start(params string[] args)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true, RedirectStandardError = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet") start.ArgumentList.Add(typeof(Parent).Assembly.Location);
        foreach (var arg in args) start.ArgumentList.Add(arg);
        start.Environment["OMP_NUM_THREADS"] = "1";
        return Process.Start(start)!;
    }

    /// <summary>Runs the inputs of a reader; whether nothing was wrong.</summary>
    internal static bool Run(string reader, int seed, int inputs)
    {
        var counts = new Dictionary<string, int> { ["crash"] = 0, ["hang"] = 0, ["slow"] = 0, ["untyped"] = 0, ["memory"] = 0, ["changed"] = 0 };
        var (accepted, next, multiple, clock) = (0, 0, 0, Stopwatch.StartNew());

        void Report(string kind, string what)
        {
            counts[kind]++;
            if (counts[kind] <= 10) Console.WriteLine($"{reader}: {kind}: {what}");
        }

        while (next < inputs)
        {
            using var child = Start("child", reader, $"{seed}", $"{next}", $"{inputs - next}");
            var lines = new BlockingCollection<string>();
            var error = child.StandardError.ReadToEndAsync();
            child.OutputDataReceived += (_, line) =>
            {
                if (line.Data is null) lines.CompleteAdding();
                else lines.Add(line.Data);
            };
            child.BeginOutputReadLine();
            var (ended, silent, from) = (false, false, next);

            while (!lines.IsCompleted)
            {
                if (!lines.TryTake(out var line, Silence))
                {
                    silent = !lines.IsCompleted;
                    break;
                }

                var words = line.Split(' ', 3);
                if (words[0] == "begin") next = int.Parse(words[1]) + 1;
                if (words[0] == "trouble") Report(words[2].Split(':')[0], $"input {words[1]}: {words[2]}");

                if (words[0] == "end")
                {
                    ended = true;
                    accepted += int.Parse(words[1]);
                    multiple = Math.Max(multiple, int.Parse(words[2]));
                }
            }

            if (silent) child.Kill();
            child.WaitForExit();
            if (silent) Report("hang", $"input {next - 1}");
            else if (!ended) Report("crash", $"input {next - 1}: exit code {child.ExitCode}: {error.Result[..Math.Min(300, error.Result.Length)].ReplaceLineEndings(" ")}");
            if (!ended && next == from) break; // it does not even start
        }

        Console.WriteLine(
            $"{reader}: {next} inputs, {accepted} accepted; {string.Join(", ", counts.Select(pair => $"{pair.Value} {pair.Key}"))}; at most {multiple} times the input allocated; {clock.Elapsed.TotalSeconds:F1} s");
        return next == inputs && counts.Values.All(count => count == 0);
    }
}
