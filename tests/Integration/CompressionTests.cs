using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using TorchSharp.Modules;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Factorizing, stabilising, replacing and training through the C# door.</summary>
public static class CompressionTests
{
    private static readonly (string Name, Format Format)[] AllFormats =
    [
        ("CP", Formats.Cp(6)),
        ("Tucker-2", Formats.Tucker2(4, 5)),
        ("tensor chain", Formats.TensorChain(2, 3, 3)),
    ];

    private sealed class Net : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> body;
        private readonly Module<Tensor, Tensor> head;

        internal Net(ScalarType? dtype = null)
            : base(nameof(Net))
        {
            body = Sequential(("conv1", Conv2d(3, 8, 3, padding: 1, dtype: dtype)), ("relu", ReLU()), ("conv2", Conv2d(8, 8, 3, padding: 1, dtype: dtype)));
            head = Conv2d(8, 2, 1, dtype: dtype);
            RegisterComponents();
        }

        public override Tensor forward(Tensor input) => head.call(body.call(input));
    }

    private static double Number(Tensor tensor) => tensor.to(ScalarType.Float64).item<double>();

    private static Tensor Images(int seed, ScalarType? dtype = null)
    {
        using var generator = new Generator((ulong)seed);
        return randn([2, 3, 7, 6], dtype: dtype ?? ScalarType.Float32, generator: generator);
    }

    private static Tensor Kernel(int seed)
    {
        using var generator = new Generator((ulong)seed);
        return randn([5, 9, 6], dtype: ScalarType.Float64, generator: generator);
    }

    private static Test Laws => TestList("laws",
    [
        .. AllFormats.Select(f => TestCase($"a convolution in a model becomes {f.Name}: parameters, state and forward see it", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            using var layer = Model.Compress(net, "body.conv2", f.Format);
            Expect.True(ReferenceEquals(Model.Find(net, "body.conv2"), layer), "the model holds the layer");
            Expect.True(net.state_dict().ContainsKey("body.conv2.A"), "the state dict has the first core");
            Expect.True(net.named_parameters().Any(p => p.name == "body.conv2.bias"), "the parameters have the bias");
            var x = Images(1);
            var y = net.call(x);
            var dense = layer.ToDense();
            Model.Exchange(net, "body.conv2", dense);
            var same = (net.call(x) - y).norm() / y.norm();
            Expect.True(Number(same) < 1e-5, $"the dense layer with the same kernel differs by {Number(same)}");
        })),
        .. AllFormats.Select(f => TestCase($"{f.Name}: balancing keeps the tensor, correcting keeps the error, both lower S", () =>
        {
            using var scope = NewDisposeScope();
            var k = Kernel(2);
            using var fit = TensorNetwork.Factorize(k, f.Format, new FitOptions(MaxSweeps: 50));
            using var balanced = TensorNetwork.Balance(fit.Network);
            using var corrected = TensorNetwork.Correct(k, fit.Network, ErrorBounds.Absolute(fit.Error * 1.01), new FitOptions(MaxSweeps: 30));
            var drift = (TensorNetwork.Reconstruct(balanced) - TensorNetwork.Reconstruct(fit.Network)).norm();
            Expect.True(Number(drift) < 1e-11, "the tensor stays");
            var s = Number(TensorNetwork.Sensitivity(balanced));
            Expect.True(s <= fit.Sensitivity * (1 + 1e-12), "balancing never raises S");
            Expect.True(corrected.Sensitivity <= s * (1 + 1e-9), "correcting never raises S");
            Expect.True(corrected.Error <= fit.Error * 1.01 * (1 + 1e-9), "the bound is kept");
        })),
        TestCase("a network written by hand is parsed, planned, contracted, balanced and factorized", () =>
        {
            using var scope = NewDisposeScope();
            var spec = TensorNetwork.Parse("sa, adb, tb -> sdt | s=5 d=9 t=6", new Dictionary<string, int> { ["a"] = 3, ["b"] = 2 });
            Expect.Equal("sa, adb, tb -> sdt", spec.ToString());
            Expect.Equal(spec, TensorNetwork.FromJson(TensorNetwork.ToJson(spec)));
            Expect.Equal(spec, TensorNetwork.Parse(TensorNetwork.Print(spec)));
            Expect.True(TensorNetwork.Explain(spec).Contains("FLOPs"), TensorNetwork.Explain(spec));
            using var network = TensorNetwork.Random(spec, 3, ScalarType.Float64);
            var tensor = TensorNetwork.Reconstruct(network);
            var expected = einsum("sa,adb,tb->sdt", network["A"], network["B"], network["C"]);
            Expect.True(Number((tensor - expected).norm()) < 1e-12 * Number(expected.norm()), "contraction");
            using var balanced = TensorNetwork.Balance(network);
            Expect.True(Number(TensorNetwork.Sensitivity(balanced)) <= Number(TensorNetwork.Sensitivity(network)), "balanced");
            using var found = TensorNetwork.FactorizeStable(tensor + (0.1 * randn_like(tensor)), spec);
            Expect.True(found.RelativeError < 0.5, $"{found}");
        }),
        TestCase("a network whose bond is wider than its rank is refused by Balance, cut and balanced by BalanceTruncated", () =>
        {
            using var scope = NewDisposeScope();
            using var wide = TensorNetwork.Random(TensorNetwork.Parse("ab, bc -> ac | a=2 b=3 c=2"), 1, ScalarType.Float64);
            Expect.True(Expect.Throws<TensorNetException>(() => TensorNetwork.Balance(wide)).Errors.Single().IsRankDeficientBond, "refused");
            using var balanced = TensorNetwork.BalanceTruncated(wide);
            Expect.SequenceEqual([2L, 2L], balanced["A"].shape);
            var tensor = TensorNetwork.Reconstruct(wide);
            Expect.True(Number((TensorNetwork.Reconstruct(balanced) - tensor).norm()) < 1e-12 * Number(tensor.norm()), "the same tensor");
        }),
        TestCase("every format is built from C# and agrees with its text", () =>
        {
            (Spec Spec, string Text)[] all =
            [
                (TensorNetwork.Of(Formats.Cp(4), 5, 9, 6), "sr, dr, tr -> sdt"),
                (TensorNetwork.Of(Formats.Tucker(2, 3, 2), 5, 9, 6), "sa, db, tc, abc -> sdt"),
                (TensorNetwork.Of(Formats.Tucker2(2, 3), 5, 9, 6), "sa, abd, tb -> sdt"),
                (TensorNetwork.Of(Formats.TensorTrain(2, 3), 5, 9, 6), "sa, adb, bt -> sdt"),
                (TensorNetwork.Of(Formats.TensorChain(2, 2, 3), 5, 9, 6), "asb, bdc, cta -> sdt"),
                (TensorNetwork.Of(Formats.BlockTerm(2, 2, 2, 2), 5, 9, 6), "sax, dbx, tcx, abcx -> sdt"),
                (TensorNetwork.Of(Formats.HierarchicalTucker(Formats.Split((2, Formats.Mode(0)), (2, Formats.Mode(1)), (2, Formats.Mode(2)))), 5, 9, 6), "sa, db, tc, abc -> sdt"),
                (TensorNetwork.Of(Formats.TensorTrainMatrix([2, 3], [4, 5], 3), 6, 20), "m0n0a, am1n1 -> m0m1n0n1"),
                (TensorNetwork.Of(Formats.Cp(4), 5, 3, 3, 6), "sr, dr, tr, ur -> sdtu"),
            ];
            foreach (var (spec, text) in all)
            {
                Expect.Equal(text, spec.ToString());
            }
        }),
        TestCase("the least sensitive matrix meets its bound", () =>
        {
            using var scope = NewDisposeScope();
            var k = Kernel(9).reshape(5, 54);
            using var fit = TensorNetwork.LeastSensitiveMatrix(k, 3, ErrorBounds.Relative(0.8));
            Expect.True(Math.Abs(fit.RelativeError - 0.8) < 1e-9, $"{fit}");
        }),
        TestCase("a penalty in the loss changes every core's gradient by c times that of S", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net(ScalarType.Float64);
            using var layer = Model.Compress(net, "body.conv2", Formats.Cp(6));
            var x = Images(3, ScalarType.Float64);
            Tensor[] Gradients(Func<Tensor> loss)
            {
                net.zero_grad();
                loss().backward();
                return [.. layer.Factors.Select(p => p.grad!.clone())];
            }

            const double c = 0.25;
            var plain = Gradients(() => net.call(x).square().mean());
            var penalty = Gradients(() => Model.Sensitivity(net));
            var both = Gradients(() => net.call(x).square().mean() + c * Model.Sensitivity(net));
            foreach (var ((p, s), b) in plain.Zip(penalty).Zip(both))
            {
                Expect.True(Number((p + c * s - b).norm()) <= 1e-10 * (1 + Number(b.norm())), "gradient");
                Expect.True(Number(s.norm()) > 0, "S depends on every core");
            }
        }),
        TestCase("descending on the penalty alone lowers S", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            using var layer = Model.Compress(net, "body.conv2", Formats.Tucker2(4, 4));
            var before = Number(layer.Sensitivity());
            using var optimizer = optim.SGD(net.parameters(), 1e-5);
            for (var step = 0; step < 20; step++)
            {
                optimizer.zero_grad();
                Model.Sensitivity(net).backward();
                optimizer.step();
            }

            Expect.True(Number(layer.Sensitivity()) < before, "S fell");
        }),
        TestCase("saved cores load into a layer of the same network", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            using var copy = new Net();
            Model.Compress(net, "body.conv2", Formats.Cp(6));
            Model.Compress(copy, "body.conv2", Formats.Cp(6));
            var file = Path.GetTempFileName();
            try
            {
                net.save(file);
                copy.load(file);
            }
            finally
            {
                File.Delete(file);
            }

            var x = Images(4);
            Expect.True(net.call(x).Equals(copy.call(x)), "the same bits");
        }),
        TestCase("all layers that a predicate names are replaced, the rest is reported; one is saved and loaded", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            var x = Images(6);
            var before = net.call(x).shape;
            var report = Model.ReplaceAll(net, (path, _) => path != "head", Formats.Cp(3));
            Expect.True(report.Replaced.Select(r => r.Path).SequenceEqual(["body.conv1", "body.conv2"]), report.ToString());
            Expect.True(report.Skipped.Single().Path == "head" && report.ToString().Contains("head: Conv2d skipped"), report.ToString());
            Expect.True(net.call(x).shape.SequenceEqual(before), "it still runs");
            var file = Path.GetTempFileName();
            var layer = Model.Find<FactorizedConv2d>(net, "body.conv2");
            Model.Save(layer, file);
            using var loaded = Model.Load(file);
            File.Delete(file);
            var images = randn(1, 8, 6, 6);
            Expect.True(loaded.call(images).Equals(layer.call(images)), "the same bits");
            using var linear = Linear(12, 8);
            using var matrix = Model.FactorizeMatrix(linear, 4, ErrorBounds.Relative(0.9));
            using var fresh = Model.Fresh(linear, Formats.TensorTrainMatrix([3, 4], [2, 4], 2));
            Expect.Equal(8L, matrix.call(randn(5, 12)).shape[1]);
            Expect.Equal(8L, fresh.call(randn(5, 12)).shape[1]);
        }),
        TestCase("an optimizer that holds the cores follows what is set in place", () =>
        {
            using var scope = NewDisposeScope();
            using var conv = Conv2d(4, 4, 3);
            using var layer = Model.Factorize(conv, Formats.Cp(3));
            using var optimizer = optim.SGD(layer.parameters(), 0.5);
            layer.SetFactors([.. layer.Factors.Select(p => ones_like(p.detach()))]);
            layer.Kernel().sum().backward();
            optimizer.step();
            Expect.True(layer.Factors.All(p => !p.detach().Equals(ones_like(p.detach()))), "every core moved");
        }),
    ]);

    private static Test Refusals => TestList("refusals",
    [
        TestCase("what is wrong is one exception that lists every error", () =>
        {
            using var conv = Conv2d(4, 4, 3);
            var errors = Expect.Throws<TensorNetException>(() => Model.Factorize(conv, Formats.Tucker2(50, 50))).Errors;
            Expect.Equal(2, errors.Count);
        }),
        TestCase("what is wrong with a text is one exception that points at positions", () =>
        {
            var message = Expect.Throws<TensorNetException>(() => TensorNetwork.Parse("s?, dr -> sd | s=0 d=3 r=2")).Message;
            Expect.True(message.Contains("At position 2") && message.Contains("dimension 0"), message);
            Expect.Throws<TensorNetException>(() => TensorNetwork.Of(Formats.Cp(0), 3, 3));
        }),
        TestCase("a penalty on a model without factorized layers is refused", () =>
        {
            using var net = new Net();
            Expect.True(Expect.Throws<TensorNetException>(() => Model.Sensitivity(net)).Message.Contains("factorized layer"), "message");
        }),
        TestCase("a failed compression leaves the model as it was", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            var x = Images(5);
            var y = net.call(x);
            var names = net.state_dict().Keys.Order().ToArray();
            (string Path, Format Format, ErrorBound? Bound)[] bad =
            [
                ("body.conv3", Formats.Cp(3), null),
                ("body.relu", Formats.Cp(3), null),
                ("body.conv2", Formats.Cp(0), null),
                ("body.conv2", Formats.Cp(3), ErrorBounds.Relative(1e-6)),
                ("body.conv2", Formats.Cp(3), ErrorBounds.Relative(-1)),
                ("body.conv2", Formats.Cp(3), ErrorBounds.Relative(double.NaN)),
            ];
            foreach (var (path, format, bound) in bad)
            {
                Expect.Throws<TensorNetException>(() => Model.Compress(net, path, format, bound));
                Expect.SequenceEqual(names, net.state_dict().Keys.Order());
                Expect.True(net.call(x).Equals(y), "the same bits");
            }
        }),
        TestCase("a kernel of NaN is refused and the model is left as it was", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            using (no_grad())
            {
                ((Conv2d)Model.Find(net, "body.conv2")).weight!.fill_(double.NaN);
            }

            var message = Expect.Throws<TensorNetException>(() => Model.Compress(net, "body.conv2", Formats.Cp(3))).Message;
            Expect.True(message.Contains("576 entries that are NaN or infinite"), message);
            Expect.True(Model.Find(net, "body.conv2") is Conv2d, "still dense");
        }),
    ]);

    /// <summary>Handles that live after an action beyond those before it, after a first run that fills whatever is filled once.</summary>
    private static long Left(Action action)
    {
        action();
        var before = NativeTensors.Count;
        for (var i = 0; i < 3; i++)
        {
            action();
        }

        return NativeTensors.Count - before;
    }

    private static Test Leaks => Tests.testSequenced(TestList("native tensors",
    [
        .. AllFormats.Select(f => TestCase($"{f.Name}: none is left by factorizing, balancing and correcting", () =>
        {
            using var k = Kernel(6);
            var left = Left(() =>
            {
                using var fit = TensorNetwork.Factorize(k, f.Format, new FitOptions(MaxSweeps: 5));
                using var balanced = TensorNetwork.Balance(fit.Network);
                using var corrected = TensorNetwork.Correct(k, balanced, ErrorBounds.Relative(0.95), new FitOptions(MaxSweeps: 3));
                using var tensor = TensorNetwork.Reconstruct(corrected.Network);
                using var s = TensorNetwork.Sensitivity(corrected.Network);
            });
            Expect.Equal(0L, left);
        })),
        .. AllFormats.Select(f => TestCase($"{f.Name}: none is left by errors", () =>
        {
            using var k = Kernel(6);
            var left = Left(() =>
            {
                using var fit = TensorNetwork.Factorize(k, f.Format, new FitOptions(MaxSweeps: 2));
                Expect.Throws<TensorNetException>(() => TensorNetwork.Correct(k, fit.Network, ErrorBounds.Relative(1e-9), new FitOptions(MaxSweeps: 2)));
            });
            Expect.Equal(0L, left);
        })),
        .. AllFormats.Select(f => TestCase($"{f.Name}: none is left by 100 training steps with the penalty", () =>
        {
            using var net = new Net();
            Model.Compress(net, "body.conv2", f.Format);
            using var optimizer = optim.SGD(net.parameters(), 1e-3, momentum: 0.9);
            using var x = Images(7);
            void Step()
            {
                using var scope = NewDisposeScope();
                optimizer.zero_grad();
                var loss = net.call(x).square().mean() + 1e-6 * Model.Sensitivity(net);
                loss.backward();
                optimizer.step();
            }

            Step();
            Step();
            var before = NativeTensors.Count;
            for (var step = 0; step < 100; step++)
            {
                Step();
            }

            Expect.Equal(before, NativeTensors.Count);
        })),
        TestCase("none is left by replacing a layer and disposing the model", () =>
        {
            var left = Left(() =>
            {
                using var net = new Net();
                Model.Compress(net, "body.conv2", Formats.Cp(4), ErrorBounds.Relative(0.95), new FitOptions(MaxSweeps: 3));
            });

            // TorchSharp counts a parameter twice when it is made and once when it goes; a dense model leaves as many of its own.
            var plain = Left(() =>
            {
                using var net = new Net();
                using var conv = Conv2d(8, 8, 3);
                Model.Replace(net, "body.conv2", Conv2d(8, 8, 3));
            });
            Expect.True(left <= plain, $"{left} left, {plain} by dense layers alone");
        }),
    ]));

    /// <summary>All tests of this file.</summary>
    public static Test All => TestList("compression", [Laws, Refusals, Leaks]);
}
