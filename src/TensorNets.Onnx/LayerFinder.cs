using Onnx;
using TorchSharp;
using static Onnx.TensorProto.Types;

namespace TensorNets.Onnx;

/// <summary>Finds the layers of a graph and says of each whether it can be compressed.</summary>
internal sealed class LayerFinder
{
    /// <summary>The oldest operators that are compressed: since then a Reshape takes its shape as an input.</summary>
    private const long LeastOpset = 5;

    private static readonly HashSet<string> Quantized =
        ["QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulNBits"];

    private static readonly HashSet<string> Fused = ["FusedConv", "FusedMatMul", "FusedGemm", "DeformConv"];

    private readonly ModelProto model;
    private readonly GraphIndex index;

    internal LayerFinder(ModelProto model, GraphIndex index) => (this.model, this.index) = (model, index);

    /// <summary>The layers in the order of the graph, those that share a weight as one; last those of subgraphs and functions.</summary>
    internal List<OnnxLayer> All()
    {
        var nodes = model.Graph.Node.Where(IsLayer).ToList();
        var names = model.Graph.Node.CountBy(node => node.Name).ToDictionary();
        string PathOf(NodeProto node) => node.Name != "" && names[node.Name] == 1 ? node.Name : node.Output.FirstOrDefault(node.Name);

        var layers = new List<OnnxLayer>();
        foreach (var group in nodes.GroupBy(node => Weight(node) is var (_, name) && Stored(name) is { } stored
            ? (IsShared: true, stored)
            : (IsShared: false, PathOf(node))))
        {
            layers.Add(Shared([.. group.Select(node => Layer(node, PathOf(node)))]));
        }

        var inner = model.Graph.Node.SelectMany(Graphs.Subgraphs).SelectMany(Graphs.Nodes).Select(node => (node, "it stands in a subgraph"))
            .Concat(model.Functions.SelectMany(function => function.Node).Select(node => (node, "it stands in a function")));
        layers.AddRange(inner.Where(pair => IsLayer(pair.node)).Select(pair => Left(pair.node, pair.node.Name, pair.Item2)));
        return layers;
    }

    private static bool IsLayer(NodeProto node) =>
        Quantized.Contains(node.OpType) || Fused.Contains(node.OpType)
        || Graphs.IsStandard(node) && node.OpType is "Conv" or "ConvTranspose" or "Gemm" or "MatMul";

    /// <summary>The input that is the weight, and its name; of a product, the side that is a constant.</summary>
    private (int Input, string Name) Weight(NodeProto node)
    {
        string Input(int i) => i < node.Input.Count ? node.Input[i] : "";
        var left = node.OpType == "MatMul" && !index.Constants.ContainsKey(Input(1)) && index.Constants.ContainsKey(Input(0));
        return left ? (0, Input(0)) : (1, Input(1));
    }

    /// <summary>The constant that a weight is or is restored from; null: it is computed otherwise.</summary>
    private string? Stored(string name) => index.Constants.ContainsKey(name) ? name : index.Integers(name);

    private static OnnxLayer Left(NodeProto node, string path, string reason) =>
        new(path, node.OpType, [], 0, null, reason) { Nodes = [node] };

    private OnnxLayer Layer(NodeProto node, string path)
    {
        if (Quantized.Contains(node.OpType)) return Left(node, path, "it is quantized");
        if (!Graphs.IsStandard(node) || Fused.Contains(node.OpType))
        {
            return Left(node, path, $"its operator is none that is compressed: {node.Domain} {node.OpType}");
        }

        var (input, name) = Weight(node);
        if (node.Output.Count != 1 || node.Output[0] == "" || node.Input.Count < 2)
            return Left(node, path, "it has no input, no weight or no output");

        if (!index.Constants.TryGetValue(name, out var weight))
        {
            var left = Left(node, path, Computed(name));
            if (index.Integers(name) is not { } stored) return left;
            var integers = index.Constants[stored];
            return left with
            {
                Shape = [.. integers.Dims],
                Parameters = TensorData.Integers(integers),
                DType = $"{(DataType)integers.DataType}",
            };
        }

        var shape = weight.Dims.ToList();
        var problem = TensorData.Problem(weight);
        var layer = new OnnxLayer(path, node.OpType, shape, TensorData.Parameters(weight), null, "")
        {
            Weight = name,
            DType = $"{(DataType)weight.DataType}",
            Nodes = [node],
            Applied = 1 - input,
            InFirst = node.OpType switch
            {
                "Gemm" => Graphs.Integer(node, "transB", 0) == 0,
                "MatMul" => input == 1,
                _ => false,
            },
        };
        if (problem != "") return layer with { Kept = problem };
        var (geometry, refusal) = NodeGeometry.Of(node, shape, layer.InFirst);
        return layer with { Geometry = geometry, Kept = refusal != "" ? refusal : Elsewhere(name) };
    }

    private string Computed(string name) =>
        index.Sparse.Contains(name) ? "its weight is sparse"
        : !index.Producers.TryGetValue(name, out var maker) ? "its weight is an input of the graph"
        : maker.OpType.Contains("QuantizeLinear", StringComparison.OrdinalIgnoreCase) ? $"its weight is quantized ({maker.OpType})"
        : $"its weight is computed in the graph ({maker.OpType})";

    /// <summary>Why a weight has to stay as it is for what is around it; empty where nothing speaks against it.</summary>
    private string Elsewhere(string name)
    {
        if (Graphs.Opset(model) < LeastOpset) return $"its opset is {Graphs.Opset(model)}; expected {LeastOpset} or later";
        if (index.Outside.Contains(name)) return "its weight leaves the graph or is read in a subgraph";
        var other = index.Readers[name].FirstOrDefault(node => !IsLayer(node) || Weight(node).Name != name
            || node.Input.Count(input => input == name) > 1);
        return other is null ? "" : $"its weight is read by {other.OpType} too";
    }

    /// <summary>The layers of one weight as one.</summary>
    private static OnnxLayer Shared(List<OnnxLayer> layers)
    {
        var first = layers[0];
        if (layers.Count == 1) return first;
        var all = first with { Nodes = [.. layers.SelectMany(layer => layer.Nodes)] };
        return layers.Find(layer => layer.Kept != "") is { } kept
            ? all with { Geometry = null, Kept = kept.Kept }
            : layers.TrueForAll(layer => Equals(layer.Geometry, first.Geometry) && layer.InFirst == first.InFirst
                && layer.Applied == first.Applied)
            ? all
            : all with { Geometry = null, Kept = "its weight is shared by layers of different kinds" };
    }
}
