using Microsoft.FSharp.Collections;
using Onnx;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

public sealed partial class OnnxModel
{
    /// <summary>A factorized layer as a model of its own, from input <c>x</c> to output <c>y</c>: its stages as nodes, to be put into the
    /// graph of a model that comes about by other means.</summary>
    /// <param name="layer">The layer; it is not changed.</param>
    /// <param name="opset">The version of ONNX's operators, 7 or later.</param>
    /// <param name="axes">Axes of the input of a linear layer, the last of which are the features.</param>
    /// <param name="integers">Whether a layer that was rounded to integers keeps them, as <see cref="With"/> says.</param>
    /// <returns>The model, in the dtype of the layer; the number of images and their size are open.</returns>
    /// <exception cref="TensorNetException"><c>Unsupported</c>: a network that has no stages, padding that the version has not, or a
    /// version below 7.</exception>
    /// <example><code>OnnxModel.OfLayer(layer).Save("layer.onnx");</code></example>
    public static OnnxModel OfLayer(FactorizedLayer layer, long opset = 13, int axes = 2, bool integers = false)
    {
        ArgumentNullException.ThrowIfNull(layer);
        if (opset < 7) throw Errors.Unsupported("The opset", $"{opset}", "7 or later");
        if (axes < 1) throw Errors.Unsupported("The axes of the input", $"{axes}", "1 or more");
        using var scope = NewDisposeScope();
        using var nothing = no_grad();
        using var network = layer.Network();
        var g = layer.Geometry;
        var n = g.Kernel.Length;
        var type = (int)TensorData.TypeOf(network.DType);
        var open = Enumerable.Repeat(-1L, n == 0 ? axes - 1 : n).ToList();
        var graph = new GraphProto { Name = "layer" };
        graph.Input.Add(Nodes.Value("x", type, n == 0 ? [.. open, g.InChannels] : [-1, g.InChannels, .. open]));
        graph.Output.Add(Nodes.Value("y", type, n == 0 ? [.. open, g.OutChannels] : [-1, g.OutChannels, .. open]));
        graph.Initializer.Add(new TensorProto { Name = "weight", DataType = type });
        string[] inputs = ["x", "weight"];
        if (layer.Bias is { } bias)
        {
            graph.Initializer.Add(TensorData.Write("bias", bias, type));
            inputs = [.. inputs, "bias"];
        }

        // A product of two axes takes a bias, one of any number does not.
        var operation = n > 0 ? g.Transposed ? "ConvTranspose" : "Conv" : axes == 2 ? "Gemm" : "MatMul";
        var node = Nodes.Of(operation, "layer", operation == "MatMul" ? inputs[..2] : inputs, "y");
        graph.Node.Add(node);
        if (operation == "MatMul" && inputs.Length > 2)
        {
            node.Output[0] = "product";
            graph.Node.Add(Nodes.Of("Add", "sum", ["product", "bias"], "y"));
        }

        var model = new ModelProto { IrVersion = 7, Graph = graph, ProducerName = "TensorNets" };
        model.OpsetImport.Add(new OperatorSetIdProto { Version = opset });
        var dense = new OnnxLayer("layer", operation, [.. ConvGeometryModule.weightShape(g)], 0, g, "")
        {
            Weight = "weight",
            Nodes = [node],
            InFirst = true
        };
        return new OnnxModel(model, "").Replace([new(dense, network, n == 0 ? new long[axes] : null)
        {
            Integers = integers ? LayerQuantization.current(layer)?.Value : null,
        }]);
    }
}
