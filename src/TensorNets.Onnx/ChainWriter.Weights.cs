using Onnx;
using static Onnx.TensorProto.Types;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

internal sealed partial class ChainWriter
{
    /// <summary>The value that is the weight of a stage, brought into the layout of its node, times a factor: numbers, or integers that
    /// DequantizeLinear restores.</summary>
    private string Weight(string part, LayerStage stage, Func<Tensor, Tensor> laid, double factor)
    {
        using var scope = NewDisposeScope();
        if (stage.Integers is not { Value: var (integers, scales) }
            || IntegerWeight.Of(laid(integers).contiguous(), laid(scales)) is not { } weight)
        {
            return Numbers(part, name => TensorData.Write(name, laid(stage.Weight) * factor, type));
        }

        if (shared.TryGetValue(part, out var known)) return known;
        var inFour = bits <= IntegerWeight.Few && editor.Opset >= OpsetRaising.Int4;
        var numbers = Numbers($"{part}/integers", name => weight.Write(name, inFour));
        var steps = Numbers($"{part}/scales", name => TensorData.Write(name, weight.Scales * factor, (int)DataType.Float));

        var restored = Made(0, "DequantizeLinear", $"{part}/restored", [numbers, steps], Nodes.Whole("axis", weight.Axis));

        // Scales in another type would be other numbers.
        return shared[part] = type == (int)DataType.Float ? restored : Made(1, "Cast", $"{part}/cast", [restored], Nodes.Whole("to", type));
    }

    /// <summary>Puts a node before the chain, at a place, and names its value.</summary>
    private string Made(int place, string operation, string part, string[] inputs, AttributeProto attribute)
    {
        var name = editor.Fresh($"{layer.Path}/{part}");
        nodes.Insert(place, Nodes.Of(operation, name, inputs, name, attribute));
        return name;
    }
}
