namespace TensorNets

open System
open System.Diagnostics
open System.Runtime.InteropServices
open TorchSharp

/// What is in the way of TorchSharp's native libraries, from what the system's loader says, and the line that mends it.
[<RequireQualifiedAccess>]
module internal LoadFailure =
    let private torchSharp =
        typeof<torch>.Assembly.GetName().Version
        |> string
        |> _.Split('.')
        |> Array.truncate 3
        |> String.concat "."

    /// `said`: the loader's own words; `hasTorch`: whether libtorch itself can be loaded, `hasBridge` whether TorchSharp's library is
    /// there.
    let diagnose (said: string) (hasTorch: bool) (hasBridge: bool) : TensorNetError =
        if said.Contains "GLIBCXX_" then
            TensorNetError.NativeLibrary(
                "TorchSharp's libLibTorchSharp.so asks for a newer libstdc++ (GLIBCXX_3.4.32, of GCC 13) than this system has.",
                "Reference the package TensorNets.Core with TensorNetsMendNative not false: the build brings a mended copy. "
                + "In a script, call Native.quiet () first."
            )
        elif not hasTorch then
            TensorNetError.NativeLibrary(
                "libtorch is missing: the package TorchSharp brings none of its own.",
                $"Add it: dotnet add package TorchSharp-cpu --version {torchSharp} (or TorchSharp-cuda-linux, TorchSharp-cuda-windows)."
            )
        elif not hasBridge then
            let system = RuntimeInformation.RuntimeIdentifier

            TensorNetError.NativeLibrary(
                $"TorchSharp's own native library (LibTorchSharp) is not beside the program, or there is none for {system}.",
                $"Add it: dotnet add package TorchSharp --version {torchSharp}, and publish for linux-x64, win-x64 or osx-arm64."
            )
        else
            let first =
                said.Split('\n')
                |> Array.tryFind (String.IsNullOrWhiteSpace >> not)
                |> Option.defaultValue "no reason given"

            TensorNetError.NativeLibrary(
                $"TorchSharp's native libraries cannot be loaded: {first.Trim()}",
                $"Reference TorchSharp and libtorch of one version: dotnet add package TorchSharp-cpu --version {torchSharp}."
            )

/// The native libraries under TorchSharp: whether they can be loaded, and what is loaded already.
[<RequireQualifiedAccess>]
module internal NativeLibraries =
    let private fileName (name: string) =
        if OperatingSystem.IsWindows() then $"{name}.dll"
        elif OperatingSystem.IsMacOS() then $"lib{name}.dylib"
        else $"lib{name}.so"

    let private tryLoad (name: string) : nativeint voption =
        let mutable library = 0n
        let found = NativeLibrary.TryLoad(fileName name, typeof<torch>.Assembly, Nullable(), &library)
        if found then ValueSome library else ValueNone

    /// What the loader says against a library, or nothing.
    let private said (name: string) =
        try
            NativeLibrary.Load(fileName name, typeof<torch>.Assembly, Nullable()) |> ignore
            ""
        with error ->
            error.Message

    let mutable private works = false

    /// Errors where torch cannot be used. It is loaded if it can be.
    let check () : TensorNetError list =
        if works then
            []
        else
            ScriptLibraries.prepare (tryLoad >> _.IsSome)

            try
                torch.InitializeDeviceType DeviceType.CPU
                works <- true
                []
            with _ ->
                let hasTorch = (tryLoad "torch_cpu").IsSome
                let said = said "LibTorchSharp"
                let near = IO.Path.Combine(AppContext.BaseDirectory, fileName "LibTorchSharp")
                let hasBridge = IO.File.Exists near || said.Contains "undefined symbol"
                [ LoadFailure.diagnose said hasTorch hasBridge ]

    /// Throws a TensorNetException where torch cannot be used.
    let demand () : unit =
        if not works then
            TensorNetError.raiseAny (check ())

    /// Whether libtorch is in the process, loaded by whomever.
    let areLoaded () : bool =
        works
        || (use me = Process.GetCurrentProcess()
            me.Modules |> Seq.cast<ProcessModule> |> Seq.exists _.ModuleName.Contains("torch_cpu"))

    /// The address of what a library exports under a name.
    let exported (library: string) (symbol: string) : nativeint voption =
        match tryLoad library with
        | ValueNone -> ValueNone
        | ValueSome handle ->
            let mutable address = 0n
            if NativeLibrary.TryGetExport(handle, symbol, &address) then ValueSome address else ValueNone

/// The environment as native code sees it. On Unix .NET keeps a copy of its own, and what is set there never gets to native code.
[<RequireQualifiedAccess>]
module internal NativeEnvironment =
    [<DllImport("libc")>]
    extern int private setenv(string name, string value, int overwrite)

    [<DllImport("libc")>]
    extern nativeint private getenv(string name)

    let get (name: string) : string voption =
        let value: string | null =
            if OperatingSystem.IsWindows() then
                Environment.GetEnvironmentVariable name
            else
                Marshal.PtrToStringUTF8(getenv name)

        match value with
        | null -> ValueNone
        | value -> ValueSome value

    let set (name: string) (value: string) : unit =
        Environment.SetEnvironmentVariable(name, value)

        if not (OperatingSystem.IsWindows()) then
            setenv (name, value, 1) |> ignore
