using TensorNets.CSharp;
using TensorNets.Onnx;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles.Recognition;

internal sealed partial class Study
{
    /// <summary>The share of the unit matrix in Σ.</summary>
    private const double Share = .05;

    /// <summary>Measures networks whose kernels are integers of few bits: the dense kernels at so many bits, factorized ones of so many times
    /// fewer parameters at as many, and what a plan makes of the bytes of the first.</summary>
    /// <param name="bits">Bits of an entry.</param>
    /// <param name="ratio">So many times fewer parameters in the layers that can be compressed.</param>
    /// <param name="calibration">Lines for Σ.</param>
    /// <param name="test">Other lines, which are read.</param>
    /// <param name="progress">What each row is told to.</param>
    internal BitsResult RunBits(IReadOnlyList<int> bits, double ratio, int calibration, int test, Action<BitsRow> progress)
    {
        using var scope = NewDisposeScope();
        var tested = lines.Draw(test, TestSeed);
        // Two layers stand behind an average over each whole line, and so see one vector of a line: fewer than they have channels.
        var sigmas = model.Covariances([.. lines.Draw(calibration, CalibrationSeed).Select(Input)])
            .ToDictionary(pair => pair.Key, pair => Norms.Shrunk(pair.Value, Share));
        var source = model.Source(Input(tested[0]));
        var settings = new PlanSettings(KeepLast: false, Covariances: sigmas, Bits: bits);
        var all = Model.Plan(source, Budgets.Bytes(long.MaxValue), settings);
        var open = all.Layers.Where(layer => layer.Candidates.Count > 0).ToList();
        var entries = open.Sum(layer => layer.Parameters);
        var ranks = Model.Plan(source, Budgets.Parameters((long)(all.DenseParameters - entries + (entries / ratio))), settings);
        var rows = new List<BitsRow>();
        Add("dense", 32, model);
        foreach (var count in bits)
        {
            var dense = open.Aggregate(all, (plan, layer) => Model.ChooseBits(Model.KeepDense(plan, layer.Path), layer.Path, count));
            Compress("dense", count, dense);
            var chosen = ranks.Layers.Where(layer => layer.Candidates.Count > 0);
            Compress("factorized", count, chosen.Aggregate(ranks, (plan, layer) => Model.ChooseBits(plan, layer.Path, count)));
            Compress("planned", count, Model.Plan(all, Budgets.Bytes(dense.Bytes)));
        }

        return new(test, calibration, ratio, rows);

        void Compress(string kernels, int count, CompressionPlan plan)
        {
            var report = Model.Compress(source, plan, new(Workers: 1, Covariances: sigmas));
            var smaller = model.With(report, plan, integers: true);
            foreach (var layer in report.Layers) layer.Layer.Dispose();
            Add(kernels, count, smaller);
        }

        void Add(string kernels, int count, OnnxModel read)
        {
            var accuracy = Reader.Accuracy(Reader.Read(read, characters, tested), [.. tested.Select(line => line.Text)]);
            rows.Add(new(kernels, count, Size(read), accuracy));
            progress(rows[^1]);
        }
    }
}

/// <summary>What a study of bits found.</summary>
/// <param name="Lines">Lines that were read.</param>
/// <param name="CalibrationLines">Other lines, from which Σ comes.</param>
/// <param name="Ratio">So many times fewer parameters in the factorized rows.</param>
/// <param name="Rows">The dense network, then the compressed ones.</param>
internal sealed record BitsResult(int Lines, int CalibrationLines, double Ratio, IReadOnlyList<BitsRow> Rows)
{
    /// <summary>The rows as a table of Markdown.</summary>
    internal IEnumerable<string> Table() =>
    [
        "| bits | kernels | file, MB | times smaller | accuracy | points lost |",
        "|---|---|---|---|---|---|",
        .. Rows.Select(row => FormattableString.Invariant($"| {(row.Bits == 32 ? "float" : row.Bits)} | {row.Kernels} | {row.Bytes / 1e6:F2} ")
            + FormattableString.Invariant($"| {(double)Rows[0].Bytes / row.Bytes:F1} | {row.Accuracy * 100:F2} % ")
            + FormattableString.Invariant($"| {(Rows[0].Accuracy - row.Accuracy) * 100:F2} |")),
    ];
}

/// <summary>A network that was read with.</summary>
/// <param name="Kernels"><c>dense</c>, <c>factorized</c>, or <c>planned</c>: ranks and bits within the bytes of <c>dense</c>.</param>
/// <param name="Bits">Bits of an entry; 32: floats.</param>
/// <param name="Bytes">Bytes of the file.</param>
/// <param name="Accuracy">1 − edits / characters.</param>
internal sealed record BitsRow(string Kernels, int Bits, long Bytes, double Accuracy);
