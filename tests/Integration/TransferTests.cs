using Expecto;
using Spectre.Console;
using TensorNets.CSharp;
using TensorNets.Samples.Transfer;
using TensorNets.Tool.Commands;
using TorchSharp;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>The sample that compresses a trained network whole, on a few images.</summary>
internal static class TransferTests
{
    /// <summary>Kernels of cores in float32: errors differ by a few units in the last place of a norm.</summary>
    private const double SinglePrecision = 1e-6;

    internal static Test All => TestSequenced(TestList("transfer", [
        TestCase("every number of the trained network but the classifier's comes from the file, which others may read meanwhile", () =>
        {
            using var scope = torch.NewDisposeScope();
            using var reader = File.OpenRead(TrainedResNet.DefaultFile);
            using var one = TrainedResNet.Create(10, 1);
            using var two = TrainedResNet.Create(10, 2);
            var other = two.state_dict();
            foreach (var (name, tensor) in one.state_dict())
            {
                var isFromFile = !name.StartsWith("fc.", StringComparison.Ordinal);
                Expect.True(tensor.eq(other[name]).all().item<bool>() == isFromFile, name);
            }
        }),
        TestCase("the network without batch norms has the same layers by name, and takes the same images", () =>
        {
            using var scope = torch.NewDisposeScope();
            using var images = new Images(Settings.Quick);
            using var network = Backbones.Create(Backbone.Plain, 1);
            foreach (var (path, _) in TrainedResNet.Blocks) Expect.Equal(3L, Model.Find<TorchSharp.Modules.Conv2d>(network, path).weight!.shape[^1]);
            Expect.SequenceEqual([images.Test.Count, 10], network.call(images.Test.Images).shape);
        }),
        TestCase("the network's float32 gives what float64 gives, on whatever processor", () =>
        {
            using var scope = torch.NewDisposeScope();
            using var noGradients = torch.no_grad();
            using var images = new Images(Settings.Quick);
            using var network = TrainedResNet.Create(10, 1);
            network.eval();
            var single = network.call(images.Test.Images).to(torch.ScalarType.Float64);
            network.to(torch.ScalarType.Float64);
            var exact = network.call(images.Test.Images.to(torch.ScalarType.Float64));
            var error = ((single - exact).norm() / exact.norm()).item<double>();
            Expect.True(error < 1e-4, $"relative error {error}");
        }),
        TestCase("a study goes on where it was ended, in shares too, with the same numbers, and makes a table", () => TempFolder.With(folder =>
        {
            string[] study =
            [
                "study", "--quick", "--threads", "1", "--seeds", "1", "--ratios", "8", "--ranks", "uniform", "--formats", "tucker2",
                "--output", folder,
            ];
            Expect.Equal(0, Run(study).Code);
            var cells = Cells.Load(folder);
            Expect.Equal(3, cells.Count);
            foreach (var made in cells.Where(cell => cell.Method is not null)) File.Delete(Cells.FileOf(folder, 1, made.Method));
            foreach (var share in new[] { "2/2", "1/2" })
            {
                Expect.Equal(1, Run([.. study, "--shard", share]).Text.Trim().Split('\n').Length);
            }

            foreach (var (before, after) in cells.Zip(Cells.Load(folder)))
            {
                Expect.Equal((before.Accuracy, before.Renormed, before.Tuned), (after.Accuracy, after.Renormed, after.Tuned));
            }

            var (code, table) = Run(["table", folder]);
            Expect.Equal(0, code);
            Expect.True(table.Contains("| dense |") && table.Contains("| 8× | Tucker2 | Uniform | Calibrated |"), table);
        })),
        TestCase("the study of bytes rounds dense kernels, makes a table and a picture", () => TempFolder.With(folder =>
        {
            var picture = Path.Combine(folder, "sizes.png");
            Expect.Equal(0, Run(["sizes", "--quick", "--threads", "1", "--seeds", "1", "--formats", "dense", "--output", folder]).Code);
            var (code, table) = Run(["table", folder, "--sizes", "--picture", picture]);
            Expect.Equal(0, code);
            Expect.True(table.Contains("| dense | 8 | 11.00 | 4.0 |") && table.Contains("| dense, bits planned |"), table);
            Expect.True(new FileInfo(picture).Length > 10_000, "no picture");
            foreach (var cell in Cells.Load(folder).Where(cell => cell.Method is { Ranks: Ranks.Planned }))
            {
                var dense = Cells.Load(folder).Single(other => other.Method is null);
                Expect.True(cell.KernelBytes <= dense.KernelBytes / cell.Method!.Ratio, $"{cell.KernelBytes} bytes");
            }
        })),
        TestCase("the study of hypotheses goes on where it was ended; gauges change neither kernels nor what a scale for each slice does", () =>
            TempFolder.With(folder =>
            {
                string[] study = ["hypotheses", "--quick", "--threads", "1", "--seeds", "1", "--output", folder];
                Expect.Equal(0, Run(study).Code);
                var cells = HypothesisCells.Load(folder).ToDictionary(cell => cell.Parametrization);
                CheckParametrizations(cells);
                File.Delete(HypothesisCells.FileOf(cells[Parametrization.Penalty].Settings, 1, Parametrization.Penalty));
                Expect.Equal(1, Run([.. study, "--shard", "1/2"]).Text.Trim().Split('\n').Length);

                Expect.Equal(0, Run([.. study, "--kernels", "tensorChain", "--variants", "Svd"]).Code);
                Expect.Equal(0, Run([.. study, "--training", "--steps", "2", "--variants", "Balanced"]).Code);
                Expect.Equal(0, Run([.. study, "--bits", "3", "--variants", "Balanced"]).Code);
                var pieces = HypothesisCells.Joined(HypothesisCells.Load(folder))
                    .Single(cell => cell.Parametrization == Parametrization.Balanced && cell.Settings.IsMain);
                Expect.SequenceEqual([3, 4, 32], pieces.Rounded.Select(reading => reading.Bits).Distinct().Order());
                var (file, picture) = (Path.Combine(folder, "all.jsonl"), Path.Combine(folder, "hypotheses.png"));
                var (code, tables) = Run(["table", folder, "--hypotheses", "--collect", file, "--picture", picture]);
                Expect.Equal(0, code);
                Expect.Equal(tables, Run(["table", file, "--hypotheses"]).Text);
                Expect.True(new FileInfo(picture).Length > 10_000, "no picture");
                foreach (var title in new[] { "tensor chain: trained", "Trained, 2 steps", "The largest rate without divergence" })
                {
                    Expect.True(tables.Contains($"**{title}**"), tables);
                }

                Expect.True(File.Exists(Path.Combine(folder, "hypotheses-tensorchain.png")), "no picture of chains");
            })),
        TestCase("columns of length 1 leave the tensor of a CP network as it was", () =>
        {
            using var scope = torch.NewDisposeScope();
            using var network = TensorNetwork.Random(TensorNetwork.Of(CSharp.Formats.Cp(5), 4, 3, 6), 7, torch.ScalarType.Float64);
            using var unit = VariantNetworks.UnitColumns(network);
            Expect.True(VariantNetworks.ErrorOf(TensorNetwork.Reconstruct(network), unit) < 1e-12, "the tensor changed");
            foreach (var core in unit.Cores.SkipLast(1))
            {
                Expect.True((core.norm(0) - 1).abs().max().item<double>() < 1e-12, "a column is not of length 1");
            }
        }),
        TestCase("the tables of README and of the pages on whole networks, few bits and hypotheses are those of the results that lie beside the sample", () =>
        {
            var study = StudyTable.Of(Cells.Load(Results("study.jsonl")));
            var page = File.ReadAllText(Repository.At("docs", "whole-network.md"));
            Expect.True(page.Contains(study), "docs/whole-network.md lacks\n" + study);
            var sizes = SizeTable.Of(Cells.Load(Results("sizes.jsonl")));
            Expect.True(File.ReadAllText(Repository.At("docs", "few-bits.md")).Contains(sizes), "docs/few-bits.md lacks\n" + sizes);
            var hypotheses = File.ReadAllText(Repository.At("docs", "hypotheses.md"));
            var tables = HypothesisTable.Tables(HypothesisCells.Load(Results("hypotheses.jsonl")));
            foreach (var (_, table) in tables)
            {
                Expect.True(hypotheses.Contains(table), "docs/hypotheses.md lacks\n" + table);
            }

            using var text = new StringWriter();
            Console(text).Write(DemonstrationTable.Of(Cells.Load(Results("readme.jsonl"))));
            var readme = File.ReadAllText(Repository.At("README.md"));
            var inShort = tables.Single(table => table.Title == "In short").Text;
            Expect.True(readme.Contains(inShort), "README lacks\n" + inShort);
            foreach (var line in text.ToString().Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0))
            {
                Expect.True(readme.Contains(line), "README lacks " + line);
            }
        }),
        TestCase("a dataset or a folder that is missing ends the program with 1", () => TempFolder.With(folder =>
        {
            Expect.Equal(1, Run(["study", "--quick", "--data", "/no/such/folder", "--output", folder]).Code);
            Expect.Equal(1, Run(["table", Path.Combine(folder, "none")]).Code);
        })),
        TestCase("shares of a study are its cells, each once", () =>
        {
            var cells = Study.CellsOf([1, 2, 3, 4, 5, 6, 7], []);
            for (var count = 1; count <= 9; count++)
            {
                var shares = Enumerable.Range(1, count).Select(index => Study.ShareOf(new Share(index, count), cells)).ToList();
                Expect.SequenceEqual(cells, shares.SelectMany(share => share).OrderBy(cell => cell.Seed));
                Expect.True(shares.Max(share => share.Count) - shares.Min(share => share.Count) <= 1, $"{count} shares");
            }

            Expect.True(CommandLine.Create(Console(TextWriter.Null)).Parse("study --shard 3/2").Errors.Count > 0, "it was accepted");
        }),
        TestCase("a number of threads below 1 is refused", () =>
            Expect.True(CommandLine.Create(Console(TextWriter.Null)).Parse("study --threads 0").Errors.Count > 0, "it was accepted")),
    ]));

    private static void CheckParametrizations(Dictionary<Parametrization, HypothesisCell> cells)
    {
        Expect.Equal(Enum.GetValues<Parametrization>().Length, cells.Count);
        double Error(Parametrization key, int layer) => cells[key].Layers[layer].Error;
        double S(Parametrization key, int layer) => cells[key].Layers[layer].Sensitivity;
        Expect.True(cells[Parametrization.Dense].Layers.All(layer => layer.Error == 0), "the dense kernels changed");
        for (var layer = 0; layer < 16; layer++)
        {
            var error = Error(Parametrization.Random, layer);
            foreach (var same in new[] { Parametrization.UnitColumns, Parametrization.Balanced })
            {
                Expect.True(Math.Abs(Error(same, layer) - error) < SinglePrecision, $"{same}, layer {layer}: the kernel changed");
                foreach (var (one, other) in cells[same].Predictions.Zip(cells[Parametrization.Random].Predictions))
                {
                    Expect.True(Math.Abs((one.Weighted / other.Weighted) - 1) < 1e-3, $"{one} and {other}");
                }
            }

            Expect.True(Error(Parametrization.Corrected, layer) < error + SinglePrecision, $"layer {layer}: the error rose");
            Expect.True(S(Parametrization.Balanced, layer) <= S(Parametrization.UnitColumns, layer), $"layer {layer} is not balanced");
            Expect.True(S(Parametrization.Corrected, layer) <= S(Parametrization.Balanced, layer), $"layer {layer}: S rose");
        }
    }

    private static string Results(string file) => Repository.At("docs", "samples", "Transfer", "results", file);

    private static IAnsiConsole Console(TextWriter text)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, Out = new AnsiConsoleOutput(text) });
        console.Profile.Width = 1000;
        return console;
    }

    private static (int Code, string Text) Run(string[] args)
    {
        using var text = new StringWriter();
        return (CommandLine.Create(Console(text)).Parse(args).Invoke(), text.ToString());
    }
}
