/// Kernels of ../shared, which a public clone does not have.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.SharedKernels

open System
open System.IO
open TorchSharp
open TensorNets

/// The folder `shared` beside the one that holds TensorNets.sln; None where it is absent.
let shared: string option =
    let rec up (folder: DirectoryInfo | null) =
        match folder with
        | null -> None
        | folder when File.Exists(Path.Combine(folder.FullName, "TensorNets.sln")) -> Some folder.FullName
        | folder -> up folder.Parent

    up (DirectoryInfo AppContext.BaseDirectory)
    |> Option.map (fun root -> Path.GetFullPath(Path.Combine(root, "..", "shared")))
    |> Option.filter Directory.Exists

/// The tensors of a file in the order of its header, as float64, and its metadata.
let read (path: string) : (string * torch.Tensor) list * Map<string, string> =
    SafeTensors.read path (fun file ->
        let tensor (entry: SafeTensorEntry) =
            use found = file.Read entry.Name |> TensorNetError.raiseErrors
            entry.Name, found.``to`` torch.float64

        Ok(List.ofSeq (Seq.map tensor file.Entries), Map.ofList [ for KeyValue(key, value) in file.Metadata -> key, value ]))
    |> TensorNetError.raiseErrors
