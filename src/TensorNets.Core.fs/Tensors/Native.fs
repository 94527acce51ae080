namespace TensorNets

open System
open System.Runtime.InteropServices

/// <summary>The native libraries under TorchSharp: what they print, whether they compute rightly on this machine, and the remedy where they
/// do not.</summary>
/// <remarks>The library itself calls the guard, nothing else.</remarks>
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Native =
    /// <summary>From now on libtorch and NNPACK print errors only, for the whole process: no "Could not initialize NNPACK" for each of many
    /// convolutions.</summary>
    /// <remarks>It sets the level of libc10's log. Where libtorch cannot be loaded nothing happens: whatever needs it says why.</remarks>
    /// <example><code>Native.quiet ()</code></example>
    let quiet () : unit =
        if (NativeLibraries.check ()).IsEmpty then
            NativeLibraries.exported "c10" "FLAGS_caffe2_log_level"
            |> ValueOption.iter (fun level -> Marshal.WriteInt32(level, 2))

    /// The errors of what needs libtorch, or those of loading it.
    let private whereLoaded (errors: unit -> TensorNetError list) : Result<unit, TensorNetError list> =
        let loading = NativeLibraries.check ()

        match (if loading.IsEmpty then errors () else loading) with
        | [] -> Ok()
        | errors -> Error errors

    /// <summary>Whether libtorch can be loaded, and whether its float32 convolutions are right on this processor.</summary>
    /// <remarks>A few small convolutions are compared with float64, once for the process, in less than half a second. libtorch 2.10
    /// computes wrongly on some machines where channels fill no block of 16. After <c>Native.guard</c> they are right.</remarks>
    /// <returns>Errors: <c>NativeLibrary</c>, with the line to add; <c>WrongConvolutions</c>, with the relative error seen.</returns>
    /// <example><code>Native.check () |> Result.isOk</code></example>
    let check () : Result<unit, TensorNetError list> = whereLoaded ConvolutionCheck.check

    /// <summary>Where libtorch's float32 convolutions are wrong on this processor (<c>Native.check</c>), switches oneDNN off, for the whole
    /// process and from now on: they are right then, and dense ones take about three times as long; large ones far longer without
    /// <c>Native.hugePages</c>.</summary>
    /// <remarks>Nothing is changed where they are right. Whatever of this library runs a model or makes a layer that convolves calls it;
    /// dense networks of a program's own need it before their first convolution.</remarks>
    /// <returns>Errors: <c>NativeLibrary</c>; <c>WrongConvolutions</c>, where this libtorch cannot do without oneDNN.</returns>
    /// <example><code>Native.guard () |> orStop</code></example>
    let guard () : Result<unit, TensorNetError list> = whereLoaded ConvolutionCheck.mend

    /// <summary>Sets THP_MEM_ALLOC_ENABLE=1 in the process's native environment: tensors of 2 MiB and more lie in huge pages.</summary>
    /// <remarks>libtorch gives the memory of large tensors back to the system and takes it anew, page by page of 4 KiB. On virtual machines
    /// that was seen to be a third of the time of a decomposition (<c>docs/many-machines.md</c>). libtorch reads the variable once: this
    /// call must be the first of the program's that has to do with torch. Where the variable is set, to whatever, and on systems other than
    /// Linux, there is nothing to do.</remarks>
    /// <returns>Error: <c>TooLate</c>, where libtorch is loaded already.</returns>
    /// <example><code>Native.hugePages () |> Result.isError // torch is in use by now</code></example>
    let hugePages () : Result<unit, TensorNetError list> =
        let variable = "THP_MEM_ALLOC_ENABLE"

        if not (OperatingSystem.IsLinux()) || (NativeEnvironment.get variable).IsSome then
            Ok()
        elif NativeLibraries.areLoaded () then
            Error
                [
                    TensorNetError.TooLate("Native.hugePages", $"libtorch, which reads {variable} once, is loaded already")
                ]
        else
            NativeEnvironment.set variable "1"
            Ok()
