using System.CommandLine;
using System.CommandLine.Parsing;
using TensorNets.CSharp;
using TensorNets.Tool.Files;
using TensorNets.Tool.Output;
using TensorNets.Tool.Report;

namespace TensorNets.Tool.Commands;

/// <summary><c>compress FILE</c>: the network of a file with its layers factorized by a plan, as another file.</summary>
internal sealed class CompressCommand
{
    private readonly Terminal _terminal;
    private readonly Argument<string> _file = Shared.File();
    private readonly Option<bool> _json = Shared.Json();
    private readonly BudgetOptions _budgets = new();
    private readonly InputOptions _inputs = new();
    private readonly Option<string?> _output = new("--output", "-o") { Description = "The file to write; not with --shard." };
    private readonly Option<string?> _plan = new("--plan")
    {
        Description = "A plan that tensornets plan has written, in place of a budget.",
    };

    private readonly Option<string?> _work = new("--work")
    {
        Description = "A folder for finished layers, from which a run that was ended goes on.",
    };

    private readonly Option<Share?> _shard = new("--shard")
    {
        Description = "i/n: do the i-th of n shares of the layers and leave them in the work folder, for tensornets merge.",
        CustomParser = Share.Parse,
    };

    private readonly Option<int?> _bits = new("--bits")
    {
        Description = "Round the factors to integers of so many bits, 2 to 8; in .onnx files int4 or int8, restored by DequantizeLinear.",
    };

    private readonly Option<string?> _report = new("--report") { Description = "An HTML file that shows what became of each layer." };
    private readonly Option<string[]> _front = new("--front")
    {
        Description = "Layers, by name, whose S the report shows over bounds on the error; each bound takes about as long as the layer.",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<int> _sweeps = new("--sweeps")
    {
        Description = "The most sweeps of least squares a layer (30).",
        DefaultValueFactory = _ => new CompressSettings().Sweeps,
    };

    private readonly Option<int> _corrections = new("--corrections")
    {
        Description = "The most sweeps that lower S a layer (15).",
        DefaultValueFactory = _ => new CompressSettings().Corrections,
    };

    private CompressCommand(Terminal terminal)
    {
        _terminal = terminal;
        Shared.Bound(_bits, 2, 8);
        Shared.Bound(_sweeps, 1);
        Shared.Bound(_corrections, 0);
    }

    internal static Command Create(Terminal terminal)
    {
        var own = new CompressCommand(terminal);
        var command = new Command(
            "compress", "Factorizes the layers of a network by a plan or under a budget and writes the compressed file.")
        {
            own._file, own._output, own._plan, own._work, own._shard, own._report, own._front, own._bits, own._sweeps, own._corrections,
            own._json,
        };
        own._budgets.AddTo(command);
        own._inputs.AddTo(command);
        command.Validators.Add(result =>
        {
            if (own.Problem(result) is { } missing) result.AddError(missing);
            else if (own._budgets.Problem(result, result.IsGiven(own._plan)) is { } problem) result.AddError(problem);
        });
        command.SetAction(Application.Guarded(terminal, own.Run));
        return command;
    }

    private string? Problem(CommandResult result)
    {
        if (result.IsGiven(_front) && !result.IsGiven(_report)) return "--front needs a report to stand in: add --report FILE.";
        return (result.IsGiven(_shard), result.IsGiven(_output), result.IsGiven(_work)) switch
        {
            (false, false, _) => "No output is given: add -o FILE.",
            (true, true, _) =>
                "Both --shard and -o are given: a share leaves its layers in the work folder, tensornets merge writes the file.",
            (true, _, false) => "--shard needs a work folder: add --work DIR.",
            _ => null,
        };
    }

    private int Run(ParseResult parsed, CancellationToken cancellation)
    {
        using var network = NetworkFile.Open(parsed.GetRequiredValue(_file));
        var output = parsed.GetValue(_output);
        if (output is not null) network.CheckOutput(output);
        using var scope = TorchSharp.torch.NewDisposeScope();
        var given = parsed.GetValue(_plan) is { } path ? Model.PlanFromJson(Texts.Read(path)) : null;
        var run = Noted(parsed, network, given);
        var source = network.Source(run.Inputs);
        var settings = run.Settings(network) with { Workers = _budgets.Workers(parsed), Cancellation = cancellation };
        var work = parsed.GetValue(_work) is { } folder ? new WorkFolder(folder) : null;
        CompressionPlan Made() => given ?? _budgets.Plan(parsed, _terminal, network, source, run.Inputs, settings.Covariances);
        var plan = work?.Plan(run, Made) ?? Made();
        network.Check(plan);
        CheckFronts(parsed, plan);
        if (parsed.GetValue(_shard) is { } share) plan = Model.Part(plan, share.Index, share.Count);
        cancellation.ThrowIfCancellationRequested();
        var report = LiveProgress.Compress(
            _terminal, progress => Model.Compress(source, plan, settings with
            {
                Folder = work?.Path,
                ReleaseLayers = work is not null && network.TakesFiles,
                Progress = progress,
            }));
        try
        {
            if (cancellation.IsCancellationRequested) return Interrupted(report, work);
            if (output is not null) network.Save(output, plan, report);
            var verified = output is not null ? network.Verify(output, run.Inputs) : null;
            var result = CompressResult.Of(network, output ?? "", plan, report) with { Verified = verified };
            if (parsed.GetValue(_report) is { } page)
            {
                Texts.Write(page, HtmlReport.Of(result, plan, Fronts(parsed, source, plan, report, cancellation), Typed(parsed)));
            }

            return result.Tell(_terminal, parsed.GetValue(_json));
        }
        finally
        {
            foreach (var layer in report.Layers) layer.Layer.Dispose();
        }
    }

    /// <summary>The fronts of the layers that are named; cancelled, as far as they have come.</summary>
    private List<LayerFront> Fronts(
        ParseResult parsed, LayerSource source, CompressionPlan plan, CompressReport report, CancellationToken cancellation) =>
        [.. report.Layers.Where(made => parsed.GetValue(_front)?.Contains(made.Path) == true).Select(made => _terminal.While(
            $"Tracing the front of {made.Path}",
            () => LayerFront.Trace(
                source,
                plan.Layers.First(layer => layer.Path == made.Path),
                made,
                new(MaxSweeps: Math.Max(1, parsed.GetValue(_corrections)), Cancellation: cancellation))))];

    /// <summary>Refuses names of layers that the plan leaves dense, or that have a kernel for each of several groups, before time is spent
    /// on it.</summary>
    private void CheckFronts(ParseResult parsed, CompressionPlan plan)
    {
        var factorized = plan.Layers.Where(layer => layer.IsFactorized).ToList();
        var names = factorized.Where(layer => layer.Geometry.Groups == 1).Select(layer => layer.Path).ToList();
        if ((parsed.GetValue(_front) ?? []).FirstOrDefault(name => !names.Contains(name)) is not { } stranger) return;
        var groups = factorized.Find(layer => layer.Path == stranger)?.Geometry.Groups;
        var reason = groups is null ? $"the plan has no factorized layer '{stranger}' for --front"
            : $"the front of '{stranger}' cannot be traced: it has {groups} groups, each with a kernel of its own";
        throw new ToolException(
            reason, names.Count > 0 ? $"name some of {string.Join(", ", names)}" : "leave --front out, no layer has one");
    }

    /// <summary>The run as its work folder notes it.</summary>
    private WorkRun Noted(ParseResult parsed, NetworkFile network, CompressionPlan? given) => new(
        Path.GetFullPath(network.Path),
        network.Bytes,
        given is null ? _budgets.Typed(parsed) + _inputs.Typed(parsed) : Model.PlanToJson(given),
        parsed.GetValue(_sweeps),
        parsed.GetValue(_corrections),
        _inputs.Of(parsed),
        parsed.GetValue(_bits));

    /// <summary>The command line, without what its result does not depend on.</summary>
    private string Typed(ParseResult parsed)
    {
        var plan = parsed.GetValue(_plan) is { } path ? $"--plan {path}" : _budgets.Typed(parsed);
        var sweeps = $"--sweeps {parsed.GetValue(_sweeps)} --corrections {parsed.GetValue(_corrections)}";
        var bits = parsed.GetValue(_bits) is { } found ? $" --bits {found}" : "";
        var fronts = string.Concat((parsed.GetValue(_front) ?? []).Select(name => $" --front {name}"));
        var report = $" --report {parsed.GetValue(_report)}{fronts}";
        return $"tensornets compress {parsed.GetValue(_file)} {plan}{_inputs.Typed(parsed)} {sweeps}{bits} "
            + $"-o {parsed.GetValue(_output)}{report}";
    }

    private int Interrupted(CompressReport report, WorkFolder? work)
    {
        _terminal.Error(work is null
            ? "Interrupted; nothing was written. With --work DIR a run can be gone on with."
            : $"Interrupted with {report.Layers.Count} of {report.Layers.Count + report.Failed.Count} layers finished; they are in "
                + $"{work.Path}: run the same command again to go on.");
        return ExitCode.Interrupted;
    }
}
