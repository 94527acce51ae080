using Onnx;
using TensorNets.CSharp;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Transfer;

/// <summary>
/// TorchVision's ResNet-18 with weights trained on ImageNet: those of the ONNX file in the package
/// Microsoft.ML.DnnImageFeaturizer.ResNet18. Its convolutions have the shapes of TorchVision's in the order of its graph; it has one block
/// more in the last stage, which is left out, and its strided convolutions pad the beginning only.
/// </summary>
public static class TrainedResNet
{
    /// <summary>The side of the images that the network is given.</summary>
    public const int ImageSize = 32;

    /// <summary>The path of the first convolution, which takes grey images.</summary>
    private const string Stem = "conv1";

    /// <summary>The shape of one image with its batch, by which FLOPs are counted.</summary>
    public static IReadOnlyList<long> InputShape { get; } = [1, 1, ImageSize, ImageSize];

    /// <summary>The file that the build puts beside the program.</summary>
    public static string DefaultFile => Path.Combine(AppContext.BaseDirectory, "ResNet18.onnx");

    /// <summary>The network for grey images without any training: the shape alone.</summary>
    public static Module<Tensor, Tensor> Untrained(int classes)
    {
        var network = torchvision.models.resnet18(num_classes: classes);
        Model.Replace(network, Stem, Conv2d(1, 64, 7, stride: 2, padding: 3, bias: false));
        return network;
    }

    /// <summary>The network for grey images, with the trained weights and a classifier that depends on the seed alone.</summary>
    public static Module<Tensor, Tensor> Create(int classes, int seed, string? onnxFile = null)
    {
        random.manual_seed(seed);
        var network = Untrained(classes);
        Load(network, onnxFile ?? DefaultFile);
        return network;
    }

    /// <summary>The trained weights, by TorchVision's names: convolutions in the order of the graph, each with the batch norm behind
    /// it.</summary>
    private static void Load(Module<Tensor, Tensor> network, string onnxFile)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        // The parser's own way to open files lets nobody else read them.
        using var file = File.OpenRead(onnxFile);
        var graph = ModelProto.Parser.ParseFrom(file).Graph;
        var weights = graph.Initializer.ToDictionary(tensor => tensor.Name);
        var norms = graph.Node.Where(node => node.OpType == "BatchNormalization").ToDictionary(node => node.Input[0]);
        var convolutions = graph.Node.Where(node => node.OpType == "Conv").ToLookup(node => weights[node.Input[1]].Dims[^1] == 1);
        var state = network.state_dict();
        foreach (var (node, (convolution, norm)) in convolutions[false].Zip(Main).Concat(convolutions[true].Zip(Shortcuts)))
        {
            var weight = Values(weights[node.Input[1]]);

            // An image of three equal colours is one grey image for the sum of the kernels of the colours.
            state[convolution + ".weight"].copy_(convolution == Stem ? weight.sum(1, keepdim: true) : weight);
            var trained = norms[node.Output[0]].Input.Skip(1).Zip(["weight", "bias", "running_mean", "running_var"]);
            foreach (var (input, name) in trained)
            {
                state[$"{norm}.{name}"].copy_(Values(weights[input]));
            }
        }
    }

    private static Tensor Values(TensorProto proto) => tensor(proto.FloatData.ToArray()).reshape([.. proto.Dims]);

    /// <summary>The stem and the 3×3 convolutions with their batch norms.</summary>
    private static IEnumerable<(string Convolution, string Norm)> Main => Blocks.Prepend((Stem, "bn1"));

    /// <summary>The 3×3 convolutions of the blocks with their batch norms.</summary>
    public static IEnumerable<(string Convolution, string Norm)> Blocks =>
        Enumerable.Range(0, 16).Select(i => ($"layer{(i / 4) + 1}.{i / 2 % 2}", (i % 2) + 1))
            .Select(at => ($"{at.Item1}.conv{at.Item2}", $"{at.Item1}.bn{at.Item2}"));

    /// <summary>The 1×1 convolutions of the shortcuts with their batch norms.</summary>
    public static IEnumerable<(string Convolution, string Norm)> Shortcuts =>
        Enumerable.Range(2, 3).Select(stage => ($"layer{stage}.0.downsample.0", $"layer{stage}.0.downsample.1"));
}
