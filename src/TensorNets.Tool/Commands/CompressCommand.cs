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
    private readonly Option<string?> _plan = new("--plan") { Description = "A plan that tensornets plan has written, in place of a budget." };
    private readonly Option<string?> _work = new("--work") { Description = "A folder for finished layers, from which a run that was ended goes on." };
    private readonly Option<Share?> _shard = new("--shard")
    {
        Description = "i/n: do the i-th of n shares of the layers and leave them in the work folder, for tensornets merge.",
        CustomParser = Share.Parse,
    };

    private readonly Option<int?> _bits = new("--bits") { Description = "Round the factors to integers of so many bits, 2 to 8; not of .onnx files." };
    private readonly Option<string?> _report = new("--report") { Description = "An HTML file that shows what became of each layer." };
    private readonly Option<int> _sweeps = AtLeast("--sweeps", "The most sweeps of least squares a layer (30).", new CompressSettings().Sweeps, 1);
    private readonly Option<int> _corrections = AtLeast("--corrections", "The most sweeps that lower S a layer (15).", new CompressSettings().Corrections, 0);

    private CompressCommand(Terminal terminal) => _terminal = terminal;

    internal static Command Create(Terminal terminal)
    {
        var own = new CompressCommand(terminal);
        var command = new Command("compress", "Factorizes the layers of a network by a plan or under a budget and writes the compressed file.")
        {
            own._file, own._output, own._plan, own._work, own._shard, own._report, own._bits, own._sweeps, own._corrections, own._json,
        };
        own._budgets.AddTo(command);
        own._inputs.AddTo(command);
        own._bits.Validators.Add(result =>
        {
            if (result.Tokens is [var token] && int.TryParse(token.Value, out var bits) && bits is < 2 or > 8) result.AddError($"--bits is {token.Value}; expected 2 to 8.");
        });
        command.Validators.Add(result =>
        {
            if (own.Problem(result) is { } missing) result.AddError(missing);
            else if (own._budgets.Problem(result, result.GetResult(own._plan) is { Implicit: false }) is { } problem) result.AddError(problem);
        });
        command.SetAction(Application.Guarded(terminal, own.Run));
        return command;
    }

    private string? Problem(CommandResult result)
    {
        bool Given(Option option) => result.GetResult(option) is { Implicit: false };
        return (Given(_shard), Given(_output), Given(_work)) switch
        {
            (false, false, _) => "No output is given: add -o FILE.",
            (true, true, _) => "Both --shard and -o are given: a share leaves its layers in the work folder, tensornets merge writes the file.",
            (true, _, false) => "--shard needs a work folder: add --work DIR.",
            _ => null,
        };
    }

    private int Run(ParseResult parsed, CancellationToken cancellation)
    {
        using var network = NetworkFile.Open(parsed.GetRequiredValue(_file));
        if (parsed.GetValue(_output) is { } named) network.CheckOutput(named);
        using var scope = TorchSharp.torch.NewDisposeScope();
        var inputs = _inputs.Of(parsed);
        var source = network.Source(inputs);
        var covariances = network.Covariances(inputs);
        var work = parsed.GetValue(_work) is { } folder ? new WorkFolder(folder) : null;
        var plan = Plan(parsed, network, source, covariances, work);
        network.Check(plan);
        if (parsed.GetValue(_shard) is { } share) plan = Model.Part(plan, share.Index, share.Count);
        cancellation.ThrowIfCancellationRequested();
        var settings = new CompressSettings(
            Sweeps: parsed.GetValue(_sweeps),
            Corrections: parsed.GetValue(_corrections),
            Covariances: covariances,
            Quantize: Bits(parsed, network),
            Workers: _budgets.Workers(parsed),
            Folder: work?.Path,
            Cancellation: cancellation);
        var report = LiveProgress.Run(_terminal, progress => Model.Compress(source, plan, settings with { Progress = progress }));
        try
        {
            if (cancellation.IsCancellationRequested) return Interrupted(report, work);
            if (parsed.GetValue(_output) is { } output) network.Save(output, plan, report);
            var verified = parsed.GetValue(_output) is { } written ? network.Verify(written, inputs) : null;
            var result = CompressResult.Of(network, parsed.GetValue(_output) ?? "", plan, report) with { Verified = verified };
            if (parsed.GetValue(_report) is { } page) Texts.Write(page, HtmlReport.Of(result, plan, Typed(parsed)));
            return result.Tell(_terminal, parsed.GetValue(_json));
        }
        finally
        {
            foreach (var layer in report.Layers) layer.Layer.Dispose();
        }
    }

    /// <summary>The plan that was given, that of the run which the work folder holds, or a new one.</summary>
    private CompressionPlan Plan(
        ParseResult parsed, NetworkFile network, LayerSource source, IReadOnlyDictionary<string, TorchSharp.torch.Tensor>? covariances, WorkFolder? work)
    {
        var settings = _budgets.Settings(parsed, network) with { Covariances = covariances };
        CompressionPlan Made() => _terminal.While("Planning", () => Model.Plan(source, _budgets.Budget(parsed), settings));
        WorkRun Noted(string options) =>
            new(Path.GetFullPath(network.Path), network.Bytes, options, parsed.GetValue(_sweeps), parsed.GetValue(_corrections), _inputs.Of(parsed), parsed.GetValue(_bits));
        if (parsed.GetValue(_plan) is { } path)
        {
            var given = Model.PlanFromJson(Texts.Read(path));
            return work?.Plan(Noted(Model.PlanToJson(given)), () => given) ?? given;
        }

        return work?.Plan(Noted(_budgets.Typed(parsed) + _inputs.Typed(parsed)), Made) ?? Made();
    }

    /// <summary>The command line, without what its result does not depend on.</summary>
    private string Typed(ParseResult parsed)
    {
        var plan = parsed.GetValue(_plan) is { } path ? $"--plan {path}" : _budgets.Typed(parsed);
        return $"tensornets compress {parsed.GetValue(_file)} {plan}{_inputs.Typed(parsed)} --sweeps {parsed.GetValue(_sweeps)} --corrections {parsed.GetValue(_corrections)}{(parsed.GetValue(_bits) is { } bits ? $" --bits {bits}" : "")} -o {parsed.GetValue(_output)}";
    }

    private QuantizeSettings? Bits(ParseResult parsed, NetworkFile network) =>
        parsed.GetValue(_bits) is not { } bits ? null
        : network is GraphFile ? throw new ToolException("--bits is given for an .onnx file, which would not keep the integers", "leave it out")
        : new QuantizeSettings(bits);

    private int Interrupted(CompressReport report, WorkFolder? work)
    {
        _terminal.Error(work is null
            ? "Interrupted; nothing was written. With --work DIR a run can be gone on with."
            : $"Interrupted with {report.Layers.Count} of {report.Layers.Count + report.Failed.Count} layers finished; they are in {work.Path}: run the same command again to go on.");
        return ExitCode.Interrupted;
    }

    private static Option<int> AtLeast(string name, string description, int value, int least)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => value };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [var token] && int.TryParse(token.Value, out var found) && found < least) result.AddError($"{name} is {found}; expected {least} or more.");
        });
        return option;
    }
}
