using System.Diagnostics;
using TensorNets.CSharp;
using static TorchSharp.torch;

namespace TensorNets.Fuzz;

/// <summary>Programs that save two layers in turn over one file are killed at random moments: the file holds one of them whole.</summary>
internal static class KillTest
{
    // Of eight megabytes, so that a write takes long enough to be hit.
    private static FactorizedLayer Layer(int n) => Model.Fresh(Geometries.Linear(1024, 1024), Formats.Cp(1000 + n), seed: (ulong)n);

    /// <summary>Saves until it is killed.</summary>
    internal static int SaveForEver(string path)
    {
        using var first = Layer(0);
        using var second = Layer(1);
        Console.WriteLine("ready");

        while (true)
        {
            Model.Save(first, path);
            Model.Save(second, path);
        }
    }

    internal static bool Run(int kills, int seed)
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        var clock = Stopwatch.StartNew();
        var (lost, leftover) = (0, 0);
        byte[][] wholes = [Bytes(folder, 0), Bytes(folder, 1)];
        var random = new Random(seed);
        var delays = Enumerable.Range(0, kills).Select(_ => random.Next(1, 250)).ToArray();

        // Two at a time, each with its own file, that no time is lost while one starts.
        Parallel.For(0, kills, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
        {
            var own = Directory.CreateDirectory(Path.Combine(folder, $"{i}")).FullName;
            var path = Path.Combine(own, "layer");
            File.WriteAllBytes(path, wholes[0]);
            using var child = Parent.Start("save", path);
            var ready = child.StandardOutput.ReadLine();
            Thread.Sleep(delays[i]);
            child.Kill();
            child.WaitForExit();
            var found = File.ReadAllBytes(path);
            if (ready != "ready" || !wholes.Any(whole => whole.AsSpan().SequenceEqual(found))) Interlocked.Increment(ref lost);
            if (Directory.GetFiles(own).Length > 1) Interlocked.Increment(ref leftover);
            Directory.Delete(own, true);
        });

        Directory.Delete(folder, true);
        Console.WriteLine($"kill: {kills} programs killed while saving, {lost} files lost or half, {leftover} hit while writing beside; {clock.Elapsed.TotalSeconds:F1} s");
        return lost == 0;
    }

    private static byte[] Bytes(string folder, int n)
    {
        using var scope = NewDisposeScope();
        using var layer = Layer(n);
        var path = Path.Combine(folder, "whole");
        Model.Save(layer, path);
        using var read = Model.Load(path);
        var bytes = File.ReadAllBytes(path);
        File.Delete(path);
        return bytes;
    }
}
