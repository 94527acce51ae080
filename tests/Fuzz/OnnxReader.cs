using TensorNets.CSharp;
using TensorNets.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Fuzz;

/// <summary>ONNX files: read, shown, their layers' numbers taken, and written.</summary>
internal sealed class OnnxReader : IReader
{
    private readonly string path = Path.GetTempFileName();
    private readonly string copy = Path.GetTempFileName();
    private readonly List<byte[]> corpus = [];
    private OnnxModel? accepted;

    public int Fixed => 4 << 20;

    // A byte or two of a message are an object with its lists.
    public int Multiple => 800;

    internal OnnxReader()
    {
        foreach (var layer in Readers.Layers())
        {
            using (layer)
            {
                OnnxModel.OfLayer(layer).Save(path);
                corpus.Add(File.ReadAllBytes(path));
                Model.Quantize(layer, new(4 + corpus.Count % 5));
                OnnxModel.OfLayer(layer, integers: true).Save(path);
                corpus.Add(File.ReadAllBytes(path));
            }
        }
    }

    public byte[] Input(Random random) =>
        Mutations.Bytes(random, corpus[random.Next(corpus.Count)], corpus[random.Next(corpus.Count)]);

    public void Read(byte[] input)
    {
        accepted = null;
        File.WriteAllBytes(path, input);
        var model = OnnxModel.Load(path);
        using var scope = NewDisposeScope();
        foreach (var layer in model.Source().Layers) layer.Weight.Invoke(null!).ResultValue.Dispose();
        _ = model.Integers;
        accepted = model;
    }

    public string? AfterRefusal() => null;

    public string? AfterAcceptance()
    {
        accepted!.Save(copy);
        var written = OnnxModel.Load(copy);
        return $"{written}" == $"{accepted}" && (written.Parameters, written.Integers) == (accepted.Parameters, accepted.Integers)
            ? null
            : "what was read is not what is written";
    }

    public void Dispose()
    {
        File.Delete(path);
        File.Delete(copy);
    }
}
