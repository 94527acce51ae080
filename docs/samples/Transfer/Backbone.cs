using TensorNets.Samples.Stability;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>The networks of the studies; their layers have the same names.</summary>
public enum Backbone
{
    /// <summary>TorchVision's ResNet-18 with weights of ImageNet.</summary>
    ResNet18,

    /// <summary>A smaller ResNet without batch norms, trained from noise.</summary>
    Plain,
}

/// <summary>Networks by their kind.</summary>
public static class Backbones
{
    /// <summary>The shape of a network alone.</summary>
    public static Module<Tensor, Tensor> Untrained(Backbone backbone) =>
        backbone == Backbone.Plain ? Create(backbone, 0) : TrainedResNet.Untrained(ImageSet.Classes);

    /// <summary>What training begins with; it depends on the seed alone.</summary>
    public static Module<Tensor, Tensor> Create(Backbone backbone, int seed) =>
        backbone == Backbone.Plain
            ? new ResNet(ResNetShape.Default(Stability.Norm.None), seed)
            : TrainedResNet.Create(ImageSet.Classes, seed);

    /// <summary>Steps of dense training: from noise it takes more.</summary>
    public static int Steps(Backbone backbone, int steps) => backbone == Backbone.Plain ? 2 * steps : steps;
}
