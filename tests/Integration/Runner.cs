using Expecto;
using Microsoft.FSharp.Core;

namespace TensorNets.Integration;

/// <summary>Runs tests and closes with one line of counts: <c>N passed, N failed, N skipped</c>.</summary>
internal static class Runner
{
    /// <summary>Runs the tests under Expecto's command line (<c>--filter</c>, <c>--list-tests</c>, …) and returns its exit code.</summary>
    internal static int Run(string[] args, Test tests)
    {
        Impl.TestRunSummary? summary = null;
        var keepSummary = Tests.SummaryHandler.NewSummaryHandler(FuncConvert.FromAction<Impl.TestRunSummary>(s => summary = s));
        var exitCode = Expecto.CSharp.Runner.RunTestsWithCLIArgs(
            [Tests.CLIArguments.NewAppend_Summary_Handler(keepSummary), Tests.CLIArguments.No_Spinner, Tests.CLIArguments.NewColours(0)],
            args,
            tests);

        // Expecto's logger ends with a colour reset and no newline.
        Console.WriteLine();
        if (summary is null) return exitCode;

        foreach (var (test, outcome) in summary.ignored)
        {
            if (outcome.result is Impl.TestResult.Ignored reason) Console.WriteLine($"Skipped: {string.Join(".", test.name)}: {reason.Item}");
        }

        var failed = summary.failed.Length + summary.errored.Length;
        Console.WriteLine($"{summary.passed.Length} passed, {failed} failed, {summary.ignored.Length} skipped");
        return exitCode;
    }
}
