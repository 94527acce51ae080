using System.Diagnostics;
using System.Globalization;
using TensorNets.CSharp;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>Tables of real networks before and after.</summary>
internal static class RealNetworks
{
    /// <summary>ResNet-18, its kernels of 3 × 3 with as many times fewer parameters as are asked for, in Tucker-2 and CP: size, error and
    /// latency at one thread and one image; with a second number, cores of so many bits, kept as integers.</summary>
    internal static int ResNet18(string[] args)
    {
        var ratio = args is [var text, ..] ? double.Parse(text, CultureInfo.InvariantCulture) : 3;
        var quantize = args is [_, var bits, ..] ? new QuantizeSettings(int.Parse(bits)) : null;
        if (RealFiles.ResNet18() is not { } file) return Missing("ResNet18.onnx");
        using var scope = NewDisposeScope();
        var model = Onnx.OnnxModel.Load(file);
        var noise = Onnx.OnnxInputs.Noise(model);
        var source = model.Source(noise);
        var dense = Model.Plan(source, Budget.NewLayerError(1e-9), new([FormatFamily.Tucker2], Ratios: [ratio]));
        foreach (var family in new[] { FormatFamily.Tucker2, FormatFamily.CP })
        {
            using var inner = NewDisposeScope();
            Print($"{family}", file, model, source, ByLayer(dense, family, ratio), noise, quantize);
        }

        return 0;
    }

    /// <summary>Every convolution of 3 × 3 at one ratio, the others dense.</summary>
    private static CompressionPlan ByLayer(CompressionPlan plan, FormatFamily family, double ratio)
    {
        foreach (var layer in plan.Layers)
        {
            plan = layer.Shape is [var t, var s, 3, 3]
                ? Model.Choose(plan, layer.Path, family.IsCP ? Cp(s, t, ratio) : Tucker2(s, t, ratio))
                : Model.KeepDense(plan, layer.Path);
        }

        return plan;
    }

    private static Format Cp(long s, long t, double ratio) => Format.NewCP((int)(s * t * 9 / ratio / (s + t + 9)));

    /// <summary>Ranks in the proportion of the channels: a s² + 9 a² s t + a t² entries.</summary>
    private static Format Tucker2(long s, long t, double ratio)
    {
        var (p, q) = ((double)s * s + (double)t * t, 9.0 * s * t);
        var share = (-p + Math.Sqrt(p * p + 4 * q * (s * t * 9 / ratio))) / (2 * q);
        return Format.NewTucker2((int)(share * s), (int)(share * t));
    }

    /// <summary>PP-OCRv4: detection, recognition and the classifier of directions, at a ratio of parameters.</summary>
    internal static int Ocr(string[] args)
    {
        var ratio = args is [var text, ..] ? double.Parse(text, CultureInfo.InvariantCulture) : 2;
        var files = RealFiles.Ocr();
        if (files.Count == 0) return Missing("PP-OCRv4");
        foreach (var file in files)
        {
            using var scope = NewDisposeScope();
            var model = Onnx.OnnxModel.Load(file);
            var size = file.Contains("_det_") ? new long[] { 1, 3, 320, 320 } : file.Contains("_rec_") ? [1, 3, 48, 320] : [1, 3, 48, 192];
            var inputs = Onnx.OnnxInputs.Noise(model, new Dictionary<string, long[]> { ["x"] = size });
            var kinds = model.Layers.CountBy(layer => layer.Kept == "" ? "can be compressed" : layer.Kept);
            Console.WriteLine(string.Join("; ", kinds.Select(pair => $"{pair.Value} {pair.Key}")));
            var source = model.Source(inputs);
            try
            {
                Print(
                    FormattableString.Invariant($"ratio {ratio}"), file, model, source, Model.Plan(source, Budget.NewParameterRatio(ratio)), inputs);
            }
            catch (TensorNetException refused)
            {
                Console.WriteLine($"{Path.GetFileName(file)}: {refused.Message}");
            }
        }

        return 0;
    }

    private static int Missing(string what)
    {
        Console.WriteLine($"Skipped: {what} could not be had");
        return 0;
    }

    private static void Print(
        string name, string file, Onnx.OnnxModel model, LayerSource source, CompressionPlan plan,
        IReadOnlyDictionary<string, Tensor> inputs, QuantizeSettings? quantize = null)
    {
        var clock = Stopwatch.StartNew();
        model.Check(plan);
        var report = Model.Compress(source, plan, new(TimeLimit: TimeSpan.FromMinutes(2), Quantize: quantize));
        var smaller = model.With(report, plan, integers: true);
        var seconds = clock.Elapsed.TotalSeconds;
        var copy = Path.GetTempFileName();
        smaller.Save(copy);
        var comparison = Onnx.OnnxVerify.Compare(model, Onnx.OnnxModel.Load(copy), [inputs]);
        var (bytes, dense) = (new FileInfo(copy).Length, new FileInfo(file).Length);
        Console.WriteLine(FormattableString.Invariant(
            $"{Path.GetFileName(file)}, {name}: {report.Layers.Count} layers in {seconds:F0} s, {report.Failed.Count} failed"));
        Console.WriteLine(FormattableString.Invariant(
            $"size {(double)bytes / dense:F3}, bytes {bytes}, in floating point {(double)smaller.Parameters / model.Parameters:F3}"));
        Console.WriteLine(comparison);
        File.Delete(copy);
    }
}
