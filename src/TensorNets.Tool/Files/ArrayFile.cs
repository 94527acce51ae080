using NumSharp;
using static TorchSharp.torch;

namespace TensorNets.Tool.Files;

/// <summary>Arrays as NumPy writes them.</summary>
internal static class ArrayFile
{
    /// <summary>The array of a .npy file: whole numbers and bytes as int64, all else in float64 or, where the file has them,
    /// float32.</summary>
    /// <exception cref="ToolException">It cannot be read, or holds no real numbers.</exception>
    internal static Tensor Read(string path)
    {
        using var array = Load(path);
        long[] shape = [.. array.shape.Select(size => (long)size)];
        switch (array.typecode)
        {
            case NPTypeCode.Double:
                return tensor(array.ToArray<double>(), shape);
            case NPTypeCode.Single or NPTypeCode.Half:
                using (var numbers = array.astype(NPTypeCode.Single)) return tensor(numbers.ToArray<float>(), shape);
            case NPTypeCode.Complex or NPTypeCode.String or NPTypeCode.Empty:
                throw Refused(path, $"it holds {array.typecode}");
            default:
                using (var numbers = array.astype(NPTypeCode.Int64)) return tensor(numbers.ToArray<long>(), shape);
        }
    }

    private static NDArray Load(string path)
    {
        try
        {
            return np.load(path) as NDArray ?? throw Refused(path, "it holds several arrays");
        }
        catch (Exception error) when (error is not (OutOfMemoryException or ToolException))
        {
            throw Refused(path, error.Message.ReplaceLineEndings(" ").TrimEnd('.', ' '));
        }
    }

    private static ToolException Refused(string path, string reason) =>
        new($"'{path}' is no array of real numbers in NumPy's format ({reason})", "write it with numpy.save");
}
