using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using TensorNets.CSharp;
using TensorNets.Tool.Files;
using TensorNets.Tool.Output;
using static TorchSharp.torch;

namespace TensorNets.Tool.Commands;

/// <summary>The options that say what a compressed network may cost, and how it is planned.</summary>
internal sealed class BudgetOptions
{
    private static readonly Dictionary<string, FormatFamily> Named = new()
    {
        ["cp"] = Families.Cp,
        ["tucker"] = Families.Tucker,
        ["tucker2"] = Families.Tucker2,
        ["tensor-train"] = Families.TensorTrain,
        ["tensor-chain"] = Families.TensorChain,
    };

    private readonly Option<double?> _ratio = Above("--ratio", "So many times fewer parameters in all.", 1);
    private readonly Option<double?> _flops = Above("--flops", "So many times fewer FLOPs in linear layers and convolutions.", 1);
    private readonly Option<double?> _bytes = Above(
        "--bytes", "So many times fewer bytes in all: ranks and bits are chosen together.", 1);

    private readonly Option<double?> _latency = Above(
        "--latency",
        "So many times faster in ONNX Runtime on one thread: planned by the measured times of each layer's candidates, in rounds until the "
        + "network as it would be written is so fast; of .onnx files.",
        1);

    private readonly Option<double?> _error = Above("--error", "The most relative error of each layer, as .1.", 0);

    private readonly Option<string[]> _formats = new("--format")
    {
        Description = $"Formats for kernels of several positions: {string.Join(", ", Named.Keys)}. Without it all but tucker.",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<int[]> _trainMatrices = new("--tt-matrix")
    {
        Description = "Linear layers may become TT-matrices too, of so many cores, as 3: they share bonds where a matrix has one.",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<string[]> _keep = new("--keep")
    {
        Description = "Layers that stay dense, by name.",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<bool> _ends = new("--ends")
    {
        Description = "Plan the first and the last layer too, which stay dense otherwise; of a state dict, which does not say which they "
            + "are, all are planned.",
    };

    private readonly Option<int> _workers = new("--workers")
    {
        Description = "Layers worked on side by side; 0: as many as there are processors.",
    };

    internal BudgetOptions()
    {
        _formats.AcceptOnlyFromAmong([.. Named.Keys]);
        Shared.Bound(_trainMatrices, 2);
    }

    /// <summary>Adds the options to a command.</summary>
    internal void AddTo(Command command)
    {
        Option[] options = [_ratio, _flops, _bytes, _latency, _error, _formats, _trainMatrices, _keep, _ends, _workers];
        foreach (var option in options) command.Add(option);
    }

    /// <summary>What is wrong with the budgets that were given, if something is; one is wanted, unless a plan is there.</summary>
    internal string? Problem(CommandResult result, bool hasPlan)
    {
        var given = new[] { _ratio, _flops, _bytes, _latency, _error }.Where(result.IsGiven).Select(option => option.Name).ToList();
        Option[] making = [_formats, _trainMatrices, _keep, _ends];
        return (given.Count, hasPlan) switch
        {
            (0, true) when making.FirstOrDefault(result.IsGiven) is { } option =>
                $"{option.Name} says how a plan is made, and --plan gives one that is: leave it out, or edit the plan.",
            (0, true) or (1, false) => null,
            (0, false) => "No budget is given: add one of --ratio, --flops, --bytes, --latency, --error, as in --ratio 3.",
            (_, true) => $"Both --plan and {given[0]} are given: leave one out.",
            _ => $"{string.Join(" and ", given)} are given: leave all but one out.",
        };
    }

    /// <summary>The plan of the layers of a network under the budget that is given.</summary>
    internal CompressionPlan Plan(
        ParseResult parsed,
        Terminal terminal,
        NetworkFile network,
        LayerSource source,
        Inputs inputs,
        IReadOnlyDictionary<string, Tensor>? covariances)
    {
        if (parsed.GetValue(_flops) is not null && !network.IsGraph)
        {
            throw network.Sizeless("FLOPs are not known");
        }

        var settings = Settings(parsed, network) with { Covariances = covariances };
        var plan = LiveProgress.Plan(
            terminal, progress => Model.Plan(source, Budget(parsed), settings with { Progress = progress }));
        return parsed.GetValue(_latency) is { } ratio
            ? terminal.While("Timing", () => LatencyRounds.Run(terminal, plan, ratio, made => network.Times(made, inputs)))
            : plan;
    }

    /// <summary>Whether the budget is one of bytes.</summary>
    internal bool IsOfBytes(ParseResult parsed) => parsed.GetValue(_bytes) is not null;

    internal int Workers(ParseResult parsed) => parsed.GetValue(_workers);

    private Budget Budget(ParseResult parsed) =>
        parsed.GetValue(_ratio) is { } ratio ? Budgets.ParameterRatio(ratio)
        : parsed.GetValue(_flops) is { } flops ? Budgets.FlopRatio(flops)
        : parsed.GetValue(_bytes) is { } bytes ? Budgets.ByteRatio(bytes)
        : parsed.GetValue(_latency) is { } latency ? Budgets.LatencyRatio(latency)
        : Budgets.LayerError(parsed.GetValue(_error)!.Value);

    private PlanSettings Settings(ParseResult parsed, NetworkFile network) => new(
        Families: parsed.GetValue(_formats) is { Length: > 0 } names ? [.. names.Select(name => Named[name])] : null,
        KeepFirst: network.IsGraph && !parsed.GetValue(_ends),
        KeepLast: network.IsGraph && !parsed.GetValue(_ends),
        TrainMatrixModes: parsed.GetValue(_trainMatrices),
        Keep: parsed.GetValue(_keep),
        Workers: Workers(parsed),
        Latencies: parsed.GetValue(_latency) is null ? null : network.CandidateTimes());

    /// <summary>The options as one would type them again, without those on which no number depends.</summary>
    internal string Typed(ParseResult parsed)
    {
        string Real(Option<double?> option) =>
            parsed.GetValue(option) is { } value ? string.Create(CultureInfo.InvariantCulture, $"{option.Name} {value} ") : "";
        string Texts<T>(Option<T[]> option) => string.Concat((parsed.GetValue(option) ?? []).Select(text => $"{option.Name} {text} "));
        var budgets = $"{Real(_ratio)}{Real(_flops)}{Real(_bytes)}{Real(_latency)}{Real(_error)}";
        return $"{budgets}{Texts(_formats)}{Texts(_trainMatrices)}{Texts(_keep)}{(parsed.GetValue(_ends) ? "--ends" : "")}".Trim();
    }

    private static Option<double?> Above(string name, string description, double least)
    {
        var option = new Option<double?>(name) { Description = description };
        option.CustomParser = result =>
        {
            var text = result.Tokens[0].Value;
            var isNumber = double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value);
            if (isNumber && value > least && double.IsFinite(value)) return value;
            result.AddError($"{name} is '{text}'; expected a number above {least.ToString(CultureInfo.InvariantCulture)}.");
            return null;
        };
        return option;
    }
}
