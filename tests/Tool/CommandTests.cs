using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Expecto;
using TensorNets.Tool;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Tool;

/// <summary>Every command on small files: what it says to people and to programs.</summary>
internal static class CommandTests
{
    internal static Test All => TestList("commands", [
        TestCase("inspect says the same of a state in safetensors and in PyTorch's form", InspectsStates),
        TestCase("inspect shows factorized layers with their formats", InspectsCompressed),
        TestCase("sensitivity lists S, and a change of gauge does not raise it", ListsSensitivities),
        TestCase("compare finds a file equal to itself, and the error of each factorized kernel", Compares),
        TestCase("numbers are written alike whatever the culture", IgnoresCulture),
        TestCase("what is wrong is said in one line with an exit code", Refuses),
        TestCase("every command has help with examples that it understands", HelpsWithExamples),
    ]);

    private static void InspectsStates()
    {
        using var files = new Files();
        var one = Said.Of("inspect", files.Dense(), "--json").Json();
        var two = Said.Of("inspect", files.Pickled(), "--json").Json();
        string[] Lines(JsonElement report) => [.. report.Items("layers").Select(layer => layer.GetRawText()).Order()];
        Expect.SequenceEqual(Lines(one), Lines(two));
        Expect.Equal("tensornets.inspect/1", one.Text("schema"));
        Expect.Equal("pth", two.Text("format"));
        var dense = one.Items("layers").Where(layer => layer.Text("state") == "dense").ToList();
        Expect.Equal(dense.Count, one.GetProperty("factorizable").GetInt32());
        var parameters = dense.Sum(layer => layer.GetProperty("parameters").GetInt64());
        Expect.Equal(parameters, one.GetProperty("factorizableParameters").GetInt64());
        var table = Said.Of("inspect", files.Dense());
        Expect.True(table.Output.Contains($"{dense.Count} layers with {parameters:N0} of them"), table.Output);
        Expect.True(table.Code == 0 && table.Output.Contains("middle") && table.Output.Contains("12×8×3×3"), table.Output);
    }

    private static void InspectsCompressed()
    {
        using var files = new Files();
        var report = Said.Of("inspect", files.Compressed(), "--json").Json();
        var layers = report.Factorized();
        Expect.SequenceEqual(["middle", "hidden"], layers.Select(layer => layer.Text("name")));
        Expect.Equal("CP(6)", layers[0].Text("network"));
        Expect.True(layers[0].Real("error") is > 0 and < 1, "no error");
    }

    private static void ListsSensitivities()
    {
        using var files = new Files();
        var layers = Said.Of("sensitivity", files.Compressed(), "--json").Json().Items("layers");
        Expect.Equal(2, layers.Count);
        foreach (var layer in layers)
        {
            var (s, least) = (layer.Real("sensitivity"), layer.Real("balanced"));
            Expect.True(least > 0 && least <= s * (1 + 1e-5), $"S = {s}, least {least}");
        }

        Said.Of("sensitivity", files.Dense()).Refuses(ExitCode.Failed, "no factorized layer");
    }

    private static void Compares()
    {
        using var files = new Files();
        var (dense, compressed) = (files.Dense(), files.Compressed());
        var same = Said.Of("compare", dense, files.Pickled(), "--json").Json();
        Expect.Equal(0, same.Items("tensors").Count);
        var errors = Said.Of("inspect", compressed, "--json").Json().Factorized()
            .ToDictionary(layer => $"{layer.Text("name")}.weight", layer => layer.Real("error"));
        var found = Said.Of("compare", dense, compressed, "--json").Json().Items("tensors");
        Expect.Equal(errors.Count, found.Count);
        foreach (var tensor in found)
        {
            var (error, noted) = (tensor.Real("error"), errors[tensor.Text("name")]);
            Expect.True(Math.Abs(error - noted) < 1e-4, $"{error}, the file says {noted}");
        }
    }

    private static void IgnoresCulture()
    {
        using var files = new Files();
        var (dense, compressed) = (files.Dense(), files.Compressed());
        string[][] lines =
        [
            ["inspect", compressed], ["sensitivity", compressed], ["compare", dense, compressed],
            ["plan", dense, "--ratio", "2.5", "--workers", "1"], ["plan", dense, "--bytes", "5.5", "--workers", "1"],
            ["plan", dense, "--ratio", "2.5", "--json", "--workers", "1"],
        ];
        var expected = lines.Select(line => Said.Of(line)).ToList();
        var culture = CultureInfo.CurrentCulture;
        CultureInfo.CurrentCulture = new CultureInfo("")
        {
            NumberFormat = { NumberDecimalSeparator = ",", NumberGroupSeparator = ".", NegativeSign = "~" },
        };
        try
        {
            foreach (var (line, said) in lines.Zip(expected)) Expect.Equal(Timeless(said), Timeless(Said.Of(line)));
        }
        finally
        {
            CultureInfo.CurrentCulture = culture;
        }
    }

    /// <summary>What was said, without the times left, which differ from run to run in their digits alone.</summary>
    private static Said Timeless(Said said) => said with { Errors = Regex.Replace(said.Errors, "[0-9]+ (?=(s|min|h)\\b)", "N ") };

    private static void Refuses()
    {
        using var files = new Files();
        Said.Of("inspect", files.At("nothing.safetensors")).Refuses(ExitCode.Failed, "there is no file");
        Said.Of("inspect", files.Folder).Refuses(ExitCode.Failed, "is a folder");
        Said.Of("inspect").Refuses(ExitCode.Usage, "--help");
        Said.Of("inspekt", "x").Refuses(ExitCode.Usage, "inspekt");
        foreach (var name in new[] { "text.safetensors", "text.pth", "text.txt" })
        {
            File.WriteAllText(files.At(name), "This is no network.");
            Said.Of("inspect", files.At(name)).Refuses(ExitCode.Failed, files.At(name));
        }
    }

    private static void HelpsWithExamples()
    {
        foreach (var command in new[] { "", "inspect", "plan", "compress", "merge", "sensitivity", "compare" })
        {
            var help = Said.Of([.. command.Split(' ', StringSplitOptions.RemoveEmptyEntries), "--help"]);
            Expect.True(help.Code == 0 && help.Output.Contains("Examples:"), help.Output + help.Errors);
            var examples = help.Output[help.Output.IndexOf("Examples:", StringComparison.Ordinal)..].Split('\n').Skip(1)
                .Select(line => line.Trim()).Where(line => line != "").ToList();
            Expect.True(examples.Count > 0, help.Output);
            foreach (var example in examples)
            {
                Expect.True(example.StartsWith($"tensornets {command}", StringComparison.Ordinal), example);
                var said = Said.Of([.. example.Split(' ').Skip(1)]);
                Expect.True(said.Code == ExitCode.Failed, $"{example}: {said.Errors}");
            }
        }
    }
}
