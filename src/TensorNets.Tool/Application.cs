using System.CommandLine;
using System.CommandLine.Help;
using TensorNets.CSharp;
using TensorNets.Tool.Commands;

namespace TensorNets.Tool;

/// <summary>The command: its parts, and how errors end.</summary>
internal static class Application
{
    /// <summary>An interrupted command may take this long to end what it has under way.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>Runs a command line and gives the exit code.</summary>
    internal static async Task<int> RunAsync(IReadOnlyList<string> args, Terminal terminal, CancellationToken cancellation = default)
    {
        var parsed = Root(terminal).Parse(args);
        if (parsed.Errors.Count > 0)
        {
            var called = parsed.CommandResult.Command;
            var command = string.Join(" ", called.Parents.Select(parent => parent.Name).Append(called.Name));
            terminal.Error($"{string.Join(" ", parsed.Errors.Select(error => error.Message))} See: {command} --help");
            return ExitCode.Usage;
        }

        var configuration = new InvocationConfiguration
        {
            Output = terminal.Out,
            Error = terminal.ErrorWriter,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = Patience,
        };
        return await parsed.InvokeAsync(configuration, cancellation);
    }

    /// <summary>Not a RootCommand, whose name is that of the program's file.</summary>
    internal static Command Root(Terminal terminal)
    {
        var root = new Command(
            "tensornets", "Looks into files of networks, plans how to compress them by tensor networks, does it, and compares the results.")
        {
            InspectCommand.Create(terminal),
            PlanCommand.Create(terminal),
            CompressCommand.Create(terminal),
            MergeCommand.Create(terminal),
            SensitivityCommand.Create(terminal),
            CompareCommand.Create(terminal),
            new HelpOption { Recursive = true },
            new VersionOption(),
        };
        Examples.ShowInHelp(root);
        return root;
    }

    /// <summary>What a command does, with its errors said in one line.</summary>
    internal static Func<ParseResult, CancellationToken, Task<int>> Guarded(
        Terminal terminal, Func<ParseResult, CancellationToken, int> run) =>
        (parsed, cancellation) => Task.Run(() => Guarded(terminal, () => run(parsed, cancellation)));

    private static int Guarded(Terminal terminal, Func<int> run)
    {
        try
        {
            Native.Quiet();
            return run();
        }
        catch (TensorNetException error)
        {
            terminal.Error(Errors.OneLine(error));
            return ExitCode.Failed;
        }
        catch (ToolException error)
        {
            terminal.Error(error.Message);
            return ExitCode.Failed;
        }
        catch (OperationCanceledException)
        {
            terminal.Error("Interrupted; nothing was written.");
            return ExitCode.Interrupted;
        }
    }
}
