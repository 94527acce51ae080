/// Kernels of ../shared, which a public clone does not have.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.SafeTensors

open System
open System.IO
open System.Text.Json
open TorchSharp

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

let private values (dtype: string) (bytes: byte[]) : float[] =
    match dtype with
    | "F64" -> Array.init (bytes.Length / 8) (fun i -> BitConverter.ToDouble(bytes, 8 * i))
    | "F32" -> Array.init (bytes.Length / 4) (fun i -> float (BitConverter.ToSingle(bytes, 4 * i)))
    | other -> invalidOp $"dtype {other}: F32 or F64 expected"

let private longs (e: JsonElement) = [| for x in e.EnumerateArray() -> x.GetInt64() |]

/// The tensors of a file in the order of its header, as float64, and its metadata.
let read (path: string) : (string * torch.Tensor) list * Map<string, string> =
    use file = File.OpenRead path
    use reader = new BinaryReader(file)
    let length = int (reader.ReadUInt64())
    let header = JsonDocument.Parse(reader.ReadBytes length).RootElement
    let data = reader.ReadBytes(int (file.Length - file.Position))

    let tensor (entry: JsonElement) : torch.Tensor =
        let range = longs (entry.GetProperty "data_offsets")
        let bytes = data[int range[0] .. int range[1] - 1]
        let numbers = values (string (entry.GetProperty "dtype")) bytes
        torch.tensor(numbers, dtype = torch.float64).reshape(longs (entry.GetProperty "shape"))

    [
        for entry in header.EnumerateObject() do
            if entry.Name <> "__metadata__" then
                entry.Name, tensor entry.Value
    ],
    Map.ofList [ for p in header.GetProperty("__metadata__").EnumerateObject() -> p.Name, string p.Value ]
