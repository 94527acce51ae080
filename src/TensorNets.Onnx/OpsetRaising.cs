using Onnx;

namespace TensorNets.Onnx;

/// <summary>Models brought to a later version of ONNX's operators, where every node means in it what it meant before.</summary>
internal static class OpsetRaising
{
    /// <summary>The version that has DequantizeLinear with a scale for each slice of an axis.</summary>
    internal const long Int8 = 13;

    /// <summary>The version that has integers of 4 bits.</summary>
    internal const long Int4 = 21;

    /// <summary>The version that has to be told into how many parts it splits.</summary>
    private const long NumberedSplit = 18;

    /// <summary>The versions of files that hold those.</summary>
    private const long IrOfInt8 = 7, IrOfInt4 = 10;

    /// <summary>The version since which a node of an operator means the same up to version 21, or is written here as one that does: else
    /// only types and optional attributes, whose defaults are what was meant before, have been added since.</summary>
    private static readonly Dictionary<string, long> Since = new()
    {
        ["Abs"] = 6,
        ["Add"] = 7,
        ["And"] = 7,
        ["ArgMax"] = 1,
        ["ArgMin"] = 1,
        ["AveragePool"] = 7,
        ["BatchNormalization"] = 7,
        ["Cast"] = 6,
        ["Ceil"] = 6,
        ["Clip"] = 6,
        ["Concat"] = 4,
        ["Constant"] = 1,
        ["ConstantOfShape"] = 9,
        ["Conv"] = 1,
        ["ConvTranspose"] = 1,
        ["Cos"] = 7,
        ["CumSum"] = 11,
        ["DepthToSpace"] = 1,
        ["Div"] = 7,
        ["Dropout"] = 7,
        ["Einsum"] = 12,
        ["Elu"] = 6,
        ["Equal"] = 7,
        ["Erf"] = 9,
        ["Exp"] = 6,
        ["Expand"] = 8,
        ["Flatten"] = 1,
        ["Floor"] = 6,
        ["Gather"] = 1,
        ["GatherElements"] = 11,
        ["GatherND"] = 11,
        ["Gemm"] = 7,
        ["GlobalAveragePool"] = 1,
        ["GlobalMaxPool"] = 1,
        ["Greater"] = 7,
        ["GRU"] = 7,
        ["Hardmax"] = 1,
        ["HardSigmoid"] = 6,
        ["HardSwish"] = 14,
        ["Identity"] = 1,
        ["InstanceNormalization"] = 6,
        ["LayerNormalization"] = 17,
        ["LeakyRelu"] = 6,
        ["Less"] = 7,
        ["Log"] = 6,
        ["LogSoftmax"] = 1,
        ["LRN"] = 1,
        ["LSTM"] = 7,
        ["MatMul"] = 1,
        ["Max"] = 8,
        ["MaxPool"] = 8,
        ["Mean"] = 8,
        ["Min"] = 8,
        ["Mod"] = 10,
        ["Mul"] = 7,
        ["Neg"] = 6,
        ["NonZero"] = 9,
        ["Not"] = 1,
        ["Or"] = 7,
        ["Pad"] = 2,
        ["Pow"] = 7,
        ["PRelu"] = 7,
        ["Range"] = 11,
        ["Reciprocal"] = 6,
        ["ReduceL1"] = 1,
        ["ReduceL2"] = 1,
        ["ReduceLogSum"] = 1,
        ["ReduceLogSumExp"] = 1,
        ["ReduceMax"] = 1,
        ["ReduceMean"] = 1,
        ["ReduceMin"] = 1,
        ["ReduceProd"] = 1,
        ["ReduceSum"] = 1,
        ["ReduceSumSquare"] = 1,
        ["Relu"] = 6,
        ["Reshape"] = 5,
        ["Resize"] = 11,
        ["Round"] = 11,
        ["ScatterND"] = 11,
        ["Selu"] = 6,
        ["Shape"] = 1,
        ["Sigmoid"] = 6,
        ["Sign"] = 9,
        ["Sin"] = 7,
        ["Slice"] = 1,
        ["Softmax"] = 1,
        ["Softplus"] = 1,
        ["Softsign"] = 1,
        ["SpaceToDepth"] = 1,
        ["Split"] = 2,
        ["Sqrt"] = 6,
        ["Squeeze"] = 1,
        ["Sub"] = 7,
        ["Sum"] = 8,
        ["Tanh"] = 6,
        ["Tile"] = 6,
        ["Transpose"] = 1,
        ["Unsqueeze"] = 1,
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
        var isFloat = MovedAttributes.IsFloat(model);
        if (Standard(model).FirstOrDefault(node => !IsSame(node, found) || !MovedAttributes.CanMove(node, found, version, isFloat)
            || (IsFlattened(node, found) && !model.Graph.Node.Contains(node))) is { } changed)
        {
            throw Refused(path, found, version, $"'{changed.Name}' ({changed.OpType}) may mean something else there");
        }
    }

    private static IEnumerable<NodeProto> Standard(ModelProto model) => Graphs.Nodes(model.Graph).Where(Graphs.IsStandard);

    /// <summary>Brings the model of an editor, of which nothing has been exchanged yet, to a version at least.</summary>
    /// <exception cref="TensorNetException">As of <see cref="Check"/>.</exception>
    internal static void Raise(GraphEditor editor, long version, string path)
    {
        var model = editor.Model;
        var found = Graphs.Opset(model);
        Check(model, version, path);
        if (found < version)
        {
            foreach (var (node, old) in model.Graph.Node.Zip(editor.Source.Graph.Node).Where(pair => IsFlattened(pair.First, found)))
            {
                editor.Replace(old, Flattened(node, editor));
            }

            foreach (var node in Standard(model))
            {
                // Version 9 has no such attribute; what it said is what is meant now.
                if (node.OpType == "BatchNormalization") Drop(node, "spatial");
                if (node.OpType == "Split" && found < NumberedSplit && version >= NumberedSplit && Graphs.Attribute(node, "split") is null
                    && node.Input.Skip(1).All(input => input == ""))
                {
                    node.Attribute.Add(Nodes.Whole("num_outputs", node.Output.Count));
                }

                MovedAttributes.Write(node, found, version, editor);
            }

            foreach (var import in model.OpsetImport.Where(import => Graphs.IsStandard(import.Domain))) import.Version = version;
        }

        if (model.IrVersion <= GraphEditor.InputsToo) DropInputs(model.Graph);
        model.IrVersion = Math.Max(model.IrVersion, version < Int4 ? IrOfInt8 : IrOfInt4);
    }

    /// <summary>Whether a node brings its input to two axes first, and does not just normalize along the last one.</summary>
    private static bool IsFlattened(NodeProto node, long found) =>
        Graphs.IsStandard(node) && node.OpType is "Softmax" or "LogSoftmax" or "Hardmax"
        && found < Int8 && Graphs.Integer(node, "axis", 1) != -1;

    /// <summary>The same by nodes that normalize along one axis: of the input brought to two axes, or along the last one where it is
    /// that.</summary>
    private static List<NodeProto> Flattened(NodeProto node, GraphEditor editor)
    {
        var (input, output, axis) = (node.Input[0], node.Output[0], Graphs.Integer(node, "axis", 1));
        if (editor.Rank(input) == axis + 1) return [Nodes.Of(node.OpType, node.Name, [input], output, Nodes.Whole("axis", -1))];
        var (shape, flat) = (editor.Fresh($"{output}/shape"), editor.Fresh($"{output}/flat"));
        var result = editor.Fresh($"{output}/normalized");
        return
        [
            Nodes.Of("Shape", shape, [input], shape),
            Nodes.Of("Flatten", flat, [input], flat, Nodes.Whole("axis", axis)),
            Nodes.Of(node.OpType, node.Name, [flat], result, Nodes.Whole("axis", -1)),
            Nodes.Of("Reshape", editor.Fresh($"{output}/reshaped"), [result, shape], output),
        ];
    }

    private static bool IsSame(NodeProto node, long version) =>
        Since.TryGetValue(node.OpType, out var since) && version >= since
        && (node.OpType != "BatchNormalization" || (node.Output.Count == 1 && Graphs.Integer(node, "spatial", 1) == 1))
        && (node.OpType != "ConvTranspose" || version >= 11 || (Graphs.Attribute(node, "output_shape") is null && !IsPadded(node)))
        && (node.OpType != "Resize"
            || Graphs.Attribute(node, "coordinate_transformation_mode")?.S.ToStringUtf8() != "tf_half_pixel_for_nn");

    /// <summary>Whether a node's padding follows from sizes.</summary>
    private static bool IsPadded(NodeProto node) => Graphs.Attribute(node, "auto_pad")?.S.ToStringUtf8() is "SAME_UPPER" or "SAME_LOWER";

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
