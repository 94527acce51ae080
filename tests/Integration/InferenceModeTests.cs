using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>What is made in inference mode is what is made outside, and can be trained afterwards.</summary>
public static class InferenceModeTests
{
    private static readonly FitOptions Quick = new(MaxSweeps: 5);

    private static Tensor Kernel()
    {
        using var generator = new Generator(3);
        return randn([6, 5, 4], dtype: float64, generator: generator);
    }

    private static readonly (string Name, Func<Tensor, Network> Make)[] Networks =
    [
        ("CP", k => TensorNetwork.Factorize(k, Formats.Cp(3), Quick).Network),
        ("CP with extrapolation", k => TensorNetwork.Factorize(k, Formats.Cp(3), Quick with { ExtrapolationDepth = 4 }).Network),
        ("an exact fit", k => TensorNetwork.FactorizeStable(k, Formats.TensorTrain(6, 4), ErrorBounds.Relative(1e-6), Quick).Network),
        ("least sensitive CP", k => TensorNetwork.FactorizeStable(k, Formats.Cp(4), null, Quick).Network),
        ("least sensitive Tucker within a bound", k => TensorNetwork.FactorizeStable(k, Formats.Tucker(5, 4, 3), ErrorBounds.Relative(0.8), Quick).Network),
        ("ranks by a bound", k => TensorNetwork.FactorizeToBound(k, Families.Tucker, ErrorBounds.Relative(0.5), Quick).Network),
        ("the front", k =>
        {
            var start = TensorNetwork.Factorize(k, Formats.Cp(3), Quick).Network;
            TensorNetwork.TraceFront(k, start, [0.9, 0.95], Quick);
            return TensorNetwork.Balance(start);
        }),
        ("noise", k => TensorNetwork.Random(TensorNetwork.Of(Formats.Cp(3), 6, 5, 4))),
    ];

    private static readonly (string Name, Func<FactorizedLayer> Make)[] Layers =
    [
        ("Compress of a model made there", () =>
        {
            var model = Sequential(("conv", Conv2d(6, 5, 3)));
            return Model.Compress(model, "conv", Formats.Cp(3), null, Quick);
        }),
        ("Compress in a norm measured there", () =>
        {
            var model = Sequential(("conv", Conv2d(6, 5, 1)));
            var norm = Norms.Weighted(Model.Covariance(model, "conv", [randn(4, 6, 3, 3)]));
            return Model.Compress(model, "conv", Formats.TensorTrain(2, 2), null, Quick with { Norm = norm });
        }),
        ("Fresh", () => Model.Fresh(Geometries.Convolution(6, 5, [3, 3]), Formats.Cp(3))),
        ("Copy", () => Model.Copy(Model.Fresh(Geometries.Linear(6, 5), Formats.TensorTrain(2)))),
        ("FactorizeMatrix", () => Model.FactorizeMatrix(Linear(6, 5), 2, ErrorBounds.Relative(0.95))),
    ];

    private static T Inside<T>(Func<T> make)
    {
        using var mode = inference_mode();
        var made = make();
        Expect.True(is_inference_mode_enabled(), "the mode of the caller is back");
        return made;
    }

    private static Test Laws => Tests.testSequenced(TestList("inference mode",
    [
        .. Networks.Select(n => TestCase($"{n.Name}: the numbers are those made outside, and have gradients", () =>
        {
            using var scope = NewDisposeScope();
            var inside = Inside(() => n.Make(Kernel()));
            var outside = n.Make(Kernel());
            foreach (var (a, b) in inside.Cores.Zip(outside.Cores))
            {
                Expect.True(a.Equals(b), "the same bits");
                a.requires_grad = true;
            }

            TensorNetwork.Sensitivity(inside).backward();
            Expect.True(inside.Cores.All(core => core.grad is not null), "gradients");
        })),
        .. Layers.Select(l => TestCase($"{l.Name}: the layer, and the dense layer made of it, are trained afterwards", () =>
        {
            using var scope = NewDisposeScope();
            using var layer = Inside(l.Make);
            using var dense = Inside(layer.ToDense);
            foreach (var m in new Module<Tensor, Tensor>[] { layer, dense })
            {
                using var optimizer = optim.SGD(m.parameters(), 0.1);
                var x = layer.Geometry.Kernel.IsEmpty ? randn(3, 6) : randn(2, 6, 4, 4);
                var loss = m.call(x).square().mean();
                (m is FactorizedLayer f ? loss + f.Sensitivity() : loss).backward();
                optimizer.step();
                Expect.True(m.parameters().All(p => p.grad is not null), "gradients");
            }
        })),
    ]));

    /// <summary>All tests of this file.</summary>
    public static Test All => Laws;
}
