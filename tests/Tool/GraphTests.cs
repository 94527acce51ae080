using Expecto;
using Google.Protobuf;
using TensorNets.CSharp;
using TensorNets.Integration.OnnxFiles;
using TensorNets.Onnx;
using TensorNets.Tool;
using TensorNets.Tool.Commands;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TensorNets.Integration.Tool.CompressTests;

namespace TensorNets.Integration.Tool;

/// <summary>The commands on .onnx files.</summary>
internal static class GraphTests
{
    internal static Test All => TestList("graphs", [
        TestCase(
            "an .onnx file is inspected, planned, compressed and compared, and the written file runs as it was verified", CompressesGraphs),
        TestCase("a budget of latency is planned by times of this machine, or the refusal names what is slow", PlansByLatency),
        TestCase("rounds of latency aim at what was asked for, no less and no more", AimsAtTheRatio),
        TestCase("six rounds that do not suffice are said so, and give the fastest plan", SaysWhatIsMissing),
        TestCase("what stops a budget of latency is named", NamesTheSlow),
        TestCase("with inputs given, errors are those of what layers give; noise is what --input says", TakesInputs),
        TestCase("shares of an .onnx file are merged into the bytes of one run", MergesGraphs),
        TestCase("what cannot be done with an .onnx file is refused in one line", Refuses),
    ]);

    /// <summary>Four convolutions and a product over images of 8 × 8, batches of any size.</summary>
    internal static string Graph(Files files, long rows = 8)
    {
        var pads = ("pads", (object)new long[] { 1, 1, 1, 1 });
        var graph = new GraphBuilder().Input("x", [-1, 3, rows, 8]).Output("y", [-1, 5])
            .Weight("w1", [8, 3, 3, 3]).Node("Conv", ["x", "w1"], "c1", pads).Node("Relu", ["c1"], "r1")
            .Weight("w2", [12, 8, 3, 3], seed: 2).Node("Conv", ["r1", "w2"], "c2", pads, ("strides", new long[] { 2, 2 }))
            .Node("Relu", ["c2"], "r2")
            .Weight("w3", [12, 12, 3, 3], seed: 3).Node("Conv", ["r2", "w3"], "c3", pads).Node("Relu", ["c3"], "r3")
            .Weight("w4", [16, 12, 3, 3], seed: 4).Node("Conv", ["r3", "w4"], "c4", pads)
            .Node("GlobalAveragePool", ["c4"], "p").Node("Flatten", ["p"], "f")
            .Weight("w5", [16, 5], seed: 5).Node("Gemm", ["f", "w5"], "y");
        File.WriteAllBytes(files.At("model.onnx"), graph.Model.ToByteArray());
        return files.At("model.onnx");
    }

    /// <summary>Convolutions of which the second has two groups.</summary>
    private static string Grouped(Files files)
    {
        var pads = ("pads", (object)new long[] { 1, 1, 1, 1 });
        var graph = new GraphBuilder().Input("x", [-1, 3, 8, 8]).Output("y", [-1, 4, 8, 8])
            .Weight("w1", [16, 3, 3, 3]).Node("Conv", ["x", "w1"], "c", pads)
            .Weight("w2", [16, 8, 3, 3], seed: 2).Node("Conv", ["c", "w2"], "g", pads, ("group", 2L))
            .Weight("w3", [4, 16, 3, 3], seed: 3).Node("Conv", ["g", "w3"], "y", pads);
        File.WriteAllBytes(files.At("grouped.onnx"), graph.Model.ToByteArray());
        return files.At("grouped.onnx");
    }

    private static void CompressesGraphs()
    {
        using var files = new Files();
        var (dense, small) = (Graph(files), files.At("small.onnx"));
        var layers = Said.Of("inspect", dense, "--json").Json().Items("layers");
        Expect.SequenceEqual(["Conv", "Conv", "Conv", "Conv", "Gemm", ""], layers.Select(layer => layer.Text("kind")));
        Said.Of("plan", dense, "--flops", "1.5", "-o", files.At("plan.json")).Went();
        var made = Compress(dense, small, "--plan", files.At("plan.json"), "--report", files.At("report.html"), "--json").Json();
        Expect.True(made.Items("layers").Count > 0, "no layer was made");
        Expect.Equal(0, made.Items("failed").Count);
        var verified = made.GetProperty("verified");
        var found = Said.Of("compare", dense, small, "--json").Json();
        Expect.Equal(verified.Real("outputError"), found.Real("outputError"));
        Expect.True(verified.Real("outputError") is > 0 and < 1.5, verified.GetRawText());
        Expect.Equal(made.Items("layers").Count, found.Items("layers").Count);
        Said.Of("compare", dense, small).Went();
        ListsMade(small, made);
        Compress(dense, files.At("bits.onnx"), "--ratio", "1.5", "--bits", "4").Went();
        Expect.True(File.ReadAllText(files.At("bits.onnx")).Contains("DequantizeLinear"), "the file holds no integers");
        var integers = Said.Of("inspect", files.At("bits.onnx"), "--json").Json().Factorized();
        Expect.True(integers.All(layer => layer.Text("dType") == "Int4"), "a dtype is not that of the integers");
        Expect.True(integers.All(layer => layer.GetProperty("parameters").GetInt64() > 0), "integers are not counted");
    }

    /// <summary>What the written file says of its layers is what was said when they were made.</summary>
    private static void ListsMade(string small, System.Text.Json.JsonElement made)
    {
        var listed = Said.Of("inspect", small, "--json").Json();
        var factorized = listed.Factorized().ToDictionary(layer => layer.Text("name"));
        Expect.Equal(made.Items("layers").Count, factorized.Count);
        foreach (var layer in made.Items("layers"))
        {
            var found = factorized[layer.Text("name")];
            Expect.Equal(layer.Real("error"), found.Real("error"));
            Expect.Equal(layer.Real("sensitivity"), found.Real("sensitivity"));
            Expect.Equal("Conv", found.Text("kind"));
            Expect.Equal(layer.Text("network"), found.Text("network"));
        }

        var sum = listed.Items("layers").Sum(layer => layer.GetProperty("parameters").GetInt64());
        Expect.Equal(listed.GetProperty("parameters").GetInt64(), sum);
        ListsSensitivities(small, factorized);
    }

    private static void ListsSensitivities(string small, Dictionary<string, System.Text.Json.JsonElement> factorized)
    {
        var layers = Said.Of("sensitivity", small, "--json").Json().Items("layers");
        Expect.SequenceEqual(factorized.Keys, layers.Select(layer => layer.Text("name")));
        foreach (var layer in layers)
        {
            var (s, least) = (layer.Real("sensitivity"), layer.Real("balanced"));
            Expect.Equal(factorized[layer.Text("name")].Real("sensitivity"), s);
            Expect.Equal(factorized[layer.Text("name")].GetProperty("parameters").GetInt64(), layer.GetProperty("parameters").GetInt64());
            Expect.True(least > 0 && least <= s * (1 + 1e-5), $"S = {s}, least {least}");
            Expect.True(layer.Real("relative") > 0, $"{layer}");
        }
    }

    /// <summary>Layers whose time is 1 ms for each 10,000 FLOPs, dense and of candidates, in a plan.</summary>
    private static CompressionPlan Timed(Files files)
    {
        using var scope = torch.NewDisposeScope();
        var model = OnnxModel.Load(Graph(files));
        var source = model.Source(OnnxInputs.Noise(model));
        double[] Times(PlannedLayer layer, IReadOnlyList<PlanCandidate> candidates) =>
            [layer.Flops / 1e4, .. candidates.Select(candidate => candidate.Flops / 1e4)];
        return Model.Plan(source, Budgets.LatencyRatio(1.2), new(Latencies: Times));
    }

    /// <summary>The time of a network in which the layers save as much as they do alone, or <c>saved</c> times that, beside a rest.</summary>
    private static OnnxTimes Whole(CompressionPlan plan, double saved, double rest)
    {
        var before = plan.DenseLatency + rest;
        var after = before - saved * (plan.DenseLatency - plan.Latency);
        return new(before, after, after / before);
    }

    private static void PlansByLatency()
    {
        using var files = new Files();
        var timed = Said.Of("plan", Graph(files), "--latency", "1.0001", "-o", files.At("timed.json"));
        if (timed.Code != ExitCode.Done) Expect.True(timed.Errors.Contains("'Conv_c"), timed.Errors);
        else Expect.True(File.ReadAllText(files.At("timed.json")).Contains("\"latency\""), "no times in the plan");
    }

    private static void AimsAtTheRatio()
    {
        using var files = new Files();
        var plan = Timed(files);
        foreach (var saved in new[] { 1.0, .6, 1.4 })
        {
            var rest = .5 * plan.DenseLatency;
            using var errors = new StringWriter();
            var made = LatencyRounds.Run(new Terminal(TextWriter.Null, errors), plan, 1.25, found => Whole(found, saved, rest));
            // What all layers may take so that the network takes 1 / 1.25 of what it took.
            var most = plan.DenseLatency - ((1 - (1 / 1.25)) * (plan.DenseLatency + rest) / saved);
            Expect.True(made.Latency <= most * (1 + 1e-9), $"{made.Latency} of {most} ms: {errors}");
            var asked = plan.Latency <= most ? plan : Model.Plan(plan, Budgets.Latency(most * (1 + 1e-9)));
            Expect.Equal(asked.Latency, made.Latency);
            Expect.True(errors.ToString().Split('\n').Count(line => line.StartsWith("round ")) is >= 1 and <= 6, $"{errors}");
        }
    }

    private static void SaysWhatIsMissing()
    {
        using var files = new Files();
        using var errors = new StringWriter();
        var (plan, round) = (Timed(files), 0);
        var times = new List<(CompressionPlan Plan, double Ratio)>();
        OnnxTimes Hardly(CompressionPlan found)
        {
            // All but fast enough, and the third time a little more so.
            var ratio = (1 / 1.25) + (++round == 3 ? 1e-5 : 1e-4);
            times.Add((found, ratio));
            return new(found.DenseLatency, ratio * found.DenseLatency, ratio);
        }

        var made = LatencyRounds.Run(new Terminal(TextWriter.Null, errors), plan, 1.25, Hardly);
        Expect.Equal(6, times.Count);
        Expect.True(ReferenceEquals(times[2].Plan, made), "another plan than the fastest");
        Expect.True(errors.ToString().Contains("6 rounds did not suffice") && errors.ToString().Contains("1.25 times"), $"{errors}");
    }

    private static void NamesTheSlow()
    {
        using var files = new Files();
        var plan = Timed(files);
        var terminal = new Terminal(TextWriter.Null, TextWriter.Null);
        var refused = Expect.Throws<ToolException>(
            () => LatencyRounds.Run(terminal, plan, 3, found => Whole(found, saved: 1, plan.DenseLatency)));
        Expect.True(refused.Message.Contains("--latency 3") && refused.Message.Contains("'Conv_c2'"), refused.Message);
        var most = 2 * plan.DenseLatency / (2 * plan.DenseLatency - plan.Layers.Sum(Saved));
        var said = most.ToString("F2", System.Globalization.CultureInfo.InvariantCulture);
        Expect.True(refused.Message.Contains($"about {said} times"), $"{said}: {refused.Message}");
    }

    private static double Saved(PlannedLayer layer) =>
        layer.Latency - layer.Candidates.Select(candidate => candidate.Latency).Where(double.IsFinite).Append(layer.Latency).Min();

    private static void TakesInputs()
    {
        using var files = new Files();
        var dense = Graph(files);
        var data = Directory.CreateDirectory(files.At("data")).FullName;
        using var scope = torch.NewDisposeScope();
        for (var i = 0; i < 2; i++)
        {
            var batch = new Dictionary<string, torch.Tensor> { ["x"] = torch.rand(4, 3, 8, 8) };
            SafeTensorFile.Save(Path.Combine(data, $"{i}.safetensors"), batch);
        }

        var plan = Said.Of("plan", dense, "--ratio", "1.5", "--data", data, "--json").Json();
        Expect.Equal("calibrated", plan.Text("measure"));
        var made = Compress(dense, files.At("small.onnx"), "--ratio", "1.5", "--data", data, "--json").Json();
        Expect.Equal(data, made.GetProperty("verified").Text("inputs"));
        Said.Of("plan", Graph(files, rows: -1), "--flops", "1.5").Refuses(ExitCode.Failed, "'x'");
        Said.Of("plan", Graph(files, rows: -1), "--flops", "1.5", "--input", "2,3,8,8").Went();
    }

    private static void MergesGraphs()
    {
        using var files = new Files();
        var (dense, work) = (Graph(files), files.At("work"));
        Compress(dense, files.At("whole.onnx"), "--ratio", "1.5").Went();
        foreach (var share in new[] { "1/2", "2/2" })
        {
            Said.Of(["compress", dense, "--ratio", "1.5", "--work", work, "--shard", share, .. Quick]).Went();
        }

        var merged = Said.Of("merge", "--work", work, "-o", files.At("merged.onnx"), "--json").Json();
        Expect.SequenceEqual(File.ReadAllBytes(files.At("whole.onnx")), File.ReadAllBytes(files.At("merged.onnx")));
        var found = Said.Of("compare", dense, files.At("merged.onnx"), "--json").Json();
        Expect.Equal(found.Real("outputError"), merged.GetProperty("verified").Real("outputError"));
    }

    private static void Refuses()
    {
        using var files = new Files();
        var dense = Graph(files);
        Said.Of("sensitivity", dense).Refuses(ExitCode.Failed, "no factorized layer");
        Said.Of("compare", dense, files.Dense()).Refuses(ExitCode.Failed, "one format");
        Compress(Grouped(files), files.At("a.onnx"), "--error", ".9", "--report", files.At("a.html"), "--front", "Conv_g")
            .Refuses(ExitCode.Failed, "2 groups");
        Expect.True(!File.Exists(files.At("a.onnx")), "the front was refused too late");
        Said.Of("plan", dense, "--ratio", "1.5", "--data", files.At("none")).Refuses(ExitCode.Failed, "no folder");
        var empty = Directory.CreateDirectory(files.At("empty")).FullName;
        Said.Of("plan", dense, "--ratio", "1.5", "--data", empty).Refuses(ExitCode.Failed, ".npy");
        Said.Of("plan", dense, "--ratio", "1.5", "--input", "a,b").Refuses(ExitCode.Usage, "sizes between commas");
        Said.Of("plan", files.Dense(), "--ratio", "1.5", "--input", "1,3,8,8").Refuses(ExitCode.Failed, "cannot be run");
        File.WriteAllText(files.At("text.onnx"), "This is no network.");
        Said.Of("inspect", files.At("text.onnx")).Refuses(ExitCode.Failed, "text.onnx");
    }
}
