using Microsoft.FSharp.Collections;
using TorchSharp;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>A random layer: any geometry, and any network over its kernel, with bonds that join two cores or more.</summary>
internal sealed record LayerCase(ConvGeometry Geometry, string Network, Spec Spec, bool HasBias, ulong Seed)
{
    public override string ToString() => $"{Geometry}: {Network} (seed {Seed})";

    internal static LayerCase Draw(int seed)
    {
        var random = new Random(seed);
        var n = random.Next(4);
        var transposed = n is 1 or 2 && random.Next(3) == 0;
        var groups = n > 0 && random.Next(3) == 0 ? random.Next(2, 4) : 1L;
        var (inputs, outputs) = (Factors(random), Factors(random));
        var kernel = Enumerable.Range(0, n).Select(_ => (long)random.Next(1, 4)).ToList();
        var stride = kernel.Select(_ => (long)random.Next(1, 3)).ToList();
        var dilation = kernel.Select(_ => (long)random.Next(1, 3)).ToList();
        var mode = transposed || random.Next(4) > 0 ? PaddingModes.Zeros
            : random.Next(2) == 0 ? PaddingModes.Reflect
            : PaddingModes.Replicate;
        var pads = kernel.Select(_ => random.Next(3)).Select(before => ((long)before, transposed ? before : (long)random.Next(3))).ToList();
        var extra = stride.Select((step, i) =>
            transposed ? (long)random.Next((int)Math.Max(step, 1 + Math.Min(pads[i].Item2, dilation[i] - 1))) : 0);
        var geometry = new ConvGeometry(
            groups * Product(inputs), groups * Product(outputs), ListModule.OfSeq(kernel), ListModule.OfSeq(stride),
            ListModule.OfSeq(dilation), ListModule.OfSeq(pads), mode, groups, transposed, ListModule.OfSeq(extra), null);

        var axes = new List<(string Name, long Size)>();
        if (groups > 1) axes.Add(("g", groups));
        axes.AddRange(inputs.Select((size, i) => ($"s{i}", size)));
        if (n > 0 && random.Next(2) == 0) axes.Add(("k", Product(kernel)));
        else axes.AddRange(kernel.Select((size, i) => ($"k{i}", size)));
        axes.AddRange(outputs.Select((size, i) => ($"t{i}", size)));
        var text = Drawn(random, axes);
        return new(geometry, text, Parsed(text), random.Next(2) == 0, (ulong)seed);
    }

    internal static Spec Parsed(string text) => SpecModule.parse(FSharpList<Tuple<string, int>>.Empty, text).ResultValue;

    private static long Product(List<long> sizes) => sizes.Aggregate(1L, (a, b) => a * b);

    private static List<long> Factors(Random random) => [.. Enumerable.Range(0, random.Next(1, 3)).Select(_ => (long)random.Next(1, 5))];

    /// <summary>Every axis in a core or, now and then, in two; bonds in two cores or three.</summary>
    private static string Drawn(Random random, List<(string Name, long Size)> axes)
    {
        var cores = Enumerable.Range(0, random.Next(1, 6)).Select(_ => new List<string>()).ToList();
        void Put(string axis, int copies)
        {
            foreach (var i in Enumerable.Range(0, cores.Count).OrderBy(_ => random.Next()).Take(copies)) cores[i].Add(axis);
        }

        foreach (var (name, _) in axes) Put(name, name == "g" ? random.Next(1, cores.Count + 1) : random.Next(8) == 0 ? 2 : 1);
        var bonds = Enumerable.Range(0, random.Next(cores.Count + 1)).Select(i => ($"r{i}", (long)random.Next(1, 4))).ToList();
        foreach (var (name, _) in bonds) Put(name, random.Next(4) == 0 ? 3 : 2);
        cores.RemoveAll(core => core.Count == 0);
        var sizes = axes.Concat(bonds).Where(axis => cores.Exists(core => core.Contains(axis.Item1)))
            .Select(axis => $"{axis.Item1}={axis.Item2}");
        var inner = string.Join(", ", cores.Select(core => string.Join(" ", core)));
        return $"{inner} -> {string.Join(" ", axes.Select(axis => axis.Name))} | {string.Join(" ", sizes)}";
    }
}
