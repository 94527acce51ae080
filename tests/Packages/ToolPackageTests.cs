using System.Text;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Packages;

/// <summary>The command tensornets as a stranger gets it: installed from a folder, in an empty home.</summary>
internal static class ToolPackageTests
{
    /// <summary>Larger packages are refused by feeds.</summary>
    private const long MostBytes = 250_000_000;

    internal static Test All(Lazily<Stranger> stranger) => TestSequenced(TestList("tool", [
        TestCase("packed for this system it is small enough for a feed, installs from a folder, and compresses a file", () =>
        {
            if (!OperatingSystem.IsLinux()) Expect.Skip("packed for linux-x64");
            var feed = stranger.Value.Folder("tool-feed");
            Stranger.Must(stranger.Value.PackTool(feed));
            foreach (var package in Directory.GetFiles(feed))
            {
                var bytes = new FileInfo(package).Length;
                Console.WriteLine($"    {Path.GetFileName(package)}: {bytes / 1e6:F1} MB");
                Expect.True(bytes < MostBytes, $"{package} has {bytes} bytes");
            }

            var folder = stranger.Value.Folder("tool");
            Stranger.Must(stranger.Value.Dotnet(folder, "tool", "install", "TensorNets.Tool", "--tool-path", folder, "--source", feed));
            var (dense, small) = (Path.Combine(folder, "dense.safetensors"), Path.Combine(folder, "small.safetensors"));
            File.WriteAllBytes(dense, Kernel());
            Said Tool(params string[] arguments) => stranger.Value.Program(Path.Combine(folder, "tensornets"), arguments);
            Stranger.Must(Tool("compress", dense, "--ratio", "2", "-o", small));
            Expect.True(new FileInfo(small).Length < new FileInfo(dense).Length, "the compressed file is not smaller");
            Expect.True(Stranger.Must(Tool("sensitivity", small)).Output.Contains("conv"), "no layer is listed");
            Expect.Equal(1, Tool("inspect", "nothing.safetensors").Code);
        }),
    ]));

    /// <summary>A safetensors file of one kernel, 16 × 16 × 3 × 3.</summary>
    private static byte[] Kernel()
    {
        var random = new Random(1);
        var numbers = Enumerable.Range(0, 16 * 16 * 9).SelectMany(_ => BitConverter.GetBytes((float)(random.NextDouble() - 0.5))).ToArray();
        var header = $$$"""{"conv.weight":{"dtype":"F32","shape":[16,16,3,3],"data_offsets":[0,{{{numbers.Length}}}]}}""";
        var text = Encoding.UTF8.GetBytes(header.PadRight((header.Length + 7) / 8 * 8));
        return [.. BitConverter.GetBytes((ulong)text.Length), .. text, .. numbers];
    }
}
