using TensorNets.CSharp;
using static TorchSharp.torch;

namespace TensorNets.Tool.Files;

/// <summary>Inputs in a folder, batch by batch: safetensors files, each a batch with a tensor for each input of the network, under its
/// name; or .npy files and images, each a sample or a batch of one input.</summary>
/// <param name="folder">The folder. Where the network has several inputs, the files of each are in a folder of its name there, or their
/// names begin with its name and <c>_</c>, <c>-</c> or <c>.</c>; those of one place in the order of names belong together.</param>
/// <param name="inputs">What the network is given.</param>
/// <param name="pixels">How images become numbers.</param>
internal sealed class DataFolder(string folder, IReadOnlyList<GraphInput> inputs, Colours pixels)
{
    /// <summary>As many rows of a file are a batch where the network takes any number.</summary>
    private const int MostRows = 16;

    private const string Batches = ".safetensors", Arrays = ".npy";

    /// <summary>The batches in the order of the files' names, each read when it is asked for and disposed when the next one is.</summary>
    /// <exception cref="ToolException">There is no such folder, no batch in it, or a file is no input of the network.</exception>
    internal IEnumerable<IReadOnlyDictionary<string, Tensor>> Read()
    {
        if (!Directory.Exists(folder)) throw new ToolException($"there is no folder '{folder}'", "name one with --data");
        var paths = Under(folder, Batches.Equals);
        return Disposing(paths.Count > 0 ? paths.Select(Batch) : Rows(Columns()));
    }

    /// <summary>Batches that are each disposed when the next one is asked for, so that no more than one is in memory.</summary>
    internal static IEnumerable<IReadOnlyDictionary<string, Tensor>> Disposing(IEnumerable<IReadOnlyDictionary<string, Tensor>> batches)
    {
        foreach (var batch in batches)
        {
            try
            {
                yield return batch;
            }
            finally
            {
                foreach (var tensor in batch.Values) tensor.Dispose();
            }
        }
    }

    private static List<string> Under(string folder, Func<string, bool> ending) =>
        [.. Directory.GetFiles(folder).Where(path => ending(Path.GetExtension(path).ToLowerInvariant())).Order(StringComparer.Ordinal)];

    private static bool IsInput(string ending) => ending == Arrays || ImageFile.Endings.Contains(ending);

    /// <summary>The files of each input; as many of each.</summary>
    private List<List<string>> Columns()
    {
        var columns = inputs.Select(FilesOf).ToList();
        foreach (var (input, files) in inputs.Zip(columns))
        {
            if (files.Count == columns[0].Count && files.Count > 0) continue;
            var kinds = string.Join(", ", [Batches, Arrays, .. ImageFile.Endings]);
            var other = files.Count > 0 ? $", {columns[0].Count} of '{inputs[0].Name}'" : "";
            throw new ToolException(
                $"'{folder}' has {files.Count} files of input '{input.Name}'{other}",
                inputs.Count == 1 ? $"put inputs there ({kinds})" : $"put as many of each input in a folder of its name there ({kinds})");
        }

        return columns;
    }

    private List<string> FilesOf(GraphInput input)
    {
        var own = Path.Combine(folder, input.Name);
        if (Directory.Exists(own)) return Under(own, IsInput);
        var all = Under(folder, IsInput);
        return inputs.Count == 1 ? all
            : [.. all.Where(path => Path.GetFileName(path) is var name && name.StartsWith(input.Name, StringComparison.Ordinal)
                && name.Length > input.Name.Length && "_-.".Contains(name[input.Name.Length]))];
    }

    /// <summary>Whether the last batch may have fewer rows than the others.</summary>
    private bool TakesFewer => inputs.All(input => input.TakesFewer);

    /// <summary>Batches of as many rows as the network takes: of one file, or of several that hold a row each. What is left at the end is a
    /// smaller batch, or left out where the network takes none.</summary>
    private IEnumerable<Dictionary<string, Tensor>> Rows(List<List<string>> columns)
    {
        var size = inputs[0].Shape is [> 0 and var asked, ..] ? (int)asked : (int?)null;
        var made = 0;
        var waiting = new List<Dictionary<string, Tensor>>();
        try
        {
            for (var i = 0; i < columns[0].Count; i++)
            {
                waiting.Add(inputs.Zip(columns).ToDictionary(pair => pair.First.Name, pair => OfFile(pair.Second[i], pair.First)));
                CheckLast(waiting, columns, i);
                var rows = waiting[0][inputs[0].Name].shape is [var first, ..] ? first : 1;
                var isLast = TakesFewer && i == columns[0].Count - 1;
                if (rows == 1 && waiting.Count < size && !isLast) continue;
                foreach (var batch in Cut(Joined(waiting), size))
                {
                    made++;
                    yield return batch;
                }
            }
        }
        finally
        {
            Dispose(waiting);
        }

        if (made == 0)
        {
            throw new ToolException(
                $"'{folder}' has fewer samples than the {size} that '{inputs[0].Name}' takes at once", "put more there");
        }
    }

    /// <summary>Refuses a sample of another size than the one that begins its batch.</summary>
    private void CheckLast(List<Dictionary<string, Tensor>> waiting, List<List<string>> columns, int last)
    {
        foreach (var (input, paths) in inputs.Zip(columns))
        {
            var (begun, own) = (waiting[0][input.Name].shape, waiting[^1][input.Name].shape);
            if (own.SequenceEqual(begun)) continue;
            throw new ToolException(
                $"'{paths[last]}' has the size {Shape(own)}, '{paths[last + 1 - waiting.Count]}' of the same batch {Shape(begun)}",
                $"give '{input.Name}' samples of one size, or that size with --input");
        }
    }

    /// <summary>Samples as one batch; they are disposed.</summary>
    private Dictionary<string, Tensor> Joined(List<Dictionary<string, Tensor>> samples)
    {
        try
        {
            return inputs.ToDictionary(
                input => input.Name,
                input => samples.Count == 1 ? samples[0][input.Name].alias() : cat(samples.ConvertAll(sample => sample[input.Name])));
        }
        finally
        {
            Dispose(samples);
        }
    }

    private static void Dispose(List<Dictionary<string, Tensor>> samples)
    {
        foreach (var tensor in samples.SelectMany(sample => sample.Values)) tensor.Dispose();
        samples.Clear();
    }

    /// <summary>A batch in parts of so many rows, where all of its tensors have as many; it is disposed.</summary>
    private IEnumerable<Dictionary<string, Tensor>> Cut(Dictionary<string, Tensor> batch, int? size)
    {
        var most = size ?? MostRows;
        var rows = batch.Values.Select(tensor => tensor.dim() > 0 ? tensor.shape[0] : 0).Distinct().ToList();
        var isWhole = size is null || TakesFewer;
        if (rows is not [var count] || count == most || (count < most && isWhole))
        {
            yield return batch;
            yield break;
        }

        try
        {
            for (var start = 0L; start + (isWhole ? 1 : most) <= count; start += most)
            {
                var (from, length) = (start, Math.Min(most, count - start));
                yield return batch.ToDictionary(pair => pair.Key, pair => pair.Value.narrow(0, from, length));
            }
        }
        finally
        {
            foreach (var tensor in batch.Values) tensor.Dispose();
        }
    }

    /// <summary>A file as a batch of an input, in the type of its numbers.</summary>
    private Tensor OfFile(string path, GraphInput input)
    {
        using var scope = NewDisposeScope();
        var read = path.EndsWith(Arrays, StringComparison.OrdinalIgnoreCase) ? ArrayFile.Read(path) : ImageFile.Read(path, input, pixels);
        if (read.dim() == input.Shape.Count - 1) read = read.unsqueeze(0);
        CheckSizes(path, input, read.shape, from: 1);
        return read.to(input.Type ?? read.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>Refuses a tensor whose sizes, from an axis on, are not those of the input.</summary>
    private static void CheckSizes(string path, GraphInput input, long[] sizes, int from)
    {
        bool IsOther((long Found, long Wanted) pair) => pair.Wanted > 0 && pair.Found != pair.Wanted;
        var isSame = sizes.Length == input.Shape.Count && !sizes.Zip(input.Shape).Skip(from).Any(IsOther);
        if (isSame || input.Shape.Count == 0) return;
        throw new ToolException(
            $"'{path}' has the size {Shape(sizes)}",
            $"give '{input.Name}' batches of {Shape(input.Shape)}, or samples without the first axis");
    }

    /// <summary>Sizes as errors show them.</summary>
    internal static string Shape(IEnumerable<long> sizes) => $"[{string.Join(", ", sizes.Select(size => size < 0 ? "?" : $"{size}"))}]";

    private Dictionary<string, Tensor> Batch(string path)
    {
        var names = inputs.Select(input => input.Name).ToList();
        using var file = SafeTensorFile.Open(path);
        var known = file.Entries.Select(entry => entry.Name).ToHashSet();
        if (names.Find(name => !known.Contains(name)) is { } missing)
        {
            throw new ToolException(
                $"'{path}' has no tensor '{missing}', an input of the network", $"give each batch {string.Join(", ", names)}");
        }

        foreach (var input in inputs)
        {
            var sizes = file.Entries.First(entry => entry.Name == input.Name).Shape;
            CheckSizes(path, input, [.. sizes], from: input.TakesFewer ? 1 : 0);
        }

        return names.ToDictionary(name => name, file.Read);
    }
}

/// <summary>What a network is given under a name.</summary>
/// <param name="Name">The name of the input.</param>
/// <param name="Shape">Its shape; −1: any size.</param>
/// <param name="Type">The type of its numbers; null: it holds something else.</param>
internal sealed record GraphInput(string Name, IReadOnlyList<long> Shape, ScalarType? Type)
{
    /// <summary>Whether the network takes fewer rows than the shape has, which are then no more than asked for.</summary>
    internal bool TakesFewer { get; init; }

    /// <summary>Whether the numbers are whole.</summary>
    internal bool IsWhole => Type is ScalarType.Byte or ScalarType.Int8 or ScalarType.Int16 or ScalarType.Int32 or ScalarType.Int64;
}
