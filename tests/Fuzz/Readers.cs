using System.Runtime.InteropServices;
using TensorNets.CSharp;
using TorchSharp;
using static TorchSharp.torch;

namespace TensorNets.Fuzz;

/// <summary>A reader under test.</summary>
internal interface IReader : IDisposable
{
    /// <summary>What may be allocated on the managed heap whatever is read.</summary>
    int Fixed => 1 << 20;

    /// <summary>How many times the size of an input may be allocated beyond that.</summary>
    int Multiple => 10;

    /// <summary>A damaged input.</summary>
    byte[] Input(Random random);

    /// <summary>Reads an input; refuses it by a <see cref="TensorNetException"/>.</summary>
    void Read(byte[] input);

    /// <summary>What is wrong after an input was refused, or nothing.</summary>
    string? AfterRefusal();

    /// <summary>What is wrong after an input was accepted, or nothing.</summary>
    string? AfterAcceptance();
}

internal static class Readers
{
    internal static IReadOnlyList<string> Names { get; } = ["spec-text", "spec-json", "layer", "state", "safetensors", "model", "onnx"];

    internal static IReader Named(string name) => name switch
    {
        "spec-text" => new SpecReader(isJson: false),
        "spec-json" => new SpecReader(isJson: true),
        "layer" => new LayerReader(),
        "state" => new StateReader(),
        "safetensors" => new TensorsReader(),
        "model" => new ModelReader(),
        "onnx" => new OnnxReader(),
        _ => throw new ArgumentException($"no reader '{name}'", nameof(name)),
    };

    /// <summary>Layers of several kinds, formats and dtypes, small.</summary>
    internal static List<FactorizedLayer> Layers()
    {
        var conv = Geometries.Convolution(4, 6, [3, 3]);
        var layers = new List<FactorizedLayer>
        {
            Model.Fresh(conv, Formats.Cp(3)),
            Model.Fresh(conv, Formats.Tucker2(2, 3), dtype: ScalarType.Float64, lowering: Lowering.Windowed),
            Model.Fresh(conv, Formats.TensorTrain(2, 3), bias: false, lowering: Lowering.Dense),
            Model.Fresh(Geometries.Linear(4, 6), Formats.Cp(2)),
        };

        layers[0].Factors[1].requires_grad = false;
        using var root = randn(4, 6);
        using var covariance = root.matmul(root.T);
        layers[1].SetNorm(Norms.Weighted(covariance, 0));
        return layers;
    }
}

/// <summary>Networks as text or as JSON.</summary>
internal sealed class SpecReader(bool isJson) : IReader
{
    private static readonly string[] Texts =
    [
        "sr, dr, tr -> sdt | s=64 d=9 t=64 r=48", "G: abc, ax, by, cz -> xyz | a=2 b=3 c=4 x=5 y=6 z=7", "in rank, rank out -> in out | in=2 rank=3 out=4",
        "a1b, b->a1|a1=2,b=3", "rap, pbq, qcr -> abc | a=3 b=4 c=5 p=2 q=2 r=2", "(rank), (rank) -> | rank=2",
    ];

    private readonly string[] corpus = isJson ? [.. Texts.Select(text => TensorNetwork.ToJson(TensorNetwork.Parse(text)))] : Texts;
    private Spec? accepted;

    // A comma of two bytes is a core, with its name, record and places in lists and tables, or an error in words.
    public int Multiple => 800;

    // UTF-16, so that halves of characters come through.
    public byte[] Input(Random random)
    {
        var (valid, other) = (corpus[random.Next(corpus.Length)], corpus[random.Next(corpus.Length)]);
        var text = isJson ? Mutations.Json(random, valid, other) : Mutations.Text(random, valid, other);
        return MemoryMarshal.AsBytes(text.AsSpan()).ToArray();
    }

    public void Read(byte[] input)
    {
        accepted = null;
        var text = new string(MemoryMarshal.Cast<byte, char>(input));
        accepted = isJson ? TensorNetwork.FromJson(text) : TensorNetwork.Parse(text);
    }

    public string? AfterRefusal() => null;

    public string? AfterAcceptance() =>
        TensorNetwork.Parse(TensorNetwork.Print(accepted!)).Equals(accepted!) && TensorNetwork.FromJson(TensorNetwork.ToJson(accepted!)).Equals(accepted!)
            ? null
            : "what was read is not what is printed";

    public void Dispose()
    {
    }
}

/// <summary>Layer files, by path.</summary>
internal sealed class LayerReader : IReader
{
    private readonly string path = Path.GetTempFileName();
    private readonly List<byte[]> corpus = [];
    private FactorizedLayer? accepted;

    // The search for how a layer is applied.
    public int Fixed => 4 << 20;

    // The network stands in the file as text, which is read as any text.
    public int Multiple => 800;

    internal LayerReader()
    {
        foreach (var layer in Readers.Layers())
        {
            Model.Save(layer, path);
            corpus.Add(File.ReadAllBytes(path));
            layer.Dispose();
        }
    }

    public byte[] Input(Random random) => Mutations.SafeTensors(random, corpus[random.Next(corpus.Count)], corpus[random.Next(corpus.Count)]);

    public void Read(byte[] input)
    {
        accepted = null;
        File.WriteAllBytes(path, input);
        accepted = Model.Load(path);
    }

    public string? AfterRefusal() => null;

    public string? AfterAcceptance()
    {
        Model.Save(accepted!, path);
        using var again = Model.Load(path);
        var same = accepted!.state_dict().All(pair => State.Same(pair.Value, again.state_dict()[pair.Key]));
        accepted.Dispose();
        return same ? null : "what was read is not what is saved";
    }

    public void Dispose() => File.Delete(path);
}

/// <summary>States in TorchSharp's format, into a model by path and into a layer by path, stream and reader in turn.</summary>
internal sealed class StateReader : IReader
{
    private readonly string path = Path.GetTempFileName();
    private readonly List<(nn.Module Model, byte[] Bytes, State Before)> corpus = [];
    private int target;

    internal StateReader()
    {
        var models = new List<nn.Module>(Readers.Layers())
        {
            nn.Sequential(("conv", nn.Conv2d(3, 4, 3)), ("norm", nn.BatchNorm2d(4)), ("half", nn.Linear(2, 2, dtype: bfloat16))),
        };

        foreach (var model in models)
        {
            model.save(path);
            corpus.Add((model, File.ReadAllBytes(path), new State(model)));
        }
    }

    public byte[] Input(Random random)
    {
        target = random.Next(corpus.Count);
        return Mutations.Bytes(random, corpus[target].Bytes, corpus[random.Next(corpus.Count)].Bytes);
    }

    public void Read(byte[] input)
    {
        var model = corpus[target].Model;
        File.WriteAllBytes(path, input);

        if (model is not FactorizedLayer layer || input.Length % 3 == 0)
        {
            Model.LoadState(model, path);
        }
        else if (input.Length % 3 == 1)
        {
            layer.load(path);
        }
        else
        {
            using var stream = new MemoryStream(input);
            layer.load(stream);
        }
    }

    public string? AfterRefusal() => corpus[target].Before.Holds(corpus[target].Model) ? null : "a state that was refused has changed the model";

    public string? AfterAcceptance()
    {
        corpus[target].Before.Restore(corpus[target].Model);
        return AfterRefusal();
    }

    public void Dispose() => File.Delete(path);
}

/// <summary>Safetensors files of tensors of every dtype.</summary>
internal sealed class TensorsReader : IReader
{
    private readonly string path = Path.GetTempFileName();
    private readonly List<byte[]> corpus = [];
    private List<Tuple<string, Tensor>>? accepted;

    internal TensorsReader()
    {
        ScalarType[] dtypes =
        [
            ScalarType.Float64, ScalarType.Float32, ScalarType.Float16, ScalarType.BFloat16, ScalarType.Int64, ScalarType.Int32, ScalarType.Int16, ScalarType.Int8,
            ScalarType.Byte, ScalarType.Bool,
        ];

        for (var n = 1; n <= 3; n++)
        {
            using var scope = NewDisposeScope();
            var tensors = dtypes.Take(n * n + 1).Select((dtype, i) => Tuple.Create($"t{i}", ones([i % 3, n], dtype: dtype))).ToList();
            Save([.. tensors, Tuple.Create("scalar", ones([], dtype: ScalarType.Float32))]);
            corpus.Add(File.ReadAllBytes(path));
        }
    }

    private void Save(List<Tuple<string, Tensor>> tensors) => TensorNetErrorModule.raiseErrors(TensorNets.SafeTensors.save(path, [Tuple.Create("k", "v")], [.. tensors]));

    public byte[] Input(Random random) => Mutations.SafeTensors(random, corpus[random.Next(corpus.Count)], corpus[random.Next(corpus.Count)]);

    public void Read(byte[] input)
    {
        accepted = null;
        File.WriteAllBytes(path, input);
        accepted = [.. TensorNetErrorModule.raiseErrors(TensorNets.SafeTensors.load(path))];
    }

    public string? AfterRefusal() => null;

    public string? AfterAcceptance()
    {
        using var scope = NewDisposeScope();
        Save(accepted!);
        var again = TensorNetErrorModule.raiseErrors(TensorNets.SafeTensors.load(path)).ToDictionary(pair => pair.Item1, pair => pair.Item2);
        var same = again.Count == accepted!.Count && accepted.All(pair => State.Same(pair.Item2, again[pair.Item1]));
        foreach (var (_, tensor) in accepted) tensor.Dispose();
        return same ? null : "what was read is not what is written";
    }

    public void Dispose() => File.Delete(path);
}

/// <summary>The bytes of all parameters and buffers of a model.</summary>
internal sealed class State(nn.Module model)
{
    private readonly Dictionary<string, byte[]> bytes = model.state_dict().ToDictionary(pair => pair.Key, pair => Bytes(pair.Value));

    private static byte[] Bytes(Tensor tensor)
    {
        using var plain = tensor.detach().contiguous();
        return plain.numel() == 0 ? [] : plain.bytes.ToArray();
    }

    internal static bool Same(Tensor a, Tensor b) => a.dtype == b.dtype && a.shape.SequenceEqual(b.shape) && Bytes(a).SequenceEqual(Bytes(b));

    internal bool Holds(nn.Module model) => model.state_dict().All(pair => Bytes(pair.Value).SequenceEqual(bytes[pair.Key]));

    internal void Restore(nn.Module model)
    {
        using var _ = no_grad();

        foreach (var (key, tensor) in model.state_dict())
        {
            bytes[key].CopyTo(tensor.bytes);
        }
    }
}
