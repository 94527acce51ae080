using System.Diagnostics;
using TensorNets.CSharp;
using static TorchSharp.torch;

namespace TensorNets.Fuzz;

/// <summary>Programs that compress a model with a work folder are killed at random moments and started again: the last ends with the bits
/// of a
/// run that nobody has disturbed.</summary>
internal static class ResumeTest
{
    private const int Layers = 12;

    private static nn.Module<Tensor, Tensor> Dense()
    {
        random.manual_seed(1);
        static nn.Module<Tensor, Tensor> Conv() => nn.Conv2d(16, 16, 3, padding: 1);
        return nn.Sequential([.. Enumerable.Range(0, Layers).Select(i => ($"l{i}", Conv()))]);
    }

    private static CompressionPlan Plan(nn.Module<Tensor, Tensor> model)
    {
        var settings = new PlanSettings([Families.Tucker2], KeepFirst: false, KeepLast: false);
        var plan = Model.Plan(model, [1, 16, 4, 4], Budgets.ParameterRatio(1.5), settings);
        for (var i = 0; i < Layers; i++) plan = Model.Choose(plan, $"l{i}", i % 2 == 0 ? Formats.Cp(24) : Formats.Tucker2(8, 8));
        return plan;
    }

    /// <summary>Compresses the model with a work folder and writes it to a file.</summary>
    internal static int Compress(string folder, string path)
    {
        using var model = Dense();
        var plan = Plan(model);
        Console.WriteLine("ready");
        Model.Compress(model, plan, new CompressSettings(Folder: folder));
        Model.SaveCompressed(model, path);
        return 0;
    }

    internal static bool Run(int kills, int seed)
    {
        var root = Directory.CreateTempSubdirectory().FullName;
        var clock = Stopwatch.StartNew();
        Compress(Path.Combine(root, "whole"), Path.Combine(root, "whole.safetensors"));
        var whole = File.ReadAllBytes(Path.Combine(root, "whole.safetensors"));
        var random = new Random(seed);
        var (folder, path, landed) = (Path.Combine(root, "work"), Path.Combine(root, "model.safetensors"), 0);
        var wrong = 0;

        for (var i = 0; i < kills; i++)
        {
            using (var child = Parent.Start("compress", folder, path))
            {
                child.StandardOutput.ReadLine();
                Thread.Sleep(random.Next(1, 400));
                if (!child.HasExited) landed++;
                child.Kill();
                child.WaitForExit();
            }

            // Every fourth time the run is let go on to its end, and the next begins anew.
            if (i % 4 != 3 && i != kills - 1) continue;
            Compress(folder, path);
            if (!File.ReadAllBytes(path).AsSpan().SequenceEqual(whole)) wrong++;
            Directory.Delete(folder, true);
            File.Delete(path);
        }

        Directory.Delete(root, true);
        var seconds = clock.Elapsed.TotalSeconds;
        Console.WriteLine($"resume: {kills} runs, {landed} killed while compressing, {wrong} ended with other bits; {seconds:F1} s");
        return wrong == 0;
    }
}
