using Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>The stages of one layer as nodes of ONNX, in the place of those that apply its dense weight.</summary>
internal sealed partial class ChainWriter
{
    private readonly GraphEditor editor;
    private readonly OnnxLayer layer;
    private readonly StagedLayer staged;
    private readonly int type;
    private readonly int? rank;
    private readonly int? bits;

    /// <summary>Names of numbers that all nodes of the layer share.</summary>
    private readonly Dictionary<string, string> shared = [];

    private readonly List<NodeProto> nodes = [];
    private NodeProto old = new();
    private string current = "";

    internal ChainWriter(GraphEditor editor, Replacement replacement, StagedLayer staged)
    {
        (this.editor, layer, this.staged) = (editor, replacement.Layer, staged);
        (rank, bits) = (replacement.Input?.Count, replacement.Integers?.Bits);
        type = editor.Constant(layer.Weight).DataType;
    }

    private bool IsLinear => layer.Geometry!.Kernel.IsEmpty;

    /// <summary>Puts a chain in the place of every node of the layer and takes its weight out. Returns the names of the nodes.</summary>
    internal List<string> Write()
    {
        var written = new List<string>();
        foreach (var node in layer.Nodes)
        {
            nodes.Clear();
            old = node;
            current = node.Input[layer.Applied];
            foreach (var (i, stage) in staged.Stages.Index()) Stage(stage, $"stage{i + 1}", i == staged.Stages.Length - 1);
            if (staged.Order.Length > 0) Gather(staged.Order, "order");
            if (!IsBiasInStage) Bias();
            nodes[^1].Output[0] = old.Output[0];
            editor.Replace(old, [.. nodes]);
            written.AddRange(nodes.Select(made => made.Name));
        }

        editor.Remove(layer.Weight);
        return written;
    }

    /// <summary>Whether the last stage adds the bias, in the order and number of its channels.</summary>
    private bool IsBiasInStage => staged.Order.Length == 0 && staged.Stages.Last() is var last && IsPlain(last)
        && (!IsLinear || old.OpType == "Gemm");

    private bool IsPlain(LayerStage stage) => stage.Blocks == 1 && (!IsLinear || stage.Geometry.Groups == 1);

    private string? BiasName => old.OpType != "MatMul" && old.Input.Count > 2 && old.Input[2] != "" ? old.Input[2] : null;

    /// <summary>Axes of the input of a linear layer.</summary>
    private int Rank => old.OpType == "Gemm" ? 2 : (rank ?? editor.Rank(old.Input[layer.Applied])) is { } axes && layer.Applied == 0
        ? axes
        : throw Errors.Unsupported(
            $"The network of '{layer.Path}'",
            "one whose stages pass channels through",
            "networks that sum all features in each stage, where the axes of the input are not known or the weight stands on the left");

    private void Next(string operation, string part, IEnumerable<string> inputs, params AttributeProto[] attributes)
    {
        var output = editor.Fresh($"{old.Output[0]}/{part}");
        nodes.Add(Nodes.Of(operation, editor.Fresh($"{(layer.Nodes.Count == 1 ? layer.Path : old.Output[0])}/{part}"), inputs, output,
            attributes));
        current = output;
    }

    private string Numbers(string part, Func<string, TensorProto> make)
    {
        // A node of constants stands before the chain that reads it first, and all others follow that one.
        if (!shared.TryGetValue(part, out var name))
        {
            shared[part] = name = editor.Add(make(editor.Fresh($"{layer.Path}/{part}")), layer.Weight, nodes);
        }

        return name;
    }

    private string Shape(string part, IEnumerable<long> shape) => Numbers(part, name => TensorData.Write(name, [.. shape]));

    private void Gather(long[] order, string part)
    {
        // A product's channels are its last axis.
        var axis = IsLinear ? Rank - 1 : 1;
        Next("Gather", part, [current, Shape($"{part}/channels", order)], Nodes.Whole("axis", axis));
    }

    private void Stage(LayerStage stage, string part, bool isLast)
    {
        if (stage.Order.Length > 0) Gather(stage.Order, $"{part}/order");
        if (IsLinear) Product(stage, part, isLast);
        else Convolution(stage, part, isLast);
    }

    private void Convolution(LayerStage stage, string part, bool isLast)
    {
        var g = stage.Geometry;
        var open = Enumerable.Repeat(0L, g.Kernel.Length);
        if (stage.Blocks > 1)
        {
            Next("Reshape", $"{part}/blocks", [current, Shape($"{part}/blocks/shape", [-1, g.InChannels, .. open])]);
        }

        var before = g.Padding.Select(pair => pair.Item1);
        var after = g.Padding.Select(pair => pair.Item2);
        var extra = g.OutputPadding.ToArray();
        if (g.Transposed) after = after.Select((pad, i) => Cut(g, pad, ref extra[i], i)).ToList();
        var pads = before.Concat(after).ToList();
        if (g.PaddingMode != PaddingModes.Zeros && pads.Exists(pad => pad > 0))
        {
            Pad(g.PaddingMode, [0, 0, .. before, 0, 0, .. after], part);
            pads = [.. pads.Select(_ => 0L)];
        }

        var auto = NodeGeometry.AutoPad(old) is "SAME_UPPER" or "SAME_LOWER" && !g.Kernel.Zip(g.Stride).All(pair => pair is (1, 1));
        var weight = Weight($"{part}/weight", stage, numbers => numbers, 1);
        var bias = isLast && IsBiasInStage && BiasName is { } name ? new[] { name } : [];
        AttributeProto[] attributes =
        [
            Nodes.List("kernel_shape", g.Kernel), Nodes.List("strides", g.Stride), Nodes.List("dilations", g.Dilation),
            Nodes.Whole("group", g.Groups),
            auto ? Nodes.Words("auto_pad", NodeGeometry.AutoPad(old)) : Nodes.List("pads", pads),
            .. g.Transposed ? [Nodes.List("output_padding", extra)] : Array.Empty<AttributeProto>(),
        ];
        Next(g.Transposed ? "ConvTranspose" : "Conv", part, [current, weight, .. bias], attributes);
        if (stage.Blocks > 1)
        {
            Next("Reshape", $"{part}/joined", [current, Shape($"{part}/joined/shape", [-1, stage.Blocks * g.OutChannels, .. open])]);
        }
    }

    /// <summary>What is cut off behind a dimension. ONNX Runtime takes no output padding of a stride or more: less is cut off
    /// then.</summary>
    private long Cut(ConvGeometry g, long pad, ref long extra, int i)
    {
        if (extra < g.Stride[i]) return pad;
        if (extra > pad)
        {
            throw Errors.Unsupported($"The output padding of '{layer.Path}'", $"{extra}",
                "less than the stride, or no more than is cut off");
        }

        (pad, extra) = (pad - extra, 0);
        return pad;
    }

    private void Pad(PaddingModes mode, long[] pads, string part)
    {
        var word = mode switch { PaddingModes.Reflect => "reflect", PaddingModes.Replicate => "edge", _ => "wrap" };
        if (word == "wrap" && editor.Opset < 19) throw Errors.Unsupported("Circular padding", $"opset {editor.Opset}", "19 and later");
        if (editor.Opset < 11) Next("Pad", $"{part}/pad", [current], Nodes.Words("mode", word), Nodes.List("pads", pads));
        else Next("Pad", $"{part}/pad", [current, Shape($"{part}/pad/pads", pads)], Nodes.Words("mode", word));
    }

    /// <summary>A stage of a linear layer. Where channels pass through, they become axes in front of those that are summed.</summary>
    private void Product(LayerStage stage, string part, bool isLast)
    {
        var g = stage.Geometry;
        var (groups, blocks, summed, fresh) = (g.Groups, stage.Blocks, g.InChannels / g.Groups, g.OutChannels / g.Groups);
        var inGemm = isLast && IsBiasInStage && old.OpType == "Gemm" && (BiasName is not null || editor.Opset >= 11);
        Tensor Laid(Tensor numbers)
        {
            if (layer.Applied == 0) numbers = numbers.reshape(groups, fresh, summed).mT;
            return groups == 1 ? numbers.reshape(layer.Applied == 1 ? [fresh, summed] : [summed, fresh]) : numbers;
        }

        var weight = Weight($"{part}/weight", stage, Laid, isLast && !inGemm ? Graphs.Real(old, "alpha", 1) : 1);
        if (inGemm)
        {
            AttributeProto[] attributes =
            [
                Nodes.Real("alpha", Graphs.Real(old, "alpha", 1)), Nodes.Real("beta", Graphs.Real(old, "beta", 1)),
                .. old.Attribute.Where(attribute => attribute.Name == "broadcast").Select(attribute => attribute.Clone()),
            ];
            Next("Gemm", part, BiasName is { } bias ? [current, weight, bias] : [current, weight], attributes);
        }
        else if (IsPlain(stage))
        {
            Next("MatMul", part, layer.Applied == 1 ? [weight, current] : [current, weight]);
        }
        else
        {
            var lead = Enumerable.Repeat(0L, Rank - 1).ToList();
            Next("Reshape", $"{part}/blocks", [current,
                Shape($"{part}/blocks/shape", groups == 1 ? [.. lead, blocks, summed] : [.. lead, blocks, groups, 1, summed])]);
            Next("MatMul", part, [current, weight]);
            Next("Reshape", $"{part}/joined", [current, Shape($"{part}/joined/shape", [.. lead, blocks * groups * fresh])]);
        }
    }

    /// <summary>The bias after the last stage, where that cannot add it.</summary>
    private void Bias()
    {
        if (BiasName is not { } bias) return;
        if (editor.Opset < 7)
        {
            throw Errors.Unsupported($"The bias of '{layer.Path}'", $"opset {editor.Opset}",
                "7 and later, for a network whose last stage passes channels through");
        }

        var value = current;
        if (IsLinear && Graphs.Real(old, "beta", 1) is var beta && beta != 1)
        {
            var factor = Numbers("beta", name => TensorData.Write(name, tensor(beta, dtype: ScalarType.Float64, device: CPU), type));
            Next("Mul", "scaled", [bias, factor]);
            bias = current;
        }
        else if (!IsLinear)
        {
            Next("Reshape", "bias", [bias, Shape("bias/shape", [1, -1, .. layer.Geometry!.Kernel.Select(_ => 1L)])]);
            bias = current;
        }

        Next("Add", "sum", [value, bias]);
    }
}
