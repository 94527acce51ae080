/// libtorch's own messages.
[<RequireQualifiedAccess>]
module NativeLog

open System
open System.Runtime.InteropServices
open TorchSharp

/// Only errors from now on: NNPACK otherwise warns at every small single-precision convolution.
let errorsOnly () =
    torch.InitializeDeviceType DeviceType.CPU // loads libc10

    let libraryName =
        if OperatingSystem.IsWindows() then "c10.dll"
        elif OperatingSystem.IsMacOS() then "libc10.dylib"
        else "libc10.so"

    let mutable library = 0n
    let mutable level = 0n

    if
        NativeLibrary.TryLoad(libraryName, &library)
        && NativeLibrary.TryGetExport(library, "FLAGS_caffe2_log_level", &level)
    then
        Marshal.WriteInt32(level, 2)
