using System.Diagnostics;
using System.Runtime.CompilerServices;
using Expecto;
using TensorNets.CSharp;
using TensorNets.Tool;
using TorchSharp;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Tool;

/// <summary>Shares of a network dealt out by a scheduler.</summary>
internal static class ClusterTests
{
    internal static Test All => TestList("clusters", [
        TestCase(
            "an array of Slurm of which a task is cancelled and a node is lost ends with the file of one run",
            Slurm),
    ]);

    /// <summary>About a minute, most of which Slurm waits.</summary>
    private static void Slurm()
    {
        using var files = new Files();
        var (dense, plan) = (files.At("layers.safetensors"), files.At("plan.json"));
        using var scope = torch.NewDisposeScope();
        torch.random.manual_seed(1);
        SafeTensorFile.Save(dense, Enumerable.Range(0, 12).ToDictionary(i => $"conv{i}.weight", _ => torch.randn(160, 160, 3, 3)));
        Said.Of("plan", dense, "--ratio", "2", "--format", "cp", "-o", plan).Went();
        string[] line =
        [
            Path.Combine(Folder(), "slurm.sh"), typeof(Application).Assembly.Location, dense, plan,
            Path.Combine(Folder(), "..", "..", "docs", "samples", "cluster", "compress.sbatch"),
        ];
        using var process = Process.Start(new ProcessStartInfo("bash", line) { RedirectStandardOutput = true })!;
        var said = process.StandardOutput.ReadToEnd().TrimEnd().Split('\n');
        process.WaitForExit();
        if (process.ExitCode == 77) Expect.Skip(said[^1]);
        Expect.Equal(0, process.ExitCode);
        Expect.True(said[^1].StartsWith("passed: ", StringComparison.Ordinal), said[^1]);
    }

    private static string Folder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
