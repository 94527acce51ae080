using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using TensorNets.CSharp;
using TensorNets.Samples.Stability;
using TensorNets.Tool.Commands;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>Every method for every seed, a cell at a time; cells that were made with the same settings are left as they are.</summary>
/// <param name="settings">What all cells share.</param>
/// <param name="images">The images.</param>
/// <param name="say">Told of each cell in a line.</param>
/// <param name="progress">Told of steps and layers; null: nobody is.</param>
/// <param name="keepFiles">Whether compressed networks are written to files beside their cells.</param>
public sealed class Study(
    Settings settings, Images images, Action<string> say, IProgress<ProgressNote>? progress = null, bool keepFiles = false)
{
    private readonly Network _work = new(settings, images);

    /// <summary>The file of a compressed network.</summary>
    public static string FileOf(string folder, int seed, Method method) =>
        Path.ChangeExtension(Cells.FileOf(folder, seed, method), ".safetensors");

    /// <summary>The cells of a study: dense networks, then every method for every seed.</summary>
    public static IReadOnlyList<(int Seed, Method? Method)> CellsOf(IReadOnlyList<int> seeds, IReadOnlyList<Method> methods) =>
    [
        .. from method in methods.Prepend<Method?>(null)
           from seed in seeds
           select (seed, method),
    ];

    /// <summary>A share of cells, every n-th of them: the same deal on every worker. Without a share, all.</summary>
    internal static IReadOnlyList<T> ShareOf<T>(Share? share, IReadOnlyList<T> cells) =>
        share is null ? cells : [.. cells.Where((_, at) => at % share.Count == share.Index - 1)];

    /// <summary>Makes the cells that are missing, and gives all of them.</summary>
    public IReadOnlyList<Cell> Run(IReadOnlyList<int> seeds, IReadOnlyList<Method> methods) => Run(CellsOf(seeds, methods));

    /// <summary>Makes the cells that are missing of those that are named, and gives these.</summary>
    public IReadOnlyList<Cell> Run(IReadOnlyList<(int Seed, Method? Method)> cells)
    {
        Directory.CreateDirectory(settings.Output);
        return [.. cells.Select(cell => Missing(cell.Seed, cell.Method))];
    }

    private Cell Missing(int seed, Method? method)
    {
        var denseFile = Path.Combine(settings.Output, $"dense-{settings.DenseKey}-seed{seed}.safetensors");
        if (Cells.Find(settings, seed, method) is { } known
            && (method is null || !keepFiles || File.Exists(FileOf(settings.Output, seed, method))))
        {
            return known;
        }

        using var scope = NewDisposeScope();
        using var network = _work.Dense(seed, denseFile, done => progress?.Report(new("train the dense network", done, settings.Steps)));
        var cell = method is null ? Measured(network, Empty(seed, null)) : Made(network, seed, method);
        Cells.Save(settings.Output, cell);
        var accuracies = FormattableString.Invariant($"{100 * cell.Accuracy:F1} {100 * cell.Renormed:F1} {100 * cell.Tuned:F1}");
        var times = FormattableString.Invariant($"plan {cell.PlanSeconds:F0} s, compress {cell.CompressSeconds:F0} s");
        say($"seed {seed} {method?.ToString() ?? "dense"}: {accuracies}; {times}");
        return cell;
    }

    private Cell Empty(int seed, Method? method) => new(seed, method, settings, 0, 0, 0, double.NaN, 0, 0, 0, 0, 0, [], Machine());

    private Cell Made(Module<Tensor, Tensor> network, int seed, Method method)
    {
        var clock = Stopwatch.StartNew();
        var covariances = _work.Covariances(network, method.Errors);
        if (method.Formats == Formats.Matrix)
        {
            var made = MatrixKernels.Replace(network, method.Ratio, covariances, settings.Sweeps);
            return Measured(network, Empty(seed, method) with
            {
                Sensitivity = Model.RelativeSensitivity(network).item<float>(),
                CompressSeconds = clock.Elapsed.TotalSeconds,
                Layers = made,
            });
        }

        var plan = Plan(network, seed, method, covariances);

        var planned = clock.Elapsed.TotalSeconds;
        if (keepFiles)
        {
            File.WriteAllText(Path.ChangeExtension(FileOf(settings.Output, seed, method), ".plan.txt"), $"{plan}\n");
        }

        var layersDone = Stage($"compress {method.Formats} {method.Ratio}×");
        var report = _work.Compress(network, plan, covariances, layersDone);
        if (report.Failed.Count > 0)
        {
            throw new InvalidOperationException($"{report}");
        }

        // S and files in the plain norm: Σ of every layer would make the files half as large again.
        foreach (var layer in report.Layers)
        {
            layer.Layer.SetNorm(Norms.Frobenius);
        }

        var layers = report.Layers.Zip(plan.Layers.Where(layer => layer.IsFactorized), (layer, choice) => new CellLayer(
            layer.Path,
            $"{choice.Choice}",
            layer.Layer.ParameterCount,
            layer.KernelError,
            layer.Layer.Sensitivity().item<float>(),
            choice.Choice.Bits));
        return Measured(network, Empty(seed, method) with
        {
            Sensitivity = Model.RelativeSensitivity(network).item<float>(),
            PlanSeconds = planned,
            CompressSeconds = report.Time.TotalSeconds,
            Layers = [.. layers],
        }, () => Round(report, plan, covariances));
    }

    private CompressionPlan Plan(
        Module<Tensor, Tensor> network, int seed, Method method, IReadOnlyDictionary<string, Tensor>? covariances)
    {
        if (method is { Cost: Cost.Bytes, Ranks: Ranks.Uniform })
        {
            return _work.Rounded(network, method.DenseBits, covariances);
        }

        if (method.Cost == Cost.Bytes)
        {
            var candidates = Candidates(network, seed, method, covariances);
            var kernels = Network.KernelBytes(network);
            return Model.Plan(candidates, Budgets.Bytes(candidates.DenseBytes - kernels + (long)(kernels / method.Ratio)));
        }

        var uniform = _work.Uniform(network, method.Formats, method.Ratio, covariances);
        return method.Ranks == Ranks.Uniform
            ? uniform
            : Model.Plan(
                Candidates(network, seed, method, covariances),
                method.Cost == Cost.Flops ? Budgets.Flops(uniform.Flops) : Budgets.Parameters(uniform.Parameters));
    }

    /// <summary>Layers that training took off their grids, rounded again as the plan says.</summary>
    private static void Round(CompressReport report, CompressionPlan plan, IReadOnlyDictionary<string, Tensor>? covariances)
    {
        foreach (var planned in plan.Layers.Where(planned => planned.IsFactorized && planned.Choice.Bits > 0))
        {
            var layer = report.Layers.Single(layer => layer.Path == planned.Path).Layer;
            var norm = covariances is null ? Norms.Frobenius : Norms.Weighted(covariances[planned.Path]);
            Model.Quantize(layer, new QuantizeSettings(planned.Choice.Bits, Norm: norm));
        }
    }

    private Layers? Stage(string name) => progress is null ? null : new Layers(name, progress);

    private sealed class Layers(string name, IProgress<ProgressNote> progress) : IProgress<CompressProgress>
    {
        public void Report(CompressProgress value) => progress.Report(new(name, value.Done, value.Total));
    }

    /// <summary>A plan with all candidates, which many budgets choose from: kept in the folder.</summary>
    private CompressionPlan Candidates(
        Module<Tensor, Tensor> network, int seed, Method method, IReadOnlyDictionary<string, Tensor>? covariances)
    {
        var kind = method.Cost == Cost.Bytes ? "-bytes" : "";
        var file = Path.Combine(
            settings.Output, $"plan-{settings.PlanKey}-seed{seed}-{method.Formats}-{method.Errors}{kind}.json".ToLowerInvariant());
        if (!File.Exists(file))
        {
            var clock = Stopwatch.StartNew();
            CellFiles.WriteWhole(file, Model.PlanToJson(_work.Planned(network, method.Formats, covariances, method.Cost == Cost.Bytes)));
            say(FormattableString.Invariant($"{Path.GetFileName(file)}: {clock.Elapsed.TotalSeconds:F0} s"));
        }

        return Model.PlanFromJson(File.ReadAllText(file));
    }

    private Cell Measured(Module<Tensor, Tensor> network, Cell cell, Action? afterTraining = null)
    {
        var cost = Model.Report(network, TrainedResNet.InputShape);
        if (keepFiles)
        {
            File.WriteAllText(Path.ChangeExtension(Cells.FileOf(settings.Output, cell.Seed, cell.Method), ".report.txt"), $"{cost}\n");
        }

        var accuracy = _work.Accuracy(network);
        _work.Renorm(network);
        var renormed = _work.Accuracy(network);
        var bytes = cell.Method is { } method && keepFiles ? Saved(network, cell.Seed, method) : 0;
        var kernels = Network.KernelBytes(network);
        var tuned = settings.TuneSteps > 0 ? Tuned(network, cell.Seed, afterTraining) : double.NaN;
        return cell with
        {
            Parameters = cost.Parameters,
            Flops = cost.Flops,
            FileBytes = bytes,
            Accuracy = accuracy,
            Renormed = renormed,
            Tuned = tuned,
            KernelBytes = kernels,
        };
    }

    private double Tuned(Module<Tensor, Tensor> network, int seed, Action? afterTraining)
    {
        _work.Tune(network, seed, afterTraining);
        return _work.Accuracy(network);
    }

    private long Saved(Module<Tensor, Tensor> network, int seed, Method method)
    {
        var file = FileOf(settings.Output, seed, method);
        Model.SaveCompressed(network, file);
        return new FileInfo(file).Length;
    }

    /// <summary>Processors, system, and day.</summary>
    internal static string Machine() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{Environment.ProcessorCount} processors, {RuntimeInformation.OSDescription}, {DateTime.UtcNow:yyyy-MM-dd}");
}
