namespace TensorNets

open System
open System.IO
open System.Runtime.InteropServices
open System.Security.Cryptography
open TorchSharp

/// In a script (dotnet fsi) no build has brought TorchSharp's library along: it lies in its package, unmended. What the package's targets
/// do for a program is done here for a script (buildTransitive/TensorNets.Core.targets says what and why).
[<RequireQualifiedAccess>]
module internal ScriptLibraries =
    let oldHash = "cf33b1b0bb6bbb9754a768fb5c5d04d9f498603be50e73f55621a0b40ee608b8"
    let newHash = "5968efac8270eff8a2b5ca7381612ea9cc54d81cf4104a54e0e6106b7b5f11e3"
    let offset = 260660

    let private hash (bytes: byte[]) = Convert.ToHexStringLower(SHA256.HashData bytes)

    /// The library in a package whose managed part lies in lib/FRAMEWORK, if it is the one to mend.
    let original (assembly: string) : byte[] voption =
        match Path.GetDirectoryName assembly with
        | null
        | "" -> ValueNone
        | folder ->
            let file = Path.Combine(folder, "..", "..", "runtimes", "linux-x64", "native", "libLibTorchSharp.so")

            if File.Exists file then
                let bytes = File.ReadAllBytes file
                if hash bytes = oldHash then ValueSome bytes else ValueNone
            else
                ValueNone

    /// The mended copy in a folder, which is written whole or not at all. What lies there already is taken if it is that copy.
    let placed (folder: string) (original: byte[]) : string =
        let file = Path.Combine(folder, "libLibTorchSharp.so")

        if not (File.Exists file && hash (File.ReadAllBytes file) = newHash) then
            Directory.CreateDirectory folder |> ignore
            let mended = Array.copy original
            mended[offset] <- 2uy
            let partial = Path.Combine(folder, Path.GetRandomFileName())
            File.WriteAllBytes(partial, mended)
            File.Move(partial, file, overwrite = true)

        file

    let private folder () =
        let home =
            Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify)

        let home = if home = "" then Path.GetTempPath() else home
        Path.Combine(home, "TensorNets", newHash.Substring(0, 16))

    /// Loads TorchSharp's library mended, where it lies in its package and this system refuses it as it is. `load` asks the system for a
    /// library by name and says whether it came.
    let prepare (load: string -> bool) : unit =
        let isHere = OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture = Architecture.X64

        match (if isHere then original typeof<torch>.Assembly.Location else ValueNone) with
        | ValueSome original when [ "c10"; "torch_cpu"; "torch" ] |> List.forall load && not (load "LibTorchSharp") ->
            try
                NativeLibrary.Load(placed (folder ()) original) |> ignore
            with
            | :? IOException
            | :? UnauthorizedAccessException
            | :? DllNotFoundException -> () // What torch says next is diagnosed.
        | _ -> ()
