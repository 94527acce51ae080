namespace TensorNets

open System.Runtime.InteropServices

/// <summary>The native libraries under TorchSharp: what they print, whether they compute rightly on this machine, and the remedy where they
/// do not.</summary>
/// <remarks>Nothing here is called by the library itself but the check, by what runs a model's own convolutions
/// (<c>Calibration</c>).</remarks>
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Native =
    let private variable = "ONEDNN_MAX_CPU_ISA"

    /// Instruction sets of oneDNN's below AVX-512.
    let private sound = set [ "SSE41"; "AVX"; "AVX2"; "AVX2_VNNI"; "AVX2_VNNI_2" ]

    /// <summary>From now on libtorch and NNPACK print errors only, for the whole process: no "Could not initialize NNPACK" for each of many
    /// convolutions.</summary>
    /// <remarks>It sets the level of libc10's log. Where libtorch cannot be loaded nothing happens: whatever needs it says why.</remarks>
    /// <example><code>Native.quiet ()</code></example>
    let quiet () : unit =
        if (NativeLibraries.check ()).IsEmpty then
            NativeLibraries.exported "c10" "FLAGS_caffe2_log_level"
            |> ValueOption.iter (fun level -> Marshal.WriteInt32(level, 2))

    /// <summary>Whether libtorch can be loaded, and whether its float32 convolutions are right on this processor.</summary>
    /// <remarks>A few small convolutions are compared with float64, once for the process, in less than half a second. libtorch 2.10
    /// computes wrongly on processors with AVX-512 where channels fill no block of 16; not on all of them.</remarks>
    /// <returns>Errors: <c>NativeLibrary</c>, with the line to add; <c>WrongConvolutions</c>, with the relative error seen.</returns>
    /// <example><code>Native.check () |> Result.isOk</code></example>
    let check () : Result<unit, TensorNetError list> =
        match NativeLibraries.check () with
        | [] ->
            match ConvolutionCheck.check () with
            | [] -> Ok()
            | errors -> Error errors
        | errors -> Error errors

    /// <summary>Sets ONEDNN_MAX_CPU_ISA=AVX2 in the process's native environment, so that libtorch's convolutions are right; dense ones
    /// take about 1.4 times as long.</summary>
    /// <remarks>libtorch reads it once: this call must be the first of the program's that has to do with torch. Where the variable names
    /// AVX2 or less already, and on processors other than x64, there is nothing to do.</remarks>
    /// <returns>Error: <c>TooLate</c>, where libtorch is loaded already.</returns>
    /// <example><code>Native.guard () |> Result.isError // torch is in use by now</code></example>
    let guard () : Result<unit, TensorNetError list> =
        let set =
            NativeEnvironment.get variable
            |> ValueOption.exists (fun isa -> sound.Contains(isa.ToUpperInvariant()))

        if set || RuntimeInformation.ProcessArchitecture <> Architecture.X64 then
            Ok()
        elif NativeLibraries.areLoaded () then
            Error
                [
                    TensorNetError.TooLate("Native.guard", $"libtorch, which reads {variable} once, is loaded already")
                ]
        else
            NativeEnvironment.set variable "AVX2"
            Ok()
