using static TorchSharp.torch;

namespace TensorNets.CSharp;

/// <summary>A safetensors file that is open: what it lists, and its tensors one by one, each read when it is asked for, so that the file
/// may be larger than memory. Not for several threads at once.</summary>
public sealed class SafeTensorFile : IDisposable
{
    private readonly SafeTensorReader reader;

    private SafeTensorFile(SafeTensorReader reader) => this.reader = reader;

    /// <summary>The tensors, in the order of the header.</summary>
    public IReadOnlyList<SafeTensorEntry> Entries => reader.Entries;

    /// <summary>What the file says beside its tensors.</summary>
    public IReadOnlyDictionary<string, string> Metadata => reader.Metadata;

    /// <summary>Opens a file and checks its header.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The file, which the caller disposes.</returns>
    /// <exception cref="TensorNetException">There is no such file, or it is broken; the reasons are listed.</exception>
    public static SafeTensorFile Open(string path) => new(SafeTensors.openFile(path).OrThrow());

    /// <summary>All tensors of a file by name.</summary>
    /// <param name="path">The file.</param>
    /// <returns>Tensors on the CPU, which the caller owns.</returns>
    /// <exception cref="TensorNetException">There is no such file, or it is broken; the reasons are listed.</exception>
    public static IReadOnlyDictionary<string, Tensor> Load(string path) =>
        SafeTensors.load(path).OrThrow().ToDictionary(pair => pair.Item1, pair => pair.Item2);

    /// <summary>Writes tensors to a file, which holds its old content or the new one whole, whatever happens meanwhile.</summary>
    /// <param name="path">The file.</param>
    /// <param name="tensors">Tensors by name.</param>
    /// <param name="metadata">What the file says beside them; null: nothing.</param>
    /// <exception cref="TensorNetException">A tensor has no plain numbers, or the file cannot be written.</exception>
    public static void Save(
        string path, IReadOnlyDictionary<string, Tensor> tensors, IReadOnlyDictionary<string, string>? metadata = null) =>
        SafeTensors.save(
            path,
            [.. (metadata ?? new Dictionary<string, string>()).Select(pair => Tuple.Create(pair.Key, pair.Value))],
            [.. tensors.Select(pair => Tuple.Create(pair.Key, pair.Value))]).OrThrow();

    /// <summary>One tensor of the file.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>A tensor on the CPU, which the caller owns.</returns>
    /// <exception cref="TensorNetException">The file has no such tensor, has been written to or cut off since it was opened, or is
    /// disposed.</exception>
    public Tensor Read(string name) => reader.Read(name).OrThrow();

    /// <summary>Closes the file.</summary>
    public void Dispose() => ((IDisposable)reader).Dispose();
}
