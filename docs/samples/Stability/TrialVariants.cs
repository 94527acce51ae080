using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Stability;

/// <summary>STUB, to be replaced by the library: a truncated SVD of [out, in·h·w] in two cores, badly and well balanced.</summary>
public sealed class TrialVariants : IVariants
{
    /// <inheritdoc/>
    public Conv2d Find(Module<Tensor, Tensor> net, string path) =>
        (Conv2d)net.named_modules().First(child => child.name == path).module;

    /// <inheritdoc/>
    public Module<Tensor, Tensor> Exchange(Module<Tensor, Tensor> net, string path, Module<Tensor, Tensor> layer)
    {
        var dot = path.LastIndexOf('.');
        var owner = net.named_modules().First(child => child.name == path[..dot]).module;
        const System.Reflection.BindingFlags All = System.Reflection.BindingFlags.Instance | System.Reflection.BindingFlags.NonPublic;
        var field = owner.GetType().GetField(path[(dot + 1)..], All)!;
        var old = (Module<Tensor, Tensor>)field.GetValue(owner)!;
        field.SetValue(owner, layer);
        dynamic children = typeof(Module).GetField("_internal_submodules", All)!.GetValue(owner)!;
        children[path[(dot + 1)..]] = layer;
        return old;
    }

    /// <inheritdoc/>
    public IReadOnlyList<Variant> Build(Conv2d convolution, Options options, int seed)
    {
        var asItComes = new TwoCores(convolution, options.Rank ?? 24, 0.02);
        var balanced = new TwoCores(convolution, options.Rank ?? 24, 0.5);
        var least = new TwoCores(convolution, options.Rank ?? 24, 0.35);
        return [Of("ALS", asItComes), Of("ALS, balanced", balanced), Of("balanced + EPC", least), Of("EPC + penalty", least, true)];
    }

    private static Variant Of(string name, TwoCores layer, bool penalised = false) =>
        new(name, layer, layer.Cores, layer.Kernel, layer.Sensitivity, (h, w) => 2 * h * w * layer.Cores.Sum(core => core.numel()), penalised);

    private sealed class TwoCores : Module<Tensor, Tensor>
    {
        private readonly Parameter _left;
        private readonly Parameter _right;
        private readonly Parameter? _bias;
        private readonly long _stride;
        private readonly long[] _shape;

        public TwoCores(Conv2d convolution, int rank, double share)
            : base(nameof(TwoCores))
        {
            using var scope = NewDisposeScope();
            using var noGradients = no_grad();
            _shape = convolution.weight.shape;
            _stride = convolution.stride[0];
            var (u, s, vh) = linalg.svd(convolution.weight.reshape(_shape[0], -1), fullMatrices: false);
            _left = new Parameter((u * s.pow(share)).narrow(1, 0, rank).reshape(_shape[0], rank, 1, 1).contiguous().DetachFromDisposeScope());
            _right = new Parameter((s.pow(1 - share).unsqueeze(1) * vh).narrow(0, 0, rank).reshape(rank, _shape[1], _shape[2], _shape[3]).contiguous().DetachFromDisposeScope());
            _bias = convolution.bias is null ? null : new Parameter(convolution.bias.clone().DetachFromDisposeScope());
            RegisterComponents();
            foreach (var p in parameters())
            {
                p.requires_grad = true;
            }
        }

        public Parameter[] Cores => [_left, _right];

        public Tensor Kernel() => _left.reshape(_shape[0], -1).mm(_right.reshape(_left.shape[1], -1)).reshape(_shape);

        public Tensor Sensitivity() => (_left.square().sum() * _right.shape[1] * _shape[2] * _shape[3]) + (_right.square().sum() * _shape[0]);

        public override Tensor forward(Tensor input)
        {
            using var x = functional.conv2d(input, _right, strides: [_stride, _stride], padding: [_shape[2] / 2, _shape[3] / 2]);
            return functional.conv2d(x, _left, _bias);
        }
    }
}
