using System.CommandLine;
using Spectre.Console;
using TensorNets.CSharp;
using TensorNets.Samples.Stability;
using TorchSharp;
using static TensorNets.Samples.Stability.CommandOptions;

namespace TensorNets.Samples.Transfer;

/// <summary>The command line: the demonstration, the study behind the documents' tables, and its table.</summary>
public static partial class CommandLine
{
    private static readonly Settings Defaults = new();

    private static readonly Option<string> Output = With("--output", "The folder for results.", Defaults.Output);
    private static readonly Option<string?> Data =
        With<string?>("--data", "A folder with four IDX files, instead of the images in the program.", null);
    private static readonly Option<int?> Threads =
        AtLeastOne("--threads", $"Threads of libtorch, and layers worked on side by side (default {Defaults.Threads}).");
    private static readonly Option<bool> Quick =
        With("--quick", "A run of seconds that shows that everything works; its numbers say nothing.", false);
    private static readonly Option<double[]> Ratios = Several("--ratios", "How many times fewer parameters.", 3.0, 5.0, 8.0);

    /// <summary>The commands, each of which writes to a console and ends with 0, or with 1 where data or files are at fault.</summary>
    public static RootCommand Create(IAnsiConsole console)
    {
        var seed = With("--seed", "The seed of the classifier, of the order of images, and of nothing else.", 1);
        var formats = With("--formats", "The formats that plans choose from.", Formats.Tucker2);
        var root = new RootCommand("Compresses a ResNet-18 that was trained on ImageNet and brought to Fashion-MNIST.")
        {
            seed, formats, Ratios, Output, Data, Threads, Quick, StudyCommand(console), SizesCommand(console),
            HypothesesCommand(console), TableCommand(console),
        };
        root.SetAction(parsed => Guarded(() =>
            Demonstration.Run(
                console,
                SettingsOf(parsed) with { TuneSteps = 0 },
                parsed.GetValue(seed),
                Demonstration.Methods(parsed.GetValue(Ratios)!, parsed.GetValue(formats)))));
        return root;
    }

    private static Command StudyCommand(IAnsiConsole console)
    {
        var seeds = Several("--seeds", "Seeds.", 1, 2, 3);
        var ranks = Several("--ranks", "How ranks are found.", Ranks.Uniform, Ranks.Planned);
        var formats = Several("--formats", "Formats.", Formats.Tucker2, Formats.CP, Formats.Any);
        var costs = Several("--costs", "What plans keep within.", Cost.Parameters, Cost.Flops);
        var errors = Several("--errors", "What errors are errors of.", Errors.Kernel, Errors.Calibrated);
        var shard = ShardOption();
        var command = new Command("study", "Every method for every seed, a cell at a time; a run that was ended goes on.")
        {
            seeds, ranks, formats, costs, errors, shard, Ratios, Output, Data, Threads, Quick,
        };
        command.SetAction(parsed => Guarded(() =>
        {
            var methods =
                from ratio in parsed.GetValue(Ratios)!
                from format in parsed.GetValue(formats)!
                from rank in parsed.GetValue(ranks)!
                from cost in parsed.GetValue(costs)!
                from error in parsed.GetValue(errors)!
                where format != Formats.Dense || cost == Cost.Bytes
                where rank == Ranks.Planned || cost == (format == Formats.Dense ? Cost.Bytes : Cost.Parameters)
                where rank == Ranks.Planned || format != Formats.Any
                where rank == Ranks.Uniform || format != Formats.Matrix
                select new Method(rank, format, cost, error, ratio);
            var settings = SettingsOf(parsed);
            using var images = new Images(settings);
            var cells = Study.CellsOf(parsed.GetValue(seeds)!, [.. methods]);
            new Study(settings, images, console.WriteLine).Run(Study.ShareOf(parsed.GetValue(shard), cells));
        }));
        return command;
    }

    private static Command SizesCommand(IAnsiConsole console)
    {
        var seeds = Several("--seeds", "Seeds.", 1, 2, 3, 4, 5);
        var formats = Several("--formats", "Formats.", Formats.CP, Formats.Dense, Formats.Tucker2, Formats.Matrix);
        var command = new Command("sizes", "The study of bytes, a cell at a time; a run that was ended goes on. Prints its table.")
        {
            seeds, formats, Output, Data, Threads, Quick,
        };
        command.SetAction(parsed => Guarded(() =>
        {
            var settings = SettingsOf(parsed);
            using var images = new Images(settings);
            var methods = SizeStudy.Methods.Where(method => parsed.GetValue(formats)!.Contains(method.Formats));
            if (parsed.GetValue(Quick)) methods = methods.Where(method => method.Ratio is 4 or 12);
            WriteWide(console, SizeTable.Of(new Study(settings, images, console.WriteLine).Run(parsed.GetValue(seeds)!, [.. methods])));
        }));
        return command;
    }

    private static void WriteWide(IAnsiConsole console, string text)
    {
        console.Profile.Width = int.MaxValue;
        console.WriteLine(text);
    }

    private static Command TableCommand(IAnsiConsole console)
    {
        var place = new Argument<string>("place") { Description = "A folder of a study, or a file that was collected." };
        var collect = With<string?>("--collect", "A file to write all cells to, a line for each.", null);
        var sizes = With("--sizes", "The table of the study of bytes.", false);
        var hypotheses = With("--hypotheses", "The tables of the study of hypotheses.", false);
        var picture = With<string?>("--picture", "A file to draw the study of bytes, or of hypotheses, to, as PNG.", null);
        var command = new Command("table", "The cells of a study as a Markdown table.") { place, collect, sizes, hypotheses, picture };
        command.SetAction(parsed => Guarded(() =>
        {
            if (parsed.GetValue(hypotheses))
            {
                WriteHypotheses(console, parsed.GetValue(place)!, parsed.GetValue(collect), parsed.GetValue(picture));
                return;
            }

            var cells = Cells.Load(parsed.GetValue(place)!);
            if (parsed.GetValue(collect) is { } file)
            {
                Cells.Collect(file, cells);
            }

            if (parsed.GetValue(picture) is { } drawn)
            {
                SizePicture.Save(cells, drawn);
            }

            WriteWide(console, parsed.GetValue(sizes) ? SizeTable.Of(cells) : StudyTable.Of(cells));
        }));
        return command;
    }

    private static int Guarded(Action act)
    {
        Native.Quiet();
        try
        {
            Native.Guard();
            act();
            return 0;
        }
        catch (Exception error) when (error is DatasetException or TensorNetException or IOException)
        {
            Console.Error.WriteLine(error.Message);
            return 1;
        }
    }

    private static Settings SettingsOf(ParseResult parsed)
    {
        var threads = parsed.GetValue(Threads) ?? Defaults.Threads;
        torch.set_num_threads(threads);
        return (parsed.GetValue(Quick) ? Settings.Quick : Defaults) with
        {
            Output = parsed.GetValue(Output)!,
            Data = parsed.GetValue(Data),
            Threads = threads,
        };
    }

    private static Option<T[]> Several<T>(string name, string description, params T[] values) =>
        new(name) { Description = description, DefaultValueFactory = _ => values, AllowMultipleArgumentsPerToken = true };
}
