using TensorNets.CSharp;
using TensorNets.Onnx;
using TensorNets.Tool.Output;
using static TorchSharp.torch;

namespace TensorNets.Tool.Files;

/// <summary>A file with a network in it, whatever its format.</summary>
internal abstract class NetworkFile(string path) : IDisposable
{
    private static readonly string[] Pickled = [".pth", ".pt", ".bin", ".ckpt"];

    /// <summary>The path as it was given.</summary>
    internal string Path { get; } = path;

    /// <summary>The size of the file.</summary>
    internal long Bytes => new FileInfo(Path).Length;

    /// <summary>What the file is: <c>safetensors</c>, <c>pth</c> or <c>onnx</c>.</summary>
    internal abstract string Format { get; }

    /// <summary>The file at a path, by the ending of its name.</summary>
    /// <exception cref="ToolException">There is none, or nobody here reads such files.</exception>
    internal static NetworkFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new ToolException(
                Directory.Exists(path) ? $"'{path}' is a folder" : $"there is no file '{path}'",
                "name an .onnx, .safetensors or .pth file");
        }

        var ending = System.IO.Path.GetExtension(path).ToLowerInvariant();
        return ending == ".onnx" ? new GraphFile(path)
            : ending == ".safetensors" ? new StateDictFile(path)
            : Pickled.Contains(ending) ? new PickledFile(path)
            : throw new ToolException(
                $"'{path}' ends in '{ending}'", "name an .onnx or .safetensors file, or a .pth, .pt, .bin or .ckpt file of PyTorch");
    }

    /// <summary>What its layers are and cost.</summary>
    internal abstract FileReport Report();

    /// <summary>S of the factorized layers: of a state dict as its factors are, of an .onnx file as its metadata have it.</summary>
    internal abstract IReadOnlyList<LayerSensitivity> Sensitivities();

    /// <summary>Whether <see cref="Save"/> takes layers from the work folder, so that a run need not hold them.</summary>
    internal virtual bool TakesFiles => false;

    /// <summary>Whether the file says which layer is the first and which the last, and how large their inputs are.</summary>
    internal virtual bool IsGraph => false;

    /// <summary>Its layers, to be planned and factorized.</summary>
    /// <exception cref="ToolException">The file is compressed already.</exception>
    internal abstract LayerSource Source(Inputs inputs);

    /// <summary>Σ of layers by their names, where inputs are given; the caller owns them. Null: none are.</summary>
    internal abstract IReadOnlyDictionary<string, Tensor>? Covariances(Inputs inputs);

    /// <summary>What measures candidates of a plan, for a budget of latency.</summary>
    /// <exception cref="ToolException">Files of this format do not say how large inputs are.</exception>
    internal virtual Func<PlannedLayer, IReadOnlyList<PlanCandidate>, IReadOnlyList<double>> CandidateTimes() =>
        throw Sizeless("none can be timed");

    /// <summary>That a file which is no graph cannot be planned so.</summary>
    internal ToolException Sizeless(string consequence) => new(
        $"'{Path}' does not say how large the inputs of its layers are, so that {consequence}",
        "use --ratio, --bytes or --error, or an .onnx file");

    /// <summary>How long the network takes by a plan, beside the dense one: of files that <see cref="CandidateTimes"/> times.</summary>
    internal virtual OnnxTimes Times(CompressionPlan plan, Inputs inputs) => new(double.NaN, double.NaN, double.NaN);

    /// <summary>How factors are rounded to so many bits. Null: they are not.</summary>
    /// <exception cref="TensorNetException">The file cannot keep integers.</exception>
    internal virtual QuantizeSettings? Quantize(int? bits) => bits is { } found ? new QuantizeSettings(found) : null;

    /// <summary>Refuses a plan that cannot be written in this format.</summary>
    /// <exception cref="TensorNetException">It names the network.</exception>
    internal virtual void Check(CompressionPlan plan)
    {
    }

    /// <summary>Writes the network with layers in the place of its dense ones.</summary>
    internal abstract void Save(string output, CompressionPlan plan, CompressReport report);

    /// <summary>How the written file runs, where somebody here can run it.</summary>
    internal virtual Verified? Verify(string output, Inputs inputs) => null;

    /// <summary>The ending of files that <see cref="Save"/> writes.</summary>
    private protected abstract string Ending { get; }

    /// <summary>Refuses a name for the output before time is spent on it.</summary>
    /// <exception cref="ToolException">The name ends otherwise, the folder is not there, or it is this file.</exception>
    internal void CheckOutput(string output)
    {
        var whole = System.IO.Path.GetFullPath(output);
        var folder = System.IO.Path.GetDirectoryName(whole);
        if (!output.EndsWith(Ending, StringComparison.OrdinalIgnoreCase))
        {
            throw new ToolException(
                $"the output '{output}' does not end in {Ending}", $"name it so: compressed {Format} files are written as {Ending}");
        }

        if (!Directory.Exists(folder)) throw new ToolException($"there is no folder '{folder}' for the output", "make it first");
        if (whole == System.IO.Path.GetFullPath(Path)) throw new ToolException($"the output is '{Path}' itself", "name another with -o");
    }

    public virtual void Dispose()
    {
    }
}
