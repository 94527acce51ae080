using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;

namespace TensorNets.Integration;

/// <summary>Bounds on the error, several starts, the front and its mirror through the C# door.</summary>
public static class FrontTests
{
    private static readonly FitOptions Options = new(MaxSweeps: 40, Tolerance: 1e-6);

    private static readonly (string Name, FormatFamily Family)[] AllFamilies =
    [
        ("CP", Families.Cp),
        ("Tucker", Families.Tucker),
        ("Tucker-2", Families.Tucker2),
        ("tensor train", Families.TensorTrain),
        ("tensor chain", Families.TensorChain),
        ("hierarchical Tucker", Families.HierarchicalTucker(Families.Split(Families.Split(Families.Mode(0), Families.Mode(1)), Families.Mode(2)))),
    ];

    private static Tensor Kernel(int seed)
    {
        using var generator = new Generator((ulong)seed);
        return randn([5, 4, 6], dtype: ScalarType.Float64, generator: generator);
    }

    private sealed class Remaining : IProgress<FitProgress>
    {
        internal List<FitProgress> All { get; } = [];

        public void Report(FitProgress value) => All.Add(value);
    }

    private static Test Laws => TestList("laws",
    [
        .. AllFamilies.Select(f => TestCase($"{f.Name}: the network for a bound meets it, and corrected it is less sensitive", () =>
        {
            using var scope = NewDisposeScope();
            var k = Kernel(1);
            var bound = ErrorBounds.Relative(0.5);
            using var fit = TensorNetwork.FactorizeToBound(k, f.Family, bound, Options);
            using var stable = TensorNetwork.FactorizeStableToBound(k, f.Family, bound, Options);
            Expect.True(fit.RelativeError <= 0.5 * (1 + 1e-9), $"{fit}");
            Expect.True(stable.RelativeError <= 0.5 * (1 + 1e-9), $"{stable}");
            Expect.True(stable.Sensitivity <= fit.Sensitivity * (1 + 1e-9), $"{stable} against {fit}");
        })),
        TestCase("every way to start finds a network of the ranks that a target has, with and without extrapolation", () =>
        {
            using var scope = NewDisposeScope();
            using var network = TensorNetwork.Random(TensorNetwork.Of(Formats.Tucker2(2, 3), 24, 20, 28), 3, ScalarType.Float64);
            var k = TensorNetwork.Reconstruct(network);
            foreach (var svd in new[] { null, SvdStarts.Sequential, SvdStarts.Randomised(3, 1), SvdStarts.Randomised(3, 1, sequential: true) })
            {
                foreach (var depth in new[] { 0, 4 })
                {
                    using var fit = TensorNetwork.Factorize(k, Formats.Tucker2(2, 3), Options with { Svd = svd, ExtrapolationDepth = depth });
                    Expect.True(fit.RelativeError <= 1e-9, $"{svd}, {depth}: {fit}");
                }
            }
        }),
        TestCase("several starts: the best is kept", () =>
        {
            using var scope = NewDisposeScope();
            var k = Kernel(2);
            var bound = ErrorBounds.Relative(0.8);
            using var one = TensorNetwork.FactorizeStable(k, Formats.TensorChain(2, 2, 2), bound, Options);
            using var several = TensorNetwork.FactorizeStable(k, Formats.TensorChain(2, 2, 2), bound, Options with { Starts = 4 });
            Expect.True(several.Sensitivity <= one.Sensitivity, $"{several} against {one}");
            using var best = TensorNetwork.CorrectBest(k, [one.Network, several.Network], bound, Options);
            Expect.True(best.Sensitivity <= several.Sensitivity * (1 + 1e-9), $"{best} against {several}");
        }),
        TestCase("S falls along the front, and the mirror of a point gives back its error", () =>
        {
            using var scope = NewDisposeScope();
            var k = Kernel(3);
            using var fit = TensorNetwork.Factorize(k, Formats.Tucker2(3, 3), Options);
            using var front = TensorNetwork.TraceFront(k, fit.Network, [0.9, 0.7, 0.8, 1e-6], Options);
            Expect.SequenceEqual([0.7, 0.8, 0.9], front.Points.Select(point => point.Bound));
            Expect.SequenceEqual([1e-6], front.Unreached);
            foreach (var (tight, loose) in front.Points.Zip(front.Points.Skip(1)))
            {
                Expect.True(loose.Sensitivity <= tight.Sensitivity, $"{loose} against {tight}");
            }

            var middle = front.Points[1];
            using var mirror = TensorNetwork.LeastError(k, middle.Network, middle.Sensitivity, Options);
            Expect.True(mirror.Sensitivity <= middle.Sensitivity * (1 + 1e-9), $"{mirror}");
            Expect.True(Math.Abs(mirror.RelativeError - middle.RelativeError) <= 1e-3 * middle.RelativeError, $"{mirror} against {middle}");
        }),
        TestCase("progress tells how many sweeps remain", () =>
        {
            using var scope = NewDisposeScope();
            var remaining = new Remaining();
            using var fit = TensorNetwork.Factorize(Kernel(4), Formats.Cp(2), Options with { Tolerance = 1e-3, Progress = remaining });
            Expect.Equal(fit.Sweeps, remaining.All.Count);
            Expect.True(remaining.All.All(p => p.SweepsLeft >= 0 && p.SweepsLeft <= p.MaxSweeps - p.Sweep), "the range");
            Expect.Equal(0, remaining.All[^1].SweepsLeft);
        }),
    ]);

    private static Test Refusals => TestList("refusals",
    [
        TestCase("bounds that make no sense are all named", () =>
        {
            using var scope = NewDisposeScope();
            var k = Kernel(5);
            using var fit = TensorNetwork.Factorize(k, Formats.Cp(2), Options);
            var errors = Expect.Throws<TensorNetException>(() => TensorNetwork.TraceFront(k, fit.Network, [double.NaN, 0.5, -1, 1])).Errors;
            Expect.Equal(3, errors.Count);
            Expect.Throws<TensorNetException>(() => TensorNetwork.LeastError(k, fit.Network, 0));
            Expect.Throws<TensorNetException>(() => TensorNetwork.LeastError(k, fit.Network, double.NaN));
            Expect.Throws<TensorNetException>(() => TensorNetwork.FactorizeToBound(k, Families.Tucker, ErrorBounds.Relative(0)));
            Expect.Throws<TensorNetException>(() => TensorNetwork.Factorize(k, Formats.Cp(2), new FitOptions(Starts: 0)));
            Expect.Throws<TensorNetException>(() => TensorNetwork.Factorize(k, Formats.Cp(2), new FitOptions(ExtrapolationDepth: 1)));
            Expect.Throws<TensorNetException>(() => TensorNetwork.Factorize(k, Formats.Cp(2), new FitOptions(Svd: SvdStarts.Randomised(1))));
            Expect.Throws<TensorNetException>(() => TensorNetwork.CorrectBest(k, [], ErrorBounds.Relative(0.5)));
        }),
    ]);

    private static Test Leaks => Tests.testSequenced(TestList("native tensors",
    [
        .. AllFamilies.Select(f => TestCase($"{f.Name}: none is left by a bound, several starts, a front and its mirror", () =>
        {
            using var k = Kernel(6);
            void Run()
            {
                using var fit = TensorNetwork.FactorizeToBound(k, f.Family, ErrorBounds.Relative(0.6), Options);
                using var front = TensorNetwork.TraceFront(k, fit.Network, [0.9, 0.7, 1e-6], Options with { MaxSweeps = 5 });
                using var mirror = TensorNetwork.LeastError(k, fit.Network, front.Points[0].Sensitivity, Options with { MaxSweeps = 5 });
                using var best = TensorNetwork.CorrectBest(k, [fit.Network], ErrorBounds.Relative(0.7), Options with { MaxSweeps = 5, Starts = 3 });
            }

            Run();
            var before = NativeTensors.Count;
            for (var i = 0; i < 3; i++)
            {
                Run();
            }

            Expect.Equal(0L, NativeTensors.Count - before);
        })),
        TestCase("none is left by sketches, sequential starts, extrapolation and cancelled searches", () =>
        {
            using var generator = new Generator(7);
            using var k = randn([24, 20, 24], dtype: ScalarType.Float64, generator: generator);
            using var small = Kernel(6);
            using var source = new CancellationTokenSource();
            source.Cancel();
            void Run()
            {
                var options = Options with { MaxSweeps = 8, ExtrapolationDepth = 4, Svd = SvdStarts.Randomised(2, 0, sequential: true) };
                using var cp = TensorNetwork.Factorize(k, Formats.Cp(2), options);
                using var tucker = TensorNetwork.Factorize(k, Formats.Tucker2(2, 2), options);
                foreach (var (_, family) in AllFamilies)
                {
                    using var cancelled = TensorNetwork.FactorizeToBound(small, family, ErrorBounds.Relative(0.6), options with { Cancellation = source.Token });
                }
            }

            Run();
            var before = NativeTensors.Count;
            for (var i = 0; i < 3; i++)
            {
                Run();
            }

            Expect.Equal(0L, NativeTensors.Count - before);
        }),
    ]));

    /// <summary>All tests of this file.</summary>
    public static Test All => TestList("front", [Laws, Refusals, Leaks]);
}
