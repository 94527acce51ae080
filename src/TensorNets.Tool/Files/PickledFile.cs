using System.Collections;
using TensorNets.CSharp;
using TorchSharp.PyBridge;
using static TorchSharp.torch;

namespace TensorNets.Tool.Files;

/// <summary>A state that PyTorch's <c>torch.save</c> has written. Its tensors are copied to a safetensors file in a temporary folder, from
/// which they are read one by one.</summary>
internal sealed class PickledFile : StateDictFile
{
    /// <summary>Under these names programs for training keep a state beside other things.</summary>
    private static readonly string[] Nested = ["state_dict", "model_state_dict", "model", "module"];

    private readonly string _folder;

    internal PickledFile(string path)
        : this(path, Directory.CreateTempSubdirectory("tensornets").FullName)
    {
    }

    private PickledFile(string path, string folder)
        : base(path, System.IO.Path.Combine(folder, "state.safetensors"))
    {
        _folder = folder;
        try
        {
            using var scope = NewDisposeScope();
            SafeTensorFile.Save(System.IO.Path.Combine(folder, "state.safetensors"), Read(path));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    internal override string Format => "pth";

    public override void Dispose()
    {
        base.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static Dictionary<string, Tensor> Read(string path)
    {
        var state = Unpickled(path);
        while (Nested.FirstOrDefault(name => state[name] is IDictionary) is { } name) state = (IDictionary)state[name]!;

        // The reader gives names in another order each time.
        var tensors = state.Cast<DictionaryEntry>().Where(entry => entry is { Key: string, Value: Tensor })
            .OrderBy(entry => (string)entry.Key, StringComparer.Ordinal)
            .ToDictionary(entry => (string)entry.Key, entry => ((Tensor)entry.Value!).contiguous());
        return tensors.Count > 0 ? tensors
            : throw Refused(path, "it holds no named tensors; expected a state dict, as from torch.save(model.state_dict(), …)");
    }

    /// <summary>The reader of pickles trusts what it reads, and throws whatever comes of it.</summary>
    private static IDictionary Unpickled(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            return PyTorchUnpickler.UnpickleStateDict(stream, leaveOpen: true);
        }
        catch (Exception error) when (error is not OutOfMemoryException)
        {
            var reason = error.Message.ReplaceLineEndings(" ").TrimEnd('.', ' ');
            throw Refused(path, $"it is no state dict of torch.save in PyTorch's zip format ({reason})");
        }
    }

    private static TensorNetException Refused(string path, string reason) => new([TensorNetError.NewBadFile(path, reason)]);
}
