using System.Diagnostics;
using Expecto;
using TensorNets.CSharp;
using TensorNets.Tool;
using TorchSharp;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Tool;

/// <summary>The command as a process of its own that is interrupted.</summary>
internal static class SignalTests
{
    internal static Test All => TestList("signals", [
        TestCase(
            "interrupted as by Ctrl-C it ends with its exit code, leaves finished layers and no output, and says how to go on",
            () => Interrupts("-INT")),
        TestCase("asked to end it does the same", () => Interrupts("-TERM")),
    ]);

    private static void Interrupts(string signal)
    {
        if (OperatingSystem.IsWindows()) Expect.Skip("signals are sent by kill");
        using var files = new Files();
        var (output, work) = (files.At("small.safetensors"), files.At("work"));
        string[] line =
        [
            "compress", Layers(files), "-o", output, "--ratio", "2", "--format", "tucker2", "--work", work, "--workers", "1",
            "--sweeps", "100",
        ];
        var start = new ProcessStartInfo("dotnet", [typeof(Application).Assembly.Location, .. line])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        while (!process.HasExited && Finished(work) == 0) Thread.Sleep(5);
        Process.Start("kill", [signal, $"{process.Id}"]).WaitForExit();
        process.WaitForExit();
        if (process.ExitCode == ExitCode.Done) Expect.Skip("the run was over before it was interrupted");
        Expect.Equal(ExitCode.Interrupted, process.ExitCode);
        Expect.True(errors.Result.Contains("run the same command again"), errors.Result);
        Expect.True(Finished(work) > 0 && !File.Exists(output), "no layer is left, or an output");
    }

    private static int Finished(string work) => Directory.Exists(work) ? Directory.GetFiles(work, "*.safetensors").Length : 0;

    /// <summary>Enough layers that a run lasts some seconds.</summary>
    private static string Layers(Files files)
    {
        using var scope = torch.NewDisposeScope();
        var path = files.At("layers.safetensors");
        SafeTensorFile.Save(path, Enumerable.Range(0, 12).ToDictionary(i => $"conv{i}.weight", _ => torch.randn(96, 96, 3, 3)));
        return path;
    }
}
