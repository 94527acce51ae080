using Microsoft.FSharp.Collections;
using Onnx;

namespace TensorNets.Onnx;

/// <summary>An ONNX model: its layers, and what they were replaced by. Immutable; what is not replaced is written as it was read.</summary>
/// <example><code>var model = OnnxModel.Load("net.onnx");</code></example>
/// <namespacedoc><summary>ONNX files in and out: their layers as a source for plans, what comes out as standard nodes, held against ONNX
/// Runtime.</summary></namespacedoc>
public sealed partial class OnnxModel
{
    private OnnxModel(ModelProto proto, string path)
    {
        Proto = proto;
        Path = path;
        Index = new GraphIndex(proto.Graph);
        Layers = new LayerFinder(proto, Index).All();
    }

    /// <summary>The model as protobuf has it; not to be changed.</summary>
    internal ModelProto Proto { get; }

    internal GraphIndex Index { get; }

    /// <summary>Where the model was read.</summary>
    public string Path { get; }

    /// <summary>The version of the format of the file.</summary>
    public long IrVersion => Proto.IrVersion;

    /// <summary>The version of ONNX's own operators; 0 where the file names none.</summary>
    public long Opset => Graphs.Opset(Proto);

    /// <summary>Convolutions and matrix products in the order of the graph; those that read one weight are one.</summary>
    public IReadOnlyList<OnnxLayer> Layers { get; }

    /// <summary>Entries of all floating-point numbers of the model.</summary>
    public long Parameters => Graphs.Tensors(Proto).Sum(TensorData.Parameters);

    /// <summary>Entries of all integers of the main graph that DequantizeLinear restores.</summary>
    public long Integers => Proto.Graph.Node
        .Where(node => Graphs.IsStandard(node) && node is { OpType: "DequantizeLinear", Output.Count: > 0 })
        .Select(node => Index.Integers(node.Output[0])).OfType<string>().Distinct()
        .Sum(name => TensorData.Integers(Index.Constants[name]));

    /// <summary>Reads a model, with the files beside it that hold numbers of it.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The model, with all its numbers in memory.</returns>
    /// <exception cref="TensorNetException"><c>BadFile</c>: the file is missing, no ONNX model, of an IR version below 3, or names numbers
    /// that are not within its folder.</exception>
    /// <example><code>var model = OnnxModel.Load("net.onnx");</code></example>
    public static OnnxModel Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return new(OnnxFile.Load(path), path);
    }

    /// <summary>Reads a model from a stream; its numbers stand in it.</summary>
    /// <param name="stream">The bytes; read to their end, left open.</param>
    /// <returns>The model.</returns>
    /// <exception cref="TensorNetException"><c>BadFile</c>, as for a file.</exception>
    /// <example><code>var model = OnnxModel.Read(File.OpenRead("net.onnx"));</code></example>
    public static OnnxModel Read(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        return new(OnnxFile.Read(stream, "", null), "");
    }

    /// <summary>Writes the model, whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="externalData">Whether numbers of 1 KiB and more are put in a file beside it, as is done in any case where a file
    /// cannot hold them (2 GB).</param>
    /// <exception cref="TensorNetException"><c>UnwrittenFile</c>, with the reason.</exception>
    /// <example><code>model.Save("smaller.onnx");</code></example>
    public void Save(string path, bool externalData = false)
    {
        ArgumentNullException.ThrowIfNull(path);
        OnnxFile.Save(Proto, path, externalData);
    }

    /// <summary>The layers as a table: operator, shape and parameters, and why a layer cannot be compressed.</summary>
    public override string ToString() => TextTable.write(
        ListModule.OfSeq(["layer", "operator", "shape", "parameters", "kept"]),
        ListModule.OfSeq(Layers.Select(layer =>
            ListModule.OfSeq([layer.Path, layer.Operator, string.Join("×", layer.Shape), $"{layer.Parameters}", layer.Kept]))));
}
