using Microsoft.FSharp.Collections;
using Onnx;

namespace TensorNets.Onnx;

/// <summary>The geometry of a node with a weight.</summary>
internal static class NodeGeometry
{
    /// <summary>How a node pads where it says so in words; empty where it gives numbers.</summary>
    internal static string AutoPad(NodeProto node) =>
        Graphs.Attribute(node, "auto_pad")?.S.ToStringUtf8() is { } mode && mode is not ("" or "NOTSET") ? mode : "";

    /// <summary>The geometry, or why the node cannot be compressed.</summary>
    internal static (ConvGeometry? Geometry, string Refusal) Of(NodeProto node, List<long> shape, bool inFirst)
    {
        if (shape.Exists(size => size > int.MaxValue)) return (null, $"its weight has shape {Errors.Shape(shape)}");
        if (node.OpType is "Gemm" or "MatMul")
        {
            if (shape.Count != 2) return (null, $"its weight has {shape.Count} axes");
            if (Graphs.Integer(node, "transA", 0) != 0) return (null, "its input is transposed (transA)");
            return (ConvGeometryModule.plain(0, inFirst ? shape[0] : shape[1], inFirst ? shape[1] : shape[0]), "");
        }

        if (shape.Count is < 3 or > 5) return (null, $"its weight has {shape.Count} axes");
        var transposed = node.OpType == "ConvTranspose";
        var n = shape.Count - 2;
        var groups = Graphs.Integer(node, "group", 1);
        var pads = Graphs.Integers(node, "pads", 2 * n, 0);
        var kernel = Graphs.Integers(node, "kernel_shape", 0, 0);
        if (kernel.Length > 0 && !kernel.SequenceEqual(shape[2..]))
        {
            return (null, $"its kernel_shape is {Errors.Shape(kernel)}, its weight's {Errors.Shape(shape[2..])}");
        }

        if (groups < 1 || groups > int.MaxValue || pads.Length != 2 * n)
            return (null, $"its groups are {groups}, its pads {Errors.Shape(pads)}");

        if (transposed && (AutoPad(node) is not ("" or "VALID") || Graphs.Attribute(node, "output_shape") is not null))
        {
            return (null, "its padding depends on the size of its input");
        }

        if (AutoPad(node) is not "") pads = new long[2 * n];
        var geometry = new ConvGeometry(
            transposed ? shape[0] : shape[1] * groups,
            transposed ? shape[1] * groups : shape[0],
            ListModule.OfSeq(shape[2..]),
            ListModule.OfSeq(Graphs.Integers(node, "strides", n, 1)),
            ListModule.OfSeq(Graphs.Integers(node, "dilations", n, 1)),
            ListModule.OfSeq(Enumerable.Range(0, n).Select(i => (pads[i], pads[n + i]))),
            TorchSharp.PaddingModes.Zeros,
            groups,
            transposed,
            ListModule.OfSeq(transposed ? Graphs.Integers(node, "output_padding", n, 0) : new long[n]),
            null);
        var refusals = GeometryChecks.errors(geometry);
        if (!refusals.IsEmpty) return (null, refusals.Head.Message.TrimEnd('.'));
        return groups > 1 && shape[1] == 1 && groups == shape[0]
            ? (geometry, "it is depthwise: the kernel of one channel has no smaller network")
            : (geometry, "");
    }

    /// <summary>The geometry of a layer with the padding that <c>auto_pad</c> gives for an input of a shape.</summary>
    internal static ConvGeometry Padded(OnnxLayer layer, IReadOnlyList<long> input)
    {
        var g = layer.Geometry!;
        var mode = AutoPad(layer.Nodes[0]);
        if (mode is not ("SAME_UPPER" or "SAME_LOWER") || input.Count != g.Kernel.Length + 2) return g;
        var pads = Enumerable.Range(0, g.Kernel.Length).Select(i =>
        {
            var places = (input[i + 2] + g.Stride[i] - 1) / g.Stride[i];
            var total = Math.Max(0, (places - 1) * g.Stride[i] + (g.Kernel[i] - 1) * g.Dilation[i] + 1 - input[i + 2]);
            return mode == "SAME_UPPER" ? (total / 2, total - total / 2) : (total - total / 2, total / 2);
        });
        return new(
            g.InChannels, g.OutChannels, g.Kernel, g.Stride, g.Dilation, ListModule.OfSeq(pads), g.PaddingMode, g.Groups, g.Transposed,
            g.OutputPadding, g.Embedding);
    }
}
