using Expecto;
using Google.Protobuf;
using TensorNets.CSharp;
using TensorNets.Integration.OnnxFiles;
using TensorNets.Tool;
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

        // Times are the machine's: at a ratio of 1 with a hair a plan is there, or the refusal names what is slow.
        var timed = Said.Of("plan", dense, "--latency", "1.0001", "-o", files.At("timed.json"));
        if (timed.Code != ExitCode.Done) timed.Refuses(ExitCode.Failed, "The budget");
        else Expect.True(File.ReadAllText(files.At("timed.json")).Contains("\"latency\""), "no times in the plan");
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
        Said.Of("sensitivity", small).Refuses(ExitCode.Failed, "tensornets inspect");
    }

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
        Said.Of("sensitivity", dense).Refuses(ExitCode.Failed, "chains of nodes");
        Said.Of("compare", dense, files.Dense()).Refuses(ExitCode.Failed, "one format");
        Said.Of("plan", dense, "--ratio", "1.5", "--data", files.At("none")).Refuses(ExitCode.Failed, "no folder");
        var empty = Directory.CreateDirectory(files.At("empty")).FullName;
        Said.Of("plan", dense, "--ratio", "1.5", "--data", empty).Refuses(ExitCode.Failed, ".safetensors");
        Said.Of("plan", dense, "--ratio", "1.5", "--input", "a,b").Refuses(ExitCode.Usage, "sizes between commas");
        Said.Of("plan", files.Dense(), "--ratio", "1.5", "--input", "1,3,8,8").Refuses(ExitCode.Failed, "cannot be run");
        File.WriteAllText(files.At("text.onnx"), "This is no network.");
        Said.Of("inspect", files.At("text.onnx")).Refuses(ExitCode.Failed, "text.onnx");
    }
}
