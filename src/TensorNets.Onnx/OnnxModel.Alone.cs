using Onnx;

namespace TensorNets.Onnx;

public sealed partial class OnnxModel
{
    /// <summary>A model of the first node of a layer alone, for inputs of a shape: channels second, of a product last.</summary>
    internal OnnxModel Alone(string path, IReadOnlyList<long> shape)
    {
        var layer = Layer(path);
        var node = layer.Nodes[0].Clone();
        var weight = Index.Constants[layer.Weight].Clone();
        weight.Name = layer.Weight;
        var graph = new GraphProto { Name = "layer" };
        graph.Input.Add(Nodes.Value(node.Input[layer.Applied], weight.DataType, layer.Turned(shape)));
        graph.Initializer.Add(weight);

        // A bias that is no constant is left out.
        if (node.Input.Count > 2 && Index.Constants.TryGetValue(node.Input[2], out var bias))
        {
            var copy = bias.Clone();
            copy.Name = node.Input[2];
            if (copy.Name != weight.Name) graph.Initializer.Add(copy);
        }
        else if (node.Input.Count > 2)
        {
            node.Input.RemoveAt(2);
        }

        graph.Node.Add(node);
        graph.Output.Add(new ValueInfoProto { Name = node.Output[0] });
        var model = new ModelProto { IrVersion = Math.Max(Proto.IrVersion, GraphEditor.InputsToo + 1), Graph = graph };
        model.OpsetImport.AddRange(Proto.OpsetImport.Select(import => import.Clone()));
        return new(model, path);
    }
}
