using System.CommandLine;
using Spectre.Console;
using TensorNets.Samples.Stability;
using TensorNets.Tool.Commands;
using static TensorNets.Samples.Stability.CommandOptions;

namespace TensorNets.Samples.Transfer;

public static partial class CommandLine
{
    private static Command HypothesesCommand(IAnsiConsole console)
    {
        var plain = new HypothesisSettings();
        var seeds = Several("--seeds", "Seeds.", 1, 2, 3, 4, 5);
        var variants = Several("--variants", "Parametrizations of the 3×3 kernels.", Enum.GetValues<Parametrization>());
        var rates = new Option<double[]?>("--rates")
        {
            Description = $"Constant rates of training (default {string.Join(" ", plain.Rates)}).",
            AllowMultipleArgumentsPerToken = true,
        };
        var bits = new Option<int[]?>("--bits")
        {
            Description = $"Bits before training, without changes of outputs (default {string.Join(" ", plain.Bits)}, with them).",
            AllowMultipleArgumentsPerToken = true,
        };
        var steps = AtLeastOne("--steps", $"Steps of each training (default {plain.Run.TuneSteps}).");
        var stepper = With("--optimizer", "Who makes the steps; with another than the default training alone is measured.", plain.Stepper);
        var frozen = With("--frozen", "Batch norms keep their means and variances in training, which alone is measured.", false);
        var alone = With("--training", "Training alone is measured, as at other rates.", false);
        var kernels = With("--kernels", "The format of the 3×3 kernels.", plain.Kernels);
        var backbone = With("--network", "The network: resNet18 of ImageNet, or plain, without batch norms.", plain.Run.Backbone);
        var shard = ShardOption();
        var command = new Command(
            "hypotheses", "Networks that differ by their cores alone, rounded and trained, a cell at a time; a run that was ended goes on.")
        {
            seeds, variants, kernels, backbone, bits, rates, steps, stepper, frozen, alone, shard, Output, Data, Threads, Quick,
        };
        command.SetAction(parsed => Guarded(() =>
        {
            var run = SettingsOf(parsed);
            var start = parsed.GetValue(Quick) ? HypothesisSettings.Quick : plain;
            var settings = start with
            {
                Run = run with
                {
                    Backbone = parsed.GetValue(backbone),
                    TestImages = start.Run.TestImages,
                    TuneSteps = parsed.GetValue(steps) ?? start.Run.TuneSteps,
                },
                Rates = parsed.GetValue(rates) is { Length: > 0 } given ? given : start.Rates,
                Kernels = parsed.GetValue(kernels),
                Stepper = parsed.GetValue(stepper),
                Frozen = parsed.GetValue(frozen),
                TrainingAlone = parsed.GetValue(alone),
            };
            if (parsed.GetValue(bits) is { Length: > 0 } some)
            {
                settings = settings with { Bits = some, BitsPredicted = [] };
            }

            using var images = new Images(settings.Run);
            var cells = HypothesisStudy.CellsOf(
                parsed.GetValue(seeds)!, HypothesisStudy.ParametrizationsOf(settings.Kernels, parsed.GetValue(variants)!));
            new HypothesisStudy(settings, images, console.WriteLine).Run(Study.ShareOf(parsed.GetValue(shard), cells));
        }));
        return command;
    }

    private static void WriteHypotheses(IAnsiConsole console, string place, string? collect, string? picture)
    {
        var cells = HypothesisCells.Load(place);
        if (collect is not null)
        {
            HypothesisCells.Collect(collect, cells);
        }

        if (picture is not null)
        {
            var joined = HypothesisCells.Joined(cells);
            foreach (var kind in HypothesisKind.Of(joined))
            {
                HypothesisPicture.Save(
                    kind.Cells(joined), Path.ChangeExtension(picture, null) + kind.Suffix + Path.GetExtension(picture));
            }
        }

        WriteWide(console, HypothesisTable.Of(cells));
    }

    private static Option<Share?> ShardOption() => new("--shard")
    {
        Description = "i/n: only the i-th of n shares of the cells, for workers with one folder; table --collect puts them together.",
        CustomParser = Share.Parse,
    };
}
