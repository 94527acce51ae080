using Onnx;

namespace TensorNets.Onnx;

/// <summary>Models brought to a later version of ONNX's operators, where every node means in it what it meant before.</summary>
internal static class OpsetRaising
{
    /// <summary>The version that has DequantizeLinear with a scale for each slice of an axis.</summary>
    internal const long Int8 = 13;

    /// <summary>The version that has integers of 4 bits.</summary>
    internal const long Int4 = 21;

    /// <summary>The versions of files that hold those.</summary>
    private const long IrOfInt8 = 7, IrOfInt4 = 10;

    /// <summary>The version since which a node of an operator means the same up to version 21: only types and optional attributes, whose
    /// defaults are what was meant before, have been added since.</summary>
    private static readonly Dictionary<string, long> Since = new()
    {
        ["Abs"] = 6,
        ["Add"] = 7,
        ["AveragePool"] = 7,
        ["BatchNormalization"] = 7,
        ["Cast"] = 6,
        ["Ceil"] = 6,
        ["Clip"] = 11,
        ["Concat"] = 4,
        ["Constant"] = 1,
        ["Conv"] = 1,
        ["ConvTranspose"] = 1,
        ["Div"] = 7,
        ["Dropout"] = 12,
        ["Elu"] = 6,
        ["Erf"] = 9,
        ["Exp"] = 6,
        ["Expand"] = 8,
        ["Flatten"] = 1,
        ["Floor"] = 6,
        ["Gather"] = 1,
        ["Gemm"] = 7,
        ["GlobalAveragePool"] = 1,
        ["GlobalMaxPool"] = 1,
        ["HardSigmoid"] = 6,
        ["HardSwish"] = 14,
        ["Identity"] = 1,
        ["InstanceNormalization"] = 6,
        ["LayerNormalization"] = 17,
        ["LeakyRelu"] = 6,
        ["Log"] = 6,
        ["LRN"] = 1,
        ["MatMul"] = 1,
        ["Max"] = 8,
        ["MaxPool"] = 8,
        ["Min"] = 8,
        ["Mul"] = 7,
        ["Neg"] = 6,
        ["Pad"] = 11,
        ["Pow"] = 7,
        ["PRelu"] = 7,
        ["ReduceMean"] = 18,
        ["Relu"] = 6,
        ["Reshape"] = 5,
        ["Resize"] = 13,
        ["Shape"] = 1,
        ["Sigmoid"] = 6,
        ["Slice"] = 10,
        ["Softmax"] = 13,
        ["Sqrt"] = 6,
        ["Squeeze"] = 13,
        ["Sub"] = 7,
        ["Sum"] = 8,
        ["Tanh"] = 6,
        ["Tile"] = 6,
        ["Transpose"] = 1,
        ["Unsqueeze"] = 13,
        ["Where"] = 9,
    };

    /// <summary>The version that has integers of so many bits.</summary>
    internal static long For(int bits) => bits <= IntegerWeight.Few ? Int4 : Int8;

    /// <summary>Refuses a model that cannot be brought to a version at least.</summary>
    /// <exception cref="TensorNetException"><c>Unsupported</c>, naming a node that might mean something else there.</exception>
    internal static void Check(ModelProto model, long version, string path)
    {
        var found = Graphs.Opset(model);
        if (found >= version) return;
        if (model.Functions.Count > 0) throw Refused(path, found, version, "it has functions of its own");
        if (Standard(model).FirstOrDefault(node => !IsSame(node, found)) is { } changed)
        {
            throw Refused(path, found, version, $"'{changed.Name}' ({changed.OpType}) may mean something else there");
        }
    }

    private static IEnumerable<NodeProto> Standard(ModelProto model) => Graphs.Nodes(model.Graph).Where(Graphs.IsStandard);

    /// <summary>Brings a model to a version at least, in place.</summary>
    /// <exception cref="TensorNetException">As of <see cref="Check"/>.</exception>
    internal static void Raise(ModelProto model, long version, string path)
    {
        Check(model, version, path);
        if (Graphs.Opset(model) < version)
        {
            // Version 9 has no such attribute; what it said is what is meant now.
            foreach (var node in Standard(model).Where(node => node.OpType == "BatchNormalization")) Drop(node, "spatial");
            foreach (var import in model.OpsetImport.Where(import => Graphs.IsStandard(import.Domain))) import.Version = version;
        }

        if (model.IrVersion <= GraphEditor.InputsToo) DropInputs(model.Graph);
        model.IrVersion = Math.Max(model.IrVersion, version < Int4 ? IrOfInt8 : IrOfInt4);
    }

    private static bool IsSame(NodeProto node, long version) =>
        Since.TryGetValue(node.OpType, out var since) && version >= since
        && (node.OpType != "BatchNormalization" || (node.Output.Count == 1 && Graphs.Integer(node, "spatial", 1) == 1));

    private static TensorNetException Refused(string path, long found, long version, string reason) => Errors.Unsupported(
        $"The opset of '{path}'", $"{found}", $"{version} or later, which its integers need; it cannot be raised since {reason}");

    private static void Drop(NodeProto node, string attribute)
    {
        if (Graphs.Attribute(node, attribute) is { } old) node.Attribute.Remove(old);
    }

    /// <summary>In later files an initializer that is an input could be given anew, so that no runtime folds what is computed from
    /// it.</summary>
    private static void DropInputs(GraphProto graph)
    {
        var constants = graph.Initializer.Select(initializer => initializer.Name).ToHashSet();
        foreach (var input in graph.Input.Where(input => constants.Contains(input.Name)).ToList()) graph.Input.Remove(input);
    }
}
