using TensorNets.CSharp;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Files;

/// <summary>Named tensors in a safetensors file; layers by their names and shapes.</summary>
internal class StateDictFile : NetworkFile
{
    /// <summary>The metadata of a file that <c>Model.SaveCompressed</c> or this command has written.</summary>
    private const string CompressedKey = "model", VersionKey = "tensornets";

    /// <summary>The safetensors file that holds the numbers.</summary>
    internal string Tensors { get; }

    private readonly Lazy<SafeTensorFile> _file;
    private readonly Lazy<IReadOnlyList<StoredLayer>> _stored;

    internal StateDictFile(string path)
        : this(path, path)
    {
    }

    /// <summary>A file whose tensors are in another one.</summary>
    private protected StateDictFile(string path, string tensors)
        : base(path)
    {
        Tensors = tensors;
        _file = new(() => SafeTensorFile.Open(Tensors));
        _stored = new(() => IsCompressed ? StateFiles.Layers(Tensors) : []);
    }

    internal override string Format => "safetensors";

    /// <summary>Whether layers of it are factorized.</summary>
    internal bool IsCompressed => _file.Value.Metadata.ContainsKey(CompressedKey) && _file.Value.Metadata.ContainsKey(VersionKey);

    internal override IReadOnlyList<LayerSensitivity> Sensitivities() => [.. _stored.Value.Select(LayerSensitivity.Of)];

    internal override FileReport Report()
    {
        var entries = _file.Value.Entries;
        var stored = _stored.Value;
        bool IsStored(string name) => stored.Any(layer => name.StartsWith($"{layer.Paths[0]}.", StringComparison.Ordinal));
        var own = entries.Select(entry => entry.Name).Where(IsStored).ToHashSet();
        var known = entries.ToDictionary(entry => entry.Name);
        var layers = LayerSources.OfFile(Tensors).Layers.Select(layer => LayerLine.Of(layer, known[$"{layer.Path}.weight"].DType)).ToList();
        foreach (var layer in layers) own.UnionWith([$"{layer.Name}.weight", $"{layer.Name}.bias"]);
        var others = entries.Where(entry => !own.Contains(entry.Name)).Select(LayerLine.Of);
        return new FileReport(
            Path, Format, Bytes, entries.Sum(LayerLine.Numbers), [.. stored.Select(LayerLine.Of), .. layers, .. others]);
    }

    internal override bool TakesFiles => true;

    private protected override string Ending => ".safetensors";

    internal override LayerSource Source(Inputs inputs) =>
        !inputs.IsEmpty
            ? throw new ToolException(
                $"'{Path}' is a state dict, which cannot be run", "leave --data and --input out, or name an .onnx file")
        : IsCompressed ? throw new ToolException($"'{Path}' is compressed already", "name the dense file")
        : LayerSources.OfFile(Tensors);

    internal override IReadOnlyDictionary<string, TorchSharp.torch.Tensor>? Covariances(Inputs inputs) => null;

    internal override void Save(string output, CompressionPlan plan, CompressReport report)
    {
        var layers = report.Layers;
        var formats = plan.Layers.Where(layer => layer.IsFactorized).ToDictionary(layer => layer.Path, layer => layer.Choice.ToString());
        if (layers.All(layer => layer.File != ""))
        {
            LayerInFile InFile(CompressedLayer layer) =>
                new([layer.Path], layer.File, formats[layer.Path], layer.KernelError, isKernelOnly: true);
            StateFiles.Merge(output, Tensors, [.. layers.Select(InFile)]);
            return;
        }

        using var scope = TorchSharp.torch.NewDisposeScope();
        var replaced = layers.SelectMany(layer => new[] { $"{layer.Path}.weight", $"{layer.Path}.bias" }).ToHashSet();
        var file = _file.Value;
        StateFiles.SaveCompressed(
            output,
            [.. layers.Select(layer =>
                new StoredLayer([layer.Path], layer.Layer, formats[layer.Path], layer.KernelError, isKernelOnly: true))],
            file.Entries.Where(entry => !replaced.Contains(entry.Name)).ToDictionary(entry => entry.Name, entry => file.Read(entry.Name)),
            file.Metadata);
    }

    public override void Dispose()
    {
        if (_file.IsValueCreated) _file.Value.Dispose();
        if (_stored.IsValueCreated)
        {
            foreach (var stored in _stored.Value) stored.Layer.Dispose();
        }
    }
}
