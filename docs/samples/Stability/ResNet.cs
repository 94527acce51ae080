using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Stability;

/// <summary>What stands behind each convolution.</summary>
public enum Norm
{
    /// <summary>Batch norm, as in torchvision.</summary>
    Batch,

    /// <summary>Nothing: convolutions have a bias instead, and the second one of each block starts at zero.</summary>
    None,
}

/// <summary>The sizes of a <see cref="ResNet"/>: the channels of its four stages, the blocks in each, and the norm.</summary>
public sealed record ResNetShape(IReadOnlyList<int> Widths, int Blocks, Norm Norm)
{
    /// <summary>64 channels at 14×14, where the replaced layer is, and few more behind it: cheap enough for two cores.</summary>
    public static ResNetShape Default(Norm norm = Norm.Batch) => new([64, 64, 96, 128], 2, norm);
}

/// <summary>
/// A ResNet-18 for grey images of 28×28 with torchvision's submodule names (<c>layer1.1.conv2</c>, <c>layer2.0.downsample.0</c>, …).
/// The stem has stride 2 and there is no max-pooling, so the stages work at 14×14, 7×7, 4×4 and 2×2.
/// </summary>
public sealed class ResNet : Module<Tensor, Tensor>
{
    // Fields are typed Module<Tensor, Tensor>, not Conv2d, so that any layer can take the place of another.
#pragma warning disable IDE1006 // The names are torchvision's.
    private readonly Module<Tensor, Tensor> conv1;
    private readonly Module<Tensor, Tensor> bn1;
    private readonly Module<Tensor, Tensor> layer1;
    private readonly Module<Tensor, Tensor> layer2;
    private readonly Module<Tensor, Tensor> layer3;
    private readonly Module<Tensor, Tensor> layer4;
    private readonly Module<Tensor, Tensor> fc;
#pragma warning restore IDE1006

    /// <summary>A net whose weights depend on the seed alone.</summary>
    public ResNet(ResNetShape shape, int seed)
        : base(nameof(ResNet))
    {
        var widths = shape.Widths;
        conv1 = Layers.Conv(1, widths[0], 7, 2, shape.Norm);
        bn1 = Layers.NormOf(widths[0], shape.Norm);
        layer1 = Stage(widths[0], widths[0], 1, shape);
        layer2 = Stage(widths[0], widths[1], 2, shape);
        layer3 = Stage(widths[1], widths[2], 2, shape);
        layer4 = Stage(widths[2], widths[3], 2, shape);
        fc = Linear(widths[3], ImageSet.Classes);
        RegisterComponents();
        Initialise(seed, shape.Norm);
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor images)
    {
        using var scope = NewDisposeScope();
        var x = functional.relu(bn1.call(conv1.call(images)));
        x = layer4.call(layer3.call(layer2.call(layer1.call(x))));
        return fc.call(x.mean([2, 3])).MoveToOuterDisposeScope();
    }

    private static Sequential Stage(int inputs, int outputs, int stride, ResNetShape shape)
    {
        var blocks = Enumerable.Range(0, shape.Blocks).Select(i => i == 0
            ? new BasicBlock(inputs, outputs, stride, shape.Norm)
            : new BasicBlock(outputs, outputs, 1, shape.Norm));
        return Sequential([.. blocks.Select((block, i) => ($"{i}", (Module<Tensor, Tensor>)block))]);
    }

    /// <summary>He's normal initialisation from a generator of its own, so that nothing depends on a global seed.</summary>
    private void Initialise(int seed, Norm norm)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        using var generator = new Generator((ulong)seed);
        foreach (var (name, parameter) in named_parameters())
        {
            if (parameter.dim() > 1)
            {
                var inputs = parameter.numel() / parameter.shape[0];
                parameter.copy_(randn(parameter.shape, dtype: parameter.dtype, device: CPU, generator: generator) * Math.Sqrt(2.0 / inputs) * Layers.Scale(name, norm));
            }
            else if (name.EndsWith("bias", StringComparison.Ordinal))
            {
                parameter.zero_();
            }
        }
    }
}

/// <summary>Two 3×3 convolutions beside a shortcut, as in torchvision.</summary>
public sealed class BasicBlock : Module<Tensor, Tensor>
{
#pragma warning disable IDE1006 // The names are torchvision's.
    private readonly Module<Tensor, Tensor> conv1;
    private readonly Module<Tensor, Tensor> bn1;
    private readonly Module<Tensor, Tensor> conv2;
    private readonly Module<Tensor, Tensor> bn2;
    private readonly Module<Tensor, Tensor>? downsample;
#pragma warning restore IDE1006

    /// <summary>A block; the shortcut is a 1×1 convolution where the shape changes.</summary>
    public BasicBlock(int inputs, int outputs, int stride, Norm norm)
        : base(nameof(BasicBlock))
    {
        conv1 = Layers.Conv(inputs, outputs, 3, stride, norm);
        bn1 = Layers.NormOf(outputs, norm);
        conv2 = Layers.Conv(outputs, outputs, 3, 1, norm);
        bn2 = Layers.NormOf(outputs, norm);
        if (stride != 1 || inputs != outputs)
        {
            downsample = Sequential(("0", Layers.Conv(inputs, outputs, 1, stride, norm)), ("1", Layers.NormOf(outputs, norm)));
        }

        RegisterComponents();
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = functional.relu(bn1.call(conv1.call(input)));
        x = bn2.call(conv2.call(x));
        return functional.relu(x + (downsample is null ? input : downsample.call(input))).MoveToOuterDisposeScope();
    }
}

/// <summary>The pieces that the net and its blocks share.</summary>
internal static class Layers
{
    public static Module<Tensor, Tensor> Conv(int inputs, int outputs, int kernel, int stride, Norm norm) =>
        Conv2d(inputs, outputs, kernel, stride: stride, padding: kernel / 2, bias: norm == Norm.None);

    public static Module<Tensor, Tensor> NormOf(int channels, Norm norm) => norm == Norm.Batch ? BatchNorm2d(channels) : Identity();

    /// <summary>
    /// The scale of a weight at the start. Without batch norm each block's second convolution starts at zero, so that the block starts
    /// as its shortcut and the sum over eight blocks does not explode.
    /// </summary>
    public static double Scale(string parameter, Norm norm) =>
        norm == Norm.None && parameter.EndsWith("conv2.weight", StringComparison.Ordinal) ? 0 : 1;
}
