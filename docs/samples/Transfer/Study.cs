using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using TensorNets.CSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>Every method for every seed, a cell at a time; cells that are there are left as they are.</summary>
public sealed class Study(Settings settings, Images images, Action<string> say)
{
    private readonly Network _work = new(settings, images);

    /// <summary>Makes the cells that are missing.</summary>
    public void Run(IReadOnlyList<int> seeds, IReadOnlyList<Method> methods)
    {
        Directory.CreateDirectory(settings.Output);
        foreach (var seed in seeds)
        {
            Missing(seed, null);
        }

        foreach (var method in methods)
        {
            foreach (var seed in seeds)
            {
                Missing(seed, method);
            }
        }
    }

    private void Missing(int seed, Method? method)
    {
        if (File.Exists(Cells.FileOf(settings.Output, seed, method)))
        {
            return;
        }

        using var scope = NewDisposeScope();
        using var network = _work.Dense(seed, Path.Combine(settings.Output, $"dense-seed{seed}.safetensors"));
        var cell = method is null ? Measured(network, new(seed, null, settings, 0, 0, 0, 0, 0, 0, 0, [], Machine())) : Made(network, seed, method);
        Cells.Save(settings.Output, cell);
        say(FormattableString.Invariant(
            $"seed {seed} {method?.ToString() ?? "dense"}: {100 * cell.Accuracy:F1} {100 * cell.Renormed:F1} {100 * cell.Tuned:F1}; plan {cell.PlanSeconds:F0} s, compress {cell.CompressSeconds:F0} s"));
    }

    private Cell Made(Module<Tensor, Tensor> network, int seed, Method method)
    {
        var clock = Stopwatch.StartNew();
        var covariances = _work.Covariances(network, method.Errors);
        var plan = _work.Uniform(network, method.Formats, method.Ratio, covariances);
        if (method.Ranks == Ranks.Planned)
        {
            plan = Model.Plan(
                Candidates(network, seed, method, covariances),
                method.Cost == Cost.Flops ? Budgets.Flops(plan.Flops) : Budgets.Parameters(plan.Parameters));
        }

        var planned = clock.Elapsed.TotalSeconds;
        var report = _work.Compress(network, plan, covariances);
        if (report.Failed.Count > 0)
        {
            throw new InvalidOperationException($"{report}");
        }

        var layers = report.Layers.Zip(plan.Layers.Where(layer => layer.IsFactorized), (layer, choice) => new CellLayer(
            layer.Path, $"{choice.Choice}", layer.Layer.ParameterCount, layer.KernelError, layer.Sensitivity));
        return Measured(network, new Cell(
            seed, method, settings, 0, 0, 0, 0, 0, planned, report.Time.TotalSeconds, [.. layers], Machine()));
    }

    /// <summary>A plan with all candidates, which many budgets choose from: kept in the folder.</summary>
    private CompressionPlan Candidates(
        Module<Tensor, Tensor> network, int seed, Method method, IReadOnlyDictionary<string, Tensor>? covariances)
    {
        var file = Path.Combine(settings.Output, $"plan-seed{seed}-{method.Formats}-{method.Errors}.json".ToLowerInvariant());
        if (!File.Exists(file))
        {
            var clock = Stopwatch.StartNew();
            File.WriteAllText(file + ".part", Model.PlanToJson(_work.Planned(network, method.Formats, covariances)));
            File.Move(file + ".part", file, overwrite: true);
            say(FormattableString.Invariant($"{Path.GetFileName(file)}: {clock.Elapsed.TotalSeconds:F0} s"));
        }

        return Model.PlanFromJson(File.ReadAllText(file));
    }

    private Cell Measured(Module<Tensor, Tensor> network, Cell cell)
    {
        var cost = Model.Report(network, TrainedResNet.InputShape);
        var accuracy = _work.Accuracy(network);
        _work.Renorm(network);
        var renormed = _work.Accuracy(network);
        _work.Tune(network, cell.Seed);
        var tuned = _work.Accuracy(network);
        return cell with { Parameters = cost.Parameters, Flops = cost.Flops, Accuracy = accuracy, Renormed = renormed, Tuned = tuned };
    }

    private static string Machine() =>
        string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessorCount} processors, {RuntimeInformation.OSDescription}, {DateTime.UtcNow:yyyy-MM-dd}");
}
