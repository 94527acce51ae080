using System.Diagnostics;
using System.Runtime.InteropServices;

namespace TensorNets.Samples.Stability;

/// <summary>Silences libtorch's warnings about NNPACK, of which a run on an unsupported processor prints thousands.</summary>
public static class Quiet
{
    private const int ErrorsOnly = 2;

    /// <summary>Raises the log level of the libtorch loaded into this process to errors. It does nothing where that is not found.</summary>
    public static void ErrorsOfLibtorchOnly()
    {
        using var process = Process.GetCurrentProcess();
        foreach (ProcessModule module in process.Modules)
        {
            if (module.ModuleName.Contains("c10", StringComparison.Ordinal)
                && NativeLibrary.TryLoad(module.FileName, out var library)
                && NativeLibrary.TryGetExport(library, "FLAGS_caffe2_log_level", out var level))
            {
                Marshal.WriteInt32(level, ErrorsOnly);
            }
        }
    }
}
