using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Layers of one's own geometry and network through the C# door.</summary>
public static class OwnLayerTests
{
    private static double Number(Tensor tensor) => tensor.to(ScalarType.Float64).item<double>();

    private static Tensor Noise(ulong seed, params long[] shape)
    {
        using var generator = new Generator(seed);
        return randn(shape, dtype: ScalarType.Float64, generator: generator);
    }

    private static (string Name, ConvGeometry Geometry, Module<Tensor, Tensor> Dense, long[] Input)[] Kinds() =>
    [
        ("linear", Geometries.Linear(6, 5), Linear(6, 5, dtype: ScalarType.Float64), [3, 6]),
        ("convolution in groups", Geometries.Convolution(4, 6, [3], new ConvOptions(Stride: [2], Padding: [1], Groups: 2)), Conv1d(4, 6, 3, stride: 2, padding: 1, groups: 2, dtype: ScalarType.Float64), [2, 4, 9]),
        ("convolution with a padding mode", Geometries.Convolution(4, 5, [3, 2], new ConvOptions(Padding: [1, 0], Dilation: [2, 1], PaddingMode: PaddingModes.Reflect)), Conv2d(4, 5, (3, 2), padding: (1, 0), dilation: (2, 1), padding_mode: PaddingModes.Reflect, dtype: ScalarType.Float64), [2, 4, 7, 6]),
        ("transposed convolution", Geometries.TransposedConvolution(4, 5, [3, 3], new ConvOptions(Stride: [2, 2], OutputPadding: [1, 1])), ConvTranspose2d(4, 5, 3, stride: 2, output_padding: 1, dtype: ScalarType.Float64), [2, 4, 4, 5]),
    ];

    private static Test Laws => TestList("laws",
    [
        TestCase("a geometry written down is that of the dense layer", () =>
        {
            foreach (var (name, geometry, dense, _) in Kinds())
            {
                Expect.True(geometry.Equals(Geometries.Of(dense)), $"{name}: {geometry}");
                dense.Dispose();
            }
        }),
        TestCase("a layer of a geometry, a network and a bias is the dense layer with the network's kernel", () =>
        {
            foreach (var (name, geometry, dense, input) in Kinds())
            {
                using var scope = NewDisposeScope();
                using var fresh = Model.Fresh(geometry, Formats.Cp(3), seed: 3, dtype: ScalarType.Float64);
                using var network = fresh.Network();
                var bias = Noise(4, geometry.OutChannels);
                using var layer = Model.Layer(geometry, network, bias);
                using (no_grad())
                {
                    dense.get_parameter("weight")!.copy_(layer.Kernel());
                    dense.get_parameter("bias")!.copy_(bias);
                }

                var x = Noise(5, input);
                var y = dense.call(x);
                Expect.True(Number((layer.call(x) - y).norm()) < 1e-10 * (1 + Number(y.norm())), name);
                dense.Dispose();
            }
        }),
        TestCase("fresh layers: the same seed gives the same numbers, the gain scales their kernel, the network is the one asked for", () =>
        {
            using var scope = NewDisposeScope();
            var geometry = Geometries.Convolution(8, 8, [3, 3]);
            var spec = TensorNetwork.Parse("sa, adb, tb -> sdt | s=8 d=9 t=8 a=3 b=4");
            using var one = Model.Fresh(geometry, spec, seed: 1, bias: false, lowering: Lowering.Dense);
            using var same = Model.Fresh(geometry, spec, seed: 1, bias: false);
            using var other = Model.Fresh(geometry, spec, seed: 2, bias: false);
            using var loud = Model.Fresh(geometry, spec, seed: 1, gain: 8, bias: false);
            Expect.Equal(spec, one.Spec);
            Expect.True(one.Bias is null, "no bias");
            Expect.Equal(Lowering.Dense, one.Lowering);
            Expect.Equal(0.0, Number((one.Kernel() - same.Kernel()).norm()));
            Expect.True(Number((one.Kernel() - other.Kernel()).norm()) > 0, "another seed gave the same numbers");
            Expect.True(Math.Abs((Number(loud.Kernel().norm()) / Number(one.Kernel().norm())) - 8) < 1e-4, "gain");
        }),
        TestCase("a dense layer is factorized over a network of one's own", () =>
        {
            using var scope = NewDisposeScope();
            using var dense = Conv2d(6, 5, 3, dtype: ScalarType.Float64);
            var spec = TensorNetwork.Parse("sa, adb, tb -> sdt | s=6 d=9 t=5 a=6 b=5");
            using var layer = Model.Factorize(dense, spec);
            Expect.Equal(spec, layer.Spec);
            var x = Noise(1, 1, 6, 5, 5);
            var y = dense.call(x);
            Expect.True(Number((layer.call(x) - y).norm()) < 1e-5 * Number(y.norm()), "full ranks hold the kernel");
        }),
        TestCase("what cannot be is one exception that lists every option", () =>
        {
            var geometry = Geometries.Convolution(4, 6, [3], new ConvOptions(Stride: [0], Groups: 3));
            var exception = Expect.Throws<TensorNetException>(() => Model.Fresh(geometry, Formats.Cp(2)));
            Expect.True(exception.Message.Contains("stride") && exception.Message.Contains("groups"), exception.Message);
            using var scope = NewDisposeScope();
            var good = Geometries.Convolution(4, 6, [3]);
            using var network = TensorNetwork.Random(TensorNetwork.Of(Formats.Cp(2), 4, 3, 6));
            exception = Expect.Throws<TensorNetException>(() => Model.Layer(good, network, zeros(5)));
            Expect.True(exception.Message.Contains("The bias has shape [5]; expected [6]"), exception.Message);
        }),
        TestCase("a state that does not fit is one exception that lists every key, of a layer and of a model", () =>
        {
            using var scope = NewDisposeScope();
            using var layer = Model.Fresh(Geometries.Convolution(4, 6, [3]), Formats.Cp(2));
            var state = layer.state_dict();
            state.Remove("B");
            state["A"] = zeros(1);
            var exception = Expect.Throws<TensorNetException>(() => layer.load_state_dict(state));
            Expect.Equal(2, exception.Errors.Count);
            using var model = Sequential(("layer", layer));
            exception = Expect.Throws<TensorNetException>(() => Model.LoadState(model, state));
            Expect.Equal(4 + 3, exception.Errors.Count);
            Model.LoadState(model, model.state_dict());
            layer.train();
            Expect.True(layer.training, "train without an argument is training mode");
        }),
    ]);

    /// <summary>All of them.</summary>
    public static Test All => TestList("own layers", [Laws]);
}
