using System.Globalization;
using Microsoft.FSharp.Collections;
using TensorNets.Onnx;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>What each format of a 3 × 3 convolution becomes as nodes, and what that costs in ONNX Runtime.</summary>
internal static class FormatTable
{
    private const int Runs = 60;

    private sealed record Kind(string Name, KernelAxes Axes, Func<int, Format> OfRank);

    private static readonly Kind[] Kinds =
    [
        new("CP, positions in one axis", KernelAxes.Fused, Format.NewCP),
        new("CP, an axis for each dimension", KernelAxes.Separate, Format.NewCP),
        new("Tucker-2", KernelAxes.Fused, rank => Format.NewTucker2(rank, rank)),
        new("Tucker, 6 of 9 positions", KernelAxes.Fused, rank => Format.NewTucker(Ranks(rank, 6, rank))),
        new("tensor train, positions in one axis", KernelAxes.Fused, rank => Format.NewTensorTrain(Ranks(rank, rank))),
        new("tensor train, an axis for each dimension", KernelAxes.Separate, rank => Format.NewTensorTrain(Ranks(rank, rank, rank))),
        new("tensor chain, closed by a bond of 3", KernelAxes.Fused, rank => Format.NewTensorChain(Ranks(3, rank, rank))),
    ];

    private static FSharpList<int> Ranks(params int[] ranks) => ListModule.OfSeq(ranks);

    /// <summary>Prints the table at so many times fewer parameters.</summary>
    internal static int Run(string[] args)
    {
        var ratio = args is [var text, ..] ? double.Parse(text, CultureInfo.InvariantCulture) : 3;
        (int Channels, int Size)[] layers = [(64, 56), (128, 28), (256, 14), (512, 7)];
        Console.WriteLine($"| format | nodes | {string.Join(" | ", layers.Select(layer => $"{layer.Channels}, {layer.Size}×{layer.Size}"))} |");
        Console.WriteLine($"|---|---|{string.Concat(layers.Select(_ => "---|"))}");
        foreach (var kind in Kinds)
        {
            using var scope = NewDisposeScope();
            var measured = layers.Select(layer => Measure(kind, layer.Channels, layer.Size, ratio)).ToList();
            var times = measured.Select(found => FormattableString.Invariant($"{found.Latency:F2}"));
            Console.WriteLine($"| {kind.Name} | {measured[0].Nodes} | {string.Join(" | ", times)} |");
        }

        return 0;
    }

    /// <summary>The nodes of a format, and its time as a part of the dense convolution's.</summary>
    private static (string Nodes, double Latency) Measure(Kind kind, int channels, int size, double ratio)
    {
        long[] shape = [1, channels, size, size];
        var model = new GraphBuilder().Input("x", shape).Output("y", shape).Weight("w", [channels, channels, 3, 3])
            .Node("Conv", ["x", "w"], "y", ("pads", new long[] { 1, 1, 1, 1 })).Read();
        var layer = model.Layers[0];
        var most = channels * channels * 9 / ratio;
        Spec Of(int rank) => PlanMaking.spec(kind.Axes, kind.OfRank(rank), layer.Geometry!).OrThrow();
        var found = Enumerable.Range(6, channels).TakeWhile(rank => SpecModule.parameters(Of(rank)) <= most).Last();
        using var network = NetworkModule.random(ScalarType.Float32, 1, Of(found));
        var chain = model.Replace([new(layer, network, shape)]);
        var nodes = chain.Proto.Graph.Node.Select(node =>
            node.Input.Count > 1 && chain.Index.Constants.TryGetValue(node.Input[1], out var weight) && node.OpType == "Conv"
                ? $"Conv {string.Join("×", weight.Dims.Skip(2))}{(node.Attribute.Any(a => a.Name == "group" && a.I > 1) ? " in groups" : "")}"
                : node.OpType);
        // The least of many times is what a machine takes that does nothing else meanwhile.
        using var timer = new LayerTimer(model, layer.Path, shape, (Threads: 1, Pairs: 1));
        var times = Enumerable.Range(0, Runs).Select(_ => timer.Against(network)).ToList();
        return (string.Join(", ", nodes), times.Min(pair => pair.After) / times.Min(pair => pair.Before));
    }
}
