using System.Diagnostics;
using System.Globalization;
using TensorNets.CSharp;
using static TorchSharp.torch;

namespace TensorNets.Fuzz;

/// <summary>Two workers do a share of a model's layers each, from one file into one work folder, and are killed at random moments and begun
/// again: no finished layer is lost or made a second time, and what is merged has the bits of a run that nobody has disturbed; at least one
/// kill meets a worker at work.</summary>
internal static class WorkersTest
{
    private const int Layers = 12, Workers = 2, KillsOfRound = 4;

    private static string Dense(string folder) => Path.Combine(folder, "dense.safetensors");

    private static string Work(string folder) => Path.Combine(folder, "work");

    private static CompressionPlan Plan(string folder) =>
        Model.PlanFromJson(File.ReadAllText(Path.Combine(folder, "plan.json")));

    /// <summary>Writes a model and its plan into a folder.</summary>
    private static void Write(string folder)
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        SafeTensorFile.Save(Dense(folder), Enumerable.Range(0, Layers).ToDictionary(i => $"l{i}.weight", _ => randn(24, 24, 3, 3)));
        var settings = new PlanSettings([Families.Tucker2], KeepFirst: false, KeepLast: false, Workers: 1);
        var plan = Model.Plan(LayerSources.OfFile(Dense(folder)), Budgets.ParameterRatio(1.5), settings);
        for (var i = 0; i < Layers; i++) plan = Model.Choose(plan, $"l{i}", i % 2 == 0 ? Formats.Cp(30) : Formats.Tucker2(12, 12));
        File.WriteAllText(Path.Combine(folder, "plan.json"), Model.PlanToJson(plan));
    }

    /// <summary>A worker that does its share of the layers, counted from 1.</summary>
    internal static int Share(string folder, string worker)
    {
        var plan = Model.Part(Plan(folder), int.Parse(worker, CultureInfo.InvariantCulture), Workers);
        var settings = new CompressSettings(Workers: 1, Folder: Work(folder), ReleaseLayers: true);
        var source = LayerSources.OfFile(Dense(folder));
        Console.WriteLine("ready");
        return Model.Compress(source, plan, settings).Failed.Count;
    }

    /// <summary>Puts the layers of a folder together; whether all are there.</summary>
    private static bool Merge(string folder, string path, CancellationToken cancellation)
    {
        var settings = new CompressSettings(Workers: 1, Folder: Work(folder), ReleaseLayers: true, Cancellation: cancellation);
        var report = Model.Compress(LayerSources.OfFile(Dense(folder)), Plan(folder), settings);
        LayerInFile InFile(CompressedLayer layer) => new([layer.Path], layer.File, "", layer.KernelError, isKernelOnly: true);
        StateFiles.Merge(path, Dense(folder), [.. report.Layers.Select(InFile)]);
        return report.Failed.Count == 0;
    }

    private static Process Start(string folder, int worker)
    {
        var child = Parent.Start("share", folder, $"{worker}");
        child.StandardOutput.ReadLine();
        return child;
    }

    private static Dictionary<string, DateTime> Finished(string folder) => Directory.Exists(Work(folder))
        ? Directory.GetFiles(Work(folder), "*.safetensors").ToDictionary(file => file, File.GetLastWriteTimeUtc)
        : [];

    internal static bool Run(int kills, int seed)
    {
        var folder = Directory.CreateTempSubdirectory().FullName;
        var clock = Stopwatch.StartNew();
        var (whole, merged) = (Path.Combine(folder, "whole.safetensors"), Path.Combine(folder, "merged.safetensors"));
        var random = new Random(seed);
        var (landed, lost, remade, merges, wrong) = (0, 0, 0, 0, 0);
        Write(folder);
        if (!Merge(folder, whole, CancellationToken.None)) throw new InvalidOperationException("the run that nobody disturbs is not whole");

        for (var done = 0; done < kills;)
        {
            Directory.Delete(Work(folder), true);
            var workers = Enumerable.Range(1, Workers).Select(worker => Start(folder, worker)).ToArray();
            var before = new Dictionary<string, DateTime>();
            for (var i = 0; i < KillsOfRound && done < kills; i++, done++)
            {
                Thread.Sleep(random.Next(1, 400));
                var which = random.Next(Workers);
                if (!workers[which].HasExited) landed++;
                workers[which].Kill();
                workers[which].WaitForExit();
                workers[which].Dispose();
                var found = Finished(folder);
                lost += before.Keys.Count(file => !found.ContainsKey(file));
                remade += before.Count(pair => found.TryGetValue(pair.Key, out var written) && written != pair.Value);
                before = found;
                workers[which] = Start(folder, which + 1);
            }

            foreach (var worker in workers)
            {
                worker.WaitForExit();
                if (worker.ExitCode != 0) wrong++;
                worker.Dispose();
            }

            remade += before.Count(pair => Finished(folder).GetValueOrDefault(pair.Key) != pair.Value);
            merges++;
            var isWhole = Merge(folder, merged, new CancellationToken(canceled: true));
            if (!isWhole || !File.ReadAllBytes(merged).AsSpan().SequenceEqual(File.ReadAllBytes(whole))) wrong++;
        }

        Directory.Delete(folder, true);
        Console.WriteLine(
            $"workers: {kills} kills, {landed} of them of workers under way, {lost} finished layers lost, {remade} made again; {merges} merges, "
            + $"{wrong} of other bits; {clock.Elapsed.TotalSeconds:F1} s");
        // Where no kill finds a worker at work, nothing is shown.
        return landed > 0 && lost + remade + wrong == 0;
    }
}
