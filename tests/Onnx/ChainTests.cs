using Expecto;
using Microsoft.FSharp.Core;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>Chains of nodes give what the layers give.</summary>
internal static class ChainTests
{
    /// <summary>Float32 in every stage against float64.</summary>
    private const double Tolerance = 1e-5;

    /// <summary>Layers that are drawn; more by the environment variable.</summary>
    private static int Cases => int.TryParse(Environment.GetEnvironmentVariable("LAW_CASES"), out var cases) ? cases : 300;

    internal static Test All => TestList("chains", [
        TestCase("ONNX Runtime on the chain of any network, geometry, groups and pads gives what the layer gives", AnyLayer),
    ]);

    private static void AnyLayer()
    {
        int refused = 0, stages = 0;
        foreach (var seed in Enumerable.Range(0, Cases))
        {
            using var scope = NewDisposeScope();
            var drawn = LayerCase.Draw(seed);
            if (LayerStages.check(drawn.Geometry, drawn.Spec).IsError)
            {
                refused++;
                continue;
            }

            using var layer = Layer(drawn);
            var axes = drawn.Geometry.Kernel.IsEmpty ? (seed / 4) % 2 + 2 : 2;
            var model = Onnx.OnnxModel.OfLayer(layer, 13, axes);
            stages += model.Proto.Graph.Node.Count(node => node.OpType is "Conv" or "ConvTranspose" or "Gemm" or "MatMul");
            var x = Input(drawn, axes);
            using var session = new Onnx.OnnxSession(model.Proto, "layer", threads: 1);
            var found = session.Run(new Dictionary<string, Tensor> { ["x"] = x }, ["y"])["y"].to(ScalarType.Float64);
            layer.to(ScalarType.Float64);
            var expected = layer.call(x.to(ScalarType.Float64));
            Expect.SequenceEqual(expected.shape, found.shape);
            var error = ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item<double>();
            Expect.True(error < Tolerance, $"relative error {error} of {drawn}");
        }

        Console.WriteLine($"{Cases} layers, {refused} refused, {stages} stages");
        Expect.True(refused < Cases / 3, $"{refused} of {Cases} have no chain");
    }

    internal static FactorizedLayer Layer(LayerCase drawn)
    {
        var plan = LayerMaking.planned(FSharpOption<Lowering>.Some(Lowering.Dense), drawn.Geometry, drawn.Spec);
        Expect.True(plan.IsOk, $"{drawn}");
        using var network = NetworkModule.random(ScalarType.Float32, drawn.Seed, drawn.Spec);
        var bias = drawn.HasBias
            ? FSharpOption<Tensor>.Some(randn(drawn.Geometry.OutChannels, dtype: ScalarType.Float32))
            : FSharpOption<Tensor>.None;
        return LayerMaking.made(plan.ResultValue, ScalarType.Float32, CPU, network, bias, FuncConvert.FromFunc<string, bool>(_ => false));
    }

    internal static Tensor Input(LayerCase drawn, int axes)
    {
        using var generator = new Generator(drawn.Seed);
        var g = drawn.Geometry;
        long[] shape = g.Kernel.IsEmpty
            ? [.. Enumerable.Repeat(3L, axes - 1), g.InChannels]
            : [2, g.InChannels, .. Enumerable.Range(6, g.Kernel.Length).Select(size => (long)size)];
        return randn(shape, dtype: ScalarType.Float32, generator: generator);
    }
}
