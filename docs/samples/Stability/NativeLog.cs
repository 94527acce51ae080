using System.Runtime.InteropServices;
using TorchSharp;

namespace TensorNets.Samples.Stability;

/// <summary>libtorch's own messages.</summary>
public static class NativeLog
{
    /// <summary>Only errors from now on: NNPACK otherwise warns at every small single-precision convolution.</summary>
    public static void ErrorsOnly()
    {
        torch.InitializeDeviceType(DeviceType.CPU); // loads libc10
        var libraryName = OperatingSystem.IsWindows() ? "c10.dll" : OperatingSystem.IsMacOS() ? "libc10.dylib" : "libc10.so";
        if (NativeLibrary.TryLoad(libraryName, out var library)
            && NativeLibrary.TryGetExport(library, "FLAGS_caffe2_log_level", out var level))
        {
            Marshal.WriteInt32(level, 2);
        }
    }
}
