using System.Text.Json;
using Expecto;
using TensorNets.CSharp;
using TensorNets.Tool;
using TensorNets.Tool.Report;
using TorchSharp;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Tool;

/// <summary>Plans and compressed files.</summary>
internal static class CompressTests
{
    internal static Test All => TestList("compression", [
        TestCase(
            "a file is compressed under a budget, and the library turns the dense model into the compressed one", CompressesUnderABudget),
        TestCase("a plan that was written gives the same file as its budget, from safetensors and from PyTorch's form", CompressesByAPlan),
        TestCase("linear layers may become TT-matrices where they are asked for", PlansTrainMatrices),
        TestCase("a budget of bytes is kept by ranks and bits together", CompressesByBytes),
        TestCase("a run that was interrupted goes on from its work folder and ends with the same bytes", Resumes),
        TestCase(
            "factors of 8 bits make a smaller file of next to the same errors, which every command and the library read", RoundsToBits),
        TestCase("the front of a layer falls, from no more S than the layer has", TracesFronts),
        TestCase("a report names every layer, is well-formed, and asks for nothing from outside", Reports),
        TestCase("shares of several workers are merged into the bytes of one run, in any order, and merge names what is missing", Merges),
        TestCase("a work folder is of one run", KeepsRunsApart),
        TestCase("command lines that cannot be are refused in one line", Refuses),
        TestCase("mutated files and plans are refused in one line, and no output is left", RefusesMutated),
    ]);

    /// <summary>A run that takes little time.</summary>
    internal static readonly string[] Quick = ["--sweeps", "3", "--corrections", "2"];

    internal static Said Compress(string file, string output, params string[] more) =>
        Said.Of(["compress", file, "-o", output, .. Quick, .. more]);

    private static void CompressesUnderABudget()
    {
        using var files = new Files();
        var output = files.At("small.safetensors");
        var result = Compress(files.Dense(), output, "--ratio", "2", "--json").Json();
        var (dense, compressed) = (result.GetProperty("denseParameters").GetInt64(), result.GetProperty("parameters").GetInt64());
        Expect.True(compressed <= dense / 2, $"{compressed} of {dense}");
        Expect.Equal(0, result.Items("failed").Count);
        foreach (var layer in result.Items("layers"))
        {
            var (before, after) = (layer.Real("startSensitivity"), layer.Real("sensitivity"));
            Expect.True(after > 0 && after <= before * (1 + 1e-4), $"S was {before}, is {after}");
        }

        using var scope = torch.NewDisposeScope();
        using var network = Files.Network();
        Model.LoadCompressed(network, output);
        Expect.Equal(compressed, network.parameters().Sum(parameter => parameter.numel()));
        Expect.SequenceEqual([2, 5], network.call(torch.ones(2, 3, 8, 8)).shape);

        var listed = Said.Of("inspect", output, "--json").Json().Factorized().Select(layer => layer.Text("network"));
        Expect.SequenceEqual(result.Items("layers").Select(layer => layer.Text("network")), listed);
    }

    private static void CompressesByAPlan()
    {
        using var files = new Files();
        var plan = files.At("plan.json");
        var report = Said.Of("plan", files.Dense(), "--ratio", "2", "-o", plan, "--json").Json();
        Expect.True(report.Items("layers").Any(layer => layer.Text("choice") != ""), "nothing is planned");
        var outputs = new[] { files.At("budget.safetensors"), files.At("plan.safetensors"), files.At("pickled.safetensors") };
        Compress(files.Dense(), outputs[0], "--ratio", "2", "--json").Json();
        Compress(files.Dense(), outputs[1], "--plan", plan, "--json").Json();
        Compress(files.Pickled(), outputs[2], "--plan", plan, "--json").Json();
        Expect.SequenceEqual(File.ReadAllBytes(outputs[0]), File.ReadAllBytes(outputs[1]));
        Expect.Equal(0, Said.Of("compare", outputs[0], outputs[2], "--json").Json().Items("tensors").Count);
    }

    private static void CompressesByBytes()
    {
        using var files = new Files();
        var (plan, output) = (files.At("bytes.json"), files.At("bytes.safetensors"));
        var said = Said.Of("plan", files.Dense(), "--bytes", "5", "-o", plan, "--json").Json();
        Expect.True(said.Real("bytes") <= said.Real("denseBytes") / 5, "the budget is not kept");
        Expect.True(said.Items("layers").Any(layer => layer.Real("bits") > 0), "no bits are planned");
        Compress(files.Dense(), output, "--plan", plan, "--json").Json();
        // Statistics of batch norms stand in both files, and are no parameters, which plans count.
        var others = Numbers(files.Dense()) - (long)said.Real("denseBytes");
        Expect.True(others > 0, "no statistics");
        Expect.True(Numbers(output) <= (long)said.Real("bytes") + others, $"{Numbers(output)} bytes, {others} of them statistics");
        var shown = Said.Of("plan", files.Dense(), "--bytes", "5").Output;
        Expect.True(shown.Contains(" bytes in float32, planned ") && shown.Contains(" bits"), shown);
        Said.Of("plan", files.Dense(), "--bytes", "1").Refuses(ExitCode.Usage, "above 1");
    }

    /// <summary>Bytes of the tensors of a safetensors file: all but the header and the eight bytes that say how long it is.</summary>
    private static long Numbers(string path)
    {
        using var file = new BinaryReader(File.OpenRead(path));
        return file.BaseStream.Length - 8 - file.ReadInt64();
    }

    private static void Resumes()
    {
        using var files = new Files();
        var (dense, work) = (files.Dense(), files.At("work"));
        var (whole, resumed) = (files.At("whole.safetensors"), files.At("resumed.safetensors"));
        Compress(dense, whole, "--ratio", "2").Went();

        using var stop = new CancellationTokenSource();
        using var watcher = new FileSystemWatcher(Directory.CreateDirectory(work).FullName);
        watcher.Renamed += (_, change) => { if (change.FullPath.EndsWith(".safetensors", StringComparison.Ordinal)) stop.Cancel(); };
        watcher.EnableRaisingEvents = true;
        string[] line = ["compress", dense, "-o", resumed, "--ratio", "2", "--work", work, "--workers", "1", .. Quick];
        var first = Said.Of(stop.Token, line);
        if (first.Code == ExitCode.Interrupted)
        {
            Expect.True(first.Errors.Contains("run the same command again"), first.Errors);
            Expect.True(!File.Exists(resumed), "an output was written");
        }

        var second = Said.Of([.. line, "--json"]).Json();
        Expect.True(second.Items("layers").Any(layer => layer.GetProperty("isResumed").GetBoolean()), "nothing was resumed");
        Expect.SequenceEqual(File.ReadAllBytes(whole), File.ReadAllBytes(resumed));
    }

    private static void RoundsToBits()
    {
        using var files = new Files();
        var (dense, real, integers) = (files.Dense(), files.At("real.safetensors"), files.At("integers.safetensors"));
        Compress(dense, real, "--ratio", "2").Went();
        Compress(dense, integers, "--ratio", "2", "--bits", "8").Went();
        var (a, b) = (new FileInfo(real).Length, new FileInfo(integers).Length);
        Expect.True(b < a, $"{b} bytes, {a} without bits");
        Dictionary<string, double> Errors(string file) => Said.Of("compare", dense, file, "--json").Json().Items("tensors")
            .ToDictionary(tensor => tensor.Text("name"), tensor => tensor.Real("error"));
        var errors = Errors(real);
        foreach (var (name, error) in Errors(integers))
        {
            Expect.True(error < errors[name] + 0.02, $"{name}: {error}, {errors[name]} without bits");
        }

        Said.Of("inspect", integers).Went();
        Said.Of("sensitivity", integers).Went();
        using var network = Files.Network();
        Model.LoadCompressed(network, integers);
        Compress(dense, integers, "--ratio", "2", "--bits", "9").Refuses(ExitCode.Usage, "2 to 8");
    }

    private static void Reports()
    {
        using var files = new Files();
        var page = files.At("report.html");
        string[] more = ["--ratio", "2", "--report", page, "--front", "hidden", "--json"];
        var result = Compress(files.Dense(), files.At("small.safetensors"), more).Json();
        var html = File.ReadAllText(page);
        Compress(files.Dense(), files.At("small.safetensors"), [.. more, "--work", files.At("work")]).Json();
        Expect.Equal(Front(html), Front(File.ReadAllText(page)));
        foreach (var layer in result.Items("layers"))
        {
            Expect.True(html.Contains($"<td>{layer.Text("name")}</td>") && html.Contains(layer.Text("network")), html);
        }

        Expect.True(!html.Contains("http") && !html.Contains("src=") && !html.Contains("href="), "it asks for something from outside");
        var end = html.IndexOf("</main>", StringComparison.Ordinal) + "</main>".Length;
        var body = html[html.IndexOf("<main>", StringComparison.Ordinal)..end];
        var read = System.Xml.Linq.XElement.Parse(body);
        Expect.Equal(result.Items("layers").Count + 1, read.Descendants("figure").Count());
        Expect.Equal(1, read.Descendants("tr").Select(row => row.Elements().Count()).Distinct().Count());
    }

    /// <summary>The front that a page ends with.</summary>
    private static string Front(string html) =>
        html[html.LastIndexOf("<figure>", StringComparison.Ordinal)..html.LastIndexOf("</figure>", StringComparison.Ordinal)];

    private static void TracesFronts()
    {
        using var files = new Files();
        using var scope = torch.NewDisposeScope();
        var source = LayerSources.OfFile(files.Dense());
        var plan = Model.Plan(source, Budgets.ParameterRatio(2), new(KeepFirst: false, KeepLast: false));
        var report = Model.Compress(source, plan, new(Sweeps: 3, Corrections: 0, Workers: 1));
        foreach (var made in report.Layers)
        {
            var front = LayerFront.Trace(source, plan.Layers.Single(layer => layer.Path == made.Path), made, new FitOptions(MaxSweeps: 5));
            var points = front.Points;
            Expect.True(points.Count > 0 && front.Now.Sensitivity > 0, $"{front}");
            Expect.SequenceEqual(points.OrderBy(point => point.Error), points);
            Expect.SequenceEqual(points.OrderByDescending(point => point.Sensitivity), points);
            Expect.True(points[0].Sensitivity <= front.Now.Sensitivity * (1 + 1e-6), $"{front.Now} is below {points[0]}");
        }

        HasNoBound(source, plan, report.Layers[0]);
        var dense = files.Dense();
        Compress(dense, files.At("a.safetensors"), "--ratio", "2", "--front", "hidden").Refuses(ExitCode.Usage, "--report");
        Compress(dense, files.At("a.safetensors"), "--ratio", "2", "--front", "none", "--report", files.At("a.html"))
            .Refuses(ExitCode.Failed, "'none'");
    }

    /// <summary>A layer as far from its kernel as nothing would be has no point, and is drawn by itself.</summary>
    private static void HasNoBound(LayerSource source, CompressionPlan plan, CompressedLayer made)
    {
        var far = new CompressedLayer(
            made.Path, made.Layer, made.File, made.Bytes, 1, made.Sensitivity, made.StartSensitivity, made.Time, made.IsResumed);
        var front = LayerFront.Trace(source, plan.Layers.Single(layer => layer.Path == made.Path), far, new FitOptions(MaxSweeps: 5));
        Expect.True(front.Points.Count == 0 && front.Now.Error == 1, $"{front}");
        var drawn = System.Xml.Linq.XElement.Parse(Charts.Front(front));
        Expect.Equal(1, drawn.Descendants("circle").Count());
        Expect.True(!drawn.ToString().Contains("NaN"), $"{drawn}");
    }

    private static void Merges()
    {
        using var files = new Files();
        var (dense, work, whole, merged) = (files.Dense(), files.At("work"), files.At("whole.safetensors"), files.At("merged.safetensors"));
        var all = Compress(dense, whole, "--ratio", "2", "--json").Json().Items("layers")
            .Select(layer => layer.Text("name")).ToList();
        var done = new List<string>();
        foreach (var share in new[] { "3/3", "1/3", "2/3" })
        {
            var said = Said.Of(["compress", dense, "--ratio", "2", "--work", work, "--shard", share, .. Quick, "--json"]);
            done.AddRange(said.Json().Items("layers").Select(layer => layer.Text("name")));
            var merge = Said.Of("merge", "--work", work, "-o", merged);
            if (done.Count < all.Count) merge.Refuses(ExitCode.Incomplete, all.First(name => !done.Contains(name)));
            else merge.Went();
        }

        Expect.SequenceEqual(all.Order(), done.Order());
        Expect.SequenceEqual(File.ReadAllBytes(whole), File.ReadAllBytes(merged));
        Said.Of(["compress", dense, "--ratio", "2", "--work", work, "--shard", "4/3"]).Refuses(ExitCode.Usage, "i/n");
        Said.Of(["compress", dense, "--ratio", "2", "--shard", "1/3"]).Refuses(ExitCode.Usage, "--work");
        Said.Of("merge", "--work", files.At("none"), "-o", merged).Refuses(ExitCode.Failed, "no work folder");
    }

    private static void KeepsRunsApart()
    {
        using var files = new Files();
        var (dense, work) = (files.Dense(), files.At("work"));
        Compress(dense, files.At("a.safetensors"), "--ratio", "2", "--work", work).Went();
        Compress(dense, files.At("b.safetensors"), "--ratio", "3", "--work", work).Refuses(ExitCode.Failed, "is of another run");
        File.WriteAllText(Path.Combine(work, "run.json"), "{");
        Compress(dense, files.At("b.safetensors"), "--ratio", "2", "--work", work).Refuses(ExitCode.Failed, "cannot be read");
    }

    private static void PlansTrainMatrices()
    {
        using var files = new Files();
        var (dense, plan, output) = (files.Dense(), files.At("plan.json"), files.At("small.safetensors"));
        Said.Of("plan", dense, "--ratio", "2", "-o", plan).Went();
        Expect.True(!File.ReadAllText(plan).Contains("TT-matrix"), "not asked for");
        Said.Of("plan", dense, "--ratio", "2", "--tt-matrix", "2", "3", "-o", plan).Went();
        Expect.True(File.ReadAllText(plan).Contains("TT-matrix(16,12;"), "of two cores");
        Expect.True(File.ReadAllText(plan).Contains("TT-matrix(8,6,4;"), "of three cores");
        Compress(dense, output, "--plan", plan).Went();
    }

    private static void Refuses()
    {
        using var files = new Files();
        var (dense, output) = (files.Dense(), files.At("small.safetensors"));
        Said.Of("plan", dense).Refuses(ExitCode.Usage, "--ratio");
        Said.Of("plan", dense, "--ratio", "2", "--error", ".1").Refuses(ExitCode.Usage, "leave all but one out");
        Said.Of("plan", dense, "--ratio", "0.5").Refuses(ExitCode.Usage, "above 1");
        Said.Of("plan", dense, "--ratio", "2", "--format", "svd").Refuses(ExitCode.Usage, "svd");
        Said.Of("plan", dense, "--ratio", "2", "--tt-matrix", "1").Refuses(ExitCode.Usage, "expected 2 or more");
        Said.Of("plan", dense, "--ratio", "2", "--keep", "nothing").Refuses(ExitCode.Failed, "tensornets inspect");
        Said.Of("plan", dense, "--ratio", "2", "-o", files.At("no/plan.json")).Refuses(ExitCode.Failed, "no/plan.json");
        Said.Of("plan", dense, "--ratio", "1000").Refuses(ExitCode.Failed, "supported");
        Said.Of("plan", files.Compressed(), "--ratio", "2").Refuses(ExitCode.Failed, "compressed already");
        Compress(dense, files.At("small.onnx"), "--ratio", "2").Refuses(ExitCode.Failed, ".safetensors");
        Compress(dense, dense, "--ratio", "2").Refuses(ExitCode.Failed, "itself");
        Compress(dense, files.At("no/small.safetensors"), "--ratio", "2").Refuses(ExitCode.Failed, "no folder");
        Compress(dense, output, "--ratio", "2", "--plan", "plan.json").Refuses(ExitCode.Usage, "--plan");
        Compress(dense, output, "--keep", "middle", "--plan", "plan.json").Refuses(ExitCode.Usage, "--keep says how a plan is made");
        Said.Of("plan", dense, "--flops", "2").Refuses(ExitCode.Failed, "FLOPs are not known");
        Compress(dense, output, "--plan", files.At("none.json")).Refuses(ExitCode.Failed, "none.json");
        Expect.True(!File.Exists(output), "an output was written");
    }

    private static void RefusesMutated()
    {
        using var files = new Files();
        var plan = files.At("plan.json");
        Said.Of("plan", files.Dense(), "--ratio", "2", "-o", plan).Went();
        var random = new Random(1);
        var rounds = int.TryParse(Environment.GetEnvironmentVariable("TENSORNETS_MUTATIONS"), out var set) ? set : 40;
        (string, string)[] sources =
        [
            (files.Dense(), "m.safetensors"), (files.Pickled(), "m.pth"), (files.Compressed(), "c.safetensors"),
            (GraphTests.Graph(files), "m.onnx"), (plan, "m.json"),
        ];
        foreach (var (source, name) in sources)
        {
            for (var i = 0; i < rounds; i++)
            {
                var bytes = File.ReadAllBytes(source);
                var reach = Math.Min(bytes.Length, 4000);
                for (var j = random.Next(1, 4); j > 0; j--)
                {
                    var at = random.Next(2) == 0 ? random.Next(reach) : bytes.Length - 1 - random.Next(reach);
                    bytes[at] = (byte)random.Next(256);
                }

                if (random.Next(4) == 0) Array.Resize(ref bytes, random.Next(bytes.Length));
                File.WriteAllBytes(files.At(name), bytes);
                var said = name == "m.json" ? Compress(files.Dense(), files.At("out.safetensors"), "--plan", files.At(name))
                    : Said.Of(name == "c.safetensors" ? "sensitivity" : "inspect", files.At(name));
                if (said.Code == ExitCode.Failed) said.Refuses(ExitCode.Failed, "");
                else Expect.True(said.Code is ExitCode.Done or ExitCode.Incomplete, $"{name}, round {i}: {said.Code} {said.Errors}");
            }
        }

        var withHidden = new EnumerationOptions { AttributesToSkip = FileAttributes.None };
        Expect.SequenceEqual([], Directory.EnumerateFiles(files.Folder, "*.tmp", withHidden).Select(Path.GetFileName));
    }
}
