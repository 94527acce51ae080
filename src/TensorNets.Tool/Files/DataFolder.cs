using TensorNets.CSharp;
using static TorchSharp.torch;

namespace TensorNets.Tool.Files;

/// <summary>Inputs in a folder: each safetensors file is a batch, with a tensor for each input of the network, under its name.</summary>
internal static class DataFolder
{
    /// <summary>The batches in the order of the files' names, each read when it is asked for.</summary>
    /// <exception cref="ToolException">There is no such folder, no batch in it, or a batch lacks an input.</exception>
    internal static IEnumerable<IReadOnlyDictionary<string, Tensor>> Read(string folder, IReadOnlyList<string> names)
    {
        if (!Directory.Exists(folder)) throw new ToolException($"there is no folder '{folder}'", "name one with --data");
        var paths = Directory.GetFiles(folder, "*.safetensors").Order(StringComparer.Ordinal).ToList();
        return paths.Count > 0 ? paths.Select(path => Batch(path, names))
            : throw new ToolException(
                $"'{folder}' has no .safetensors file", $"write inputs there, each a batch of {string.Join(", ", names)}");
    }

    private static Dictionary<string, Tensor> Batch(string path, IReadOnlyList<string> names)
    {
        using var file = SafeTensorFile.Open(path);
        var known = file.Entries.Select(entry => entry.Name).ToHashSet();
        if (names.FirstOrDefault(name => !known.Contains(name)) is { } missing)
        {
            throw new ToolException(
                $"'{path}' has no tensor '{missing}', an input of the network", $"give each batch {string.Join(", ", names)}");
        }

        return names.ToDictionary(name => name, file.Read);
    }
}
