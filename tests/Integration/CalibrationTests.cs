using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using TorchSharp.Modules;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>The weighted norm and its calibration through the C# door: what it is for, what it leaves alone, what it refuses.</summary>
public static class CalibrationTests
{
    private static readonly FitOptions Options = new(MaxSweeps: 40, Tolerance: 1e-6);

    private static Tensor Noise(int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed);
        return randn(shape, generator: generator);
    }

    /// <summary>Images whose channels are correlated and of falling strength.</summary>
    private static Tensor Images(int seed, long channels)
    {
        using var scope = NewDisposeScope();
        var mixing = Noise(99, channels, channels).mul(linspace(1, 0.05, channels).unsqueeze(0));
        return einsum("nchw,dc->ndhw", Noise(seed, 4, channels, 5, 5), mixing).MoveToOuterDisposeScope();
    }

    private static Sequential Model(long kernel = 1) => Sequential(
        ("first", Conv2d(6, 8, 3, padding: 1)),
        ("norm", BatchNorm2d(8)),
        ("drop", Dropout(0.5)),
        ("second", Conv2d(8, 10, kernel, bias: false)));

    private static double Squared(Tensor x) => x.to(float64).pow(2).sum().item<double>();

    private static Test Laws => TestList("laws",
    [
        TestCase("the mean squared error of a 1×1 convolution's output is the weighted error of its kernel", () =>
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var conv = Conv2d(8, 10, 1, bias: false, dtype: float64);
            var model = Sequential(("conv", conv));
            var images = Images(1, 8).to(float64);
            var covariance = CovarianceOf(model, "conv", images);
            var kernel = TensorNetwork.KernelOfWeight(conv.weight);
            using var fit = TensorNetwork.Factorize(kernel, Formats.Cp(3), Options with { Norm = Norms.Weighted(covariance) });
            using var layer = CSharp.Model.Layer(conv, fit.Network);
            var error = Squared(conv.call(images) - layer.call(images)) / (images.numel() / 8);
            Expect.True(Math.Abs(error - fit.Error * fit.Error) <= 1e-8 * error, $"{error} against {fit.Error * fit.Error}");

            using var plain = TensorNetwork.Factorize(kernel, Formats.Cp(3), Options);
            using var plainLayer = CSharp.Model.Layer(conv, plain.Network);
            var plainError = Squared(conv.call(images) - plainLayer.call(images)) / (images.numel() / 8);
            Expect.True(error < plainError, $"{error} against {plainError} of the plain norm");
        }),
        TestCase("the mean squared error of a linear layer's output is the weighted error of its matrix", () =>
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var linear = Linear(8, 6, hasBias: false, dtype: float64);
            var x = Noise(2, 30, 8).to(float64).mul(linspace(2, 0.1, 8));
            var covariance = CovarianceOf(Sequential(("linear", linear)), "linear", x);
            var matrix = linear.weight.t().contiguous();
            using var fit = TensorNetwork.Factorize(matrix, Formats.TensorTrain(2), Options with { Norm = Norms.Weighted(covariance) });
            var error = Squared(x.matmul(matrix - TensorNetwork.Reconstruct(fit.Network))) / 30;
            Expect.True(Math.Abs(error - fit.Error * fit.Error) <= 1e-8 * error, $"{error} against {fit.Error * fit.Error}");
        }),
        TestCase("Σ is the mean of x xᵀ over batches, images and positions, in float64", () =>
        {
            using var scope = NewDisposeScope();
            foreach (var (layer, x, channelsLast) in new (Module<Tensor, Tensor>, Tensor, Func<Tensor, Tensor>)[]
            {
                (Conv2d(8, 4, 3), Noise(3, 2, 8, 5, 4), t => t.movedim([1L], [-1L])),
                (Conv2d(8, 4, 3), Noise(4, 8, 5, 4), t => t.movedim([0L], [-1L])),
                (Conv1d(8, 4, 3), Noise(5, 2, 8, 7), t => t.movedim([1L], [-1L])),
                (Linear(8, 4), Noise(6, 2, 3, 8), t => t),
                (Conv3d(8, 4, 2), Noise(7, 2, 8, 3, 4, 3), t => t.movedim([1L], [-1L])),
                (ConvTranspose2d(8, 4, 3), Noise(8, 2, 8, 5, 4), t => t.movedim([1L], [-1L])),
                (CSharp.Model.Fresh(Linear(8, 4), Formats.TensorTrain(2)), Noise(9, 3, 8), t => t),
                (CSharp.Model.Fresh(Conv1d(8, 4, 3), Formats.Cp(2)), Noise(10, 2, 8, 7), t => t.movedim([1L], [-1L])),
            })
            {
                var model = Sequential(("layer", layer));
                var rows = channelsLast(x.to(float64)).reshape(-1, 8);
                var expected = rows.T.matmul(rows) / rows.shape[0];
                var found = CSharp.Model.Covariance(model, "layer", [x, x]);
                Expect.Equal(ScalarType.Float64, found.dtype);
                Expect.True((found - expected).norm().item<double>() <= 1e-10 * expected.norm().item<double>(), layer.GetName());
            }
        }),
        TestCase("the model is as it was: modes of training, running means, no hook; also after a batch that throws", () =>
        {
            using var scope = NewDisposeScope();
            using var model = Model();
            model.train();
            model.children().First().eval();
            var modes = model.modules().Select(m => m.training).ToArray();
            var before = model.state_dict().Select(pair => pair.Value.clone()).ToArray();
            CSharp.Model.Covariance(model, "second", [Images(5, 6)]);
            Expect.Throws<Exception>(() => CSharp.Model.Covariance(model, "second", [Images(5, 6), Images(6, 7)]));
            Expect.SequenceEqual(modes, model.modules().Select(m => m.training));
            Expect.True(model.state_dict().Zip(before).All(pair => pair.First.Value.Equals(pair.Second)), "numbers");

            // A hook that had stayed would add to a sum that is disposed, which throws.
            model.call(Images(8, 6));
        }),
        TestCase("a layer of a model is compressed in its own norm, and Σ = I changes nothing", () =>
        {
            using var scope = NewDisposeScope();
            using var model = Model(3);
            model.eval();
            var dense = CSharp.Model.Find<Conv2d>(model, "second");
            using var noGrad = no_grad();
            var kernel = TensorNetwork.KernelOfWeight(dense.weight);
            var covariance = CSharp.Model.Covariance(model, "second", [Images(9, 6), Images(10, 6)]);
            using var plain = TensorNetwork.FactorizeStable(kernel, Formats.Tucker2(3, 3), null, Options);
            using var identity = TensorNetwork.FactorizeStable(kernel, Formats.Tucker2(3, 3), null, Options with { Norm = Norms.Weighted(eye(8)) });
            Expect.True(Math.Abs(plain.Error - identity.Error) <= 1e-5 * plain.Error, $"{identity} against {plain}");
            Expect.True(Math.Abs(plain.Sensitivity - identity.Sensitivity) <= 1e-3 * plain.Sensitivity, $"{identity} against {plain}");

            var norm = Norms.Weighted(Norms.Shrunk(covariance, 0.01));
            using var weighted = TensorNetwork.FactorizeStable(kernel, Formats.Tucker2(3, 3), null, Options with { Norm = norm });
            using var balanced = TensorNetwork.Balance(weighted.Network, norm);
            var s = TensorNetwork.Sensitivity(balanced, norm).to(float64).item<double>();
            Expect.True(s <= weighted.Sensitivity * (1 + 1e-4), $"{s} against {weighted.Sensitivity}");
            var layer = CSharp.Model.Compress(model, "second", Formats.Tucker2(3, 3), null, Options with { Norm = norm });
            Expect.Equal(ScalarType.Float32, layer.Factors[0].dtype);
            Expect.True(ReferenceEquals(layer, CSharp.Model.Find(model, "second")), "the layer is in the model");
        }),
    ]);

    private static Tensor CovarianceOf(Module<Tensor, Tensor> model, string path, Tensor batch) => CSharp.Model.Covariance(model, path, [batch]);

    private static IReadOnlyList<TensorNetError> Errors(Action action) => Expect.Throws<TensorNetException>(action).Errors;

    private static Test Refusals => TestList("refusals",
    [
        TestCase("each fault is named", () =>
        {
            using var scope = NewDisposeScope();
            using var model = Model();
            Expect.True(Errors(() => CSharp.Model.Covariance(model, "secnod", [Images(1, 6)]))[0].IsPathNotFound, "path");
            Expect.True(Errors(() => CSharp.Model.Covariance(model, "norm", [Images(1, 6)]))[0].IsModuleType, "layer");
            Expect.True(Errors(() => CSharp.Model.Covariance(model, "second", []))[0].IsShape, "no batch");
            Expect.True(Errors(() => CSharp.Model.Covariance(model, "first", [Images(1, 6) * float.NaN]))[0].IsNotFinite, "NaN");
            var k = Noise(1, 4, 3, 4);
            Expect.True(Errors(() => TensorNetwork.Factorize(k, Formats.Cp(2), new FitOptions(Norm: Norms.Weighted(eye(5)))))[0].IsShape, "size");
            Expect.True(Errors(() => TensorNetwork.Factorize(k, Formats.Cp(2), new FitOptions(Norm: Norms.Weighted(-eye(4)))))[0].IsNotCovariance, "sign");
            Expect.True(Errors(() => Norms.Shrunk(eye(4), 2))[0].IsUnsupported, "share");
        }),
    ]);

    private static Test Leaks => Tests.testSequenced(TestList("native tensors",
    [
        TestCase("none is left by calibration, weighted factorization and correction", () =>
        {
            using var model = Model();
            using var k = Noise(1, 6, 4, 6);
            using var x = Images(1, 6);
            void Run()
            {
                using var covariance = CSharp.Model.Covariance(model, "first", [x]);
                var options = Options with { MaxSweeps = 5, Norm = Norms.Weighted(covariance) };
                using var fit = TensorNetwork.Factorize(k, Formats.Tucker2(3, 3), options);
                using var stable = TensorNetwork.FactorizeStable(k, Formats.Cp(3), null, options);
                using var bound = TensorNetwork.FactorizeToBound(k, Families.TensorTrain, ErrorBounds.Relative(0.5), options);
                using var front = TensorNetwork.TraceFront(k, fit.Network, [0.8, 0.9], options);
                using var mirror = TensorNetwork.LeastError(k, fit.Network, front.Points[0].Sensitivity, options);
                using var balanced = TensorNetwork.Balance(fit.Network, options.Norm!);
                using var s = TensorNetwork.Sensitivity(fit.Network, options.Norm!);
                using var shrunk = Norms.Shrunk(covariance, 0.5);
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
    public static Test All => TestList("weighted norm", [Laws, Refusals, Leaks]);
}
