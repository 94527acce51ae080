/// Reference values made by programs independent of TensorNets.
module Golden

open System
open System.IO
open System.Text.Json
open Expecto
open TorchSharp
open TensorNets

/// The folder that holds TensorNets.sln.
let root =
    let rec up (folder: DirectoryInfo | null) =
        match folder with
        | null -> invalidOp "TensorNets.sln not found above the test program"
        | folder when File.Exists(Path.Combine(folder.FullName, "TensorNets.sln")) -> folder.FullName
        | folder -> up folder.Parent

    up (DirectoryInfo AppContext.BaseDirectory)

let private shared = Path.Combine(root, "..", "shared")

/// A test over a file of ../shared; skipped, with the reason, where the folder is absent.
let fileTest (folder: string) (file: string) (check: string -> unit) =
    testCase $"{folder}/{file}" (fun () ->
        let path = Path.Combine(shared, folder, file)

        if Directory.Exists shared then
            check path
        else
            skiptest $"../shared/{folder} is absent: a public clone has no reference values")

let names (pattern: string) =
    let folder = Path.Combine(shared, "golden")

    if Directory.Exists folder then
        Directory.GetFiles(folder, pattern)
        |> Array.map (fun path -> nonNull (Path.GetFileName path))
        |> Array.sort
        |> List.ofArray
    else
        [ pattern ]

let json (path: string) = JsonDocument.Parse(File.ReadAllText path).RootElement

let number (name: string) (e: JsonElement) = e.GetProperty(name).GetDouble()

let has (name: string) (e: JsonElement) =
    let found, value = e.TryGetProperty name
    found && value.ValueKind <> JsonValueKind.Null

let floats (e: JsonElement) = [| for x in e.EnumerateArray() -> x.GetDouble() |]

let ints (e: JsonElement) = [| for x in e.EnumerateArray() -> x.GetInt64() |]

let tensor (e: JsonElement) : torch.Tensor =
    let shape = ints (e.GetProperty "shape")
    torch.tensor(floats (e.GetProperty "data"), dtype = torch.float64).reshape shape

let tensors (e: JsonElement) = [ for x in e.EnumerateArray() -> tensor x ]

/// The spec of an einsum over single letters.
let specOf (einsum: string) (dims: (string * int) list) : Spec =
    let axes (word: string) = word |> Seq.map (fun c -> Axis(string c)) |> List.ofSeq

    let parts = einsum.Split "->"

    let cores =
        parts[0].Split ','
        |> Array.mapi (fun i word -> { Name = Spec.positionName i; Axes = axes (word.Trim()) })
        |> List.ofArray

    match Spec.create (dims |> List.map (fun (name, n) -> Axis name, n)) cores (axes (parts[1].Trim())) with
    | Ok spec -> spec
    | Error errors -> failtestf "%A" errors

let ok (result: Result<'T, TensorNetError list>) =
    match result with
    | Ok value -> value
    | Error errors -> failtestf "%s" (String.Join("; ", errors |> List.map _.Message))

let networkOf (spec: Spec) (cores: torch.Tensor list) = Network.create spec (List.zip (spec.Cores |> List.map _.Name) cores) |> ok

/// The network of a golden file, with the cores of the given property.
let network (property: string) (e: JsonElement) =
    let dims = [ for p in e.GetProperty("dims").EnumerateObject() -> p.Name, p.Value.GetInt32() ]

    let spec = specOf (nonNull (e.GetProperty("einsum").GetString())) dims
    networkOf spec (tensors (e.GetProperty property))

/// |actual − expected| ≤ tolerance·|expected|.
let near (tolerance: float) (actual: float) (expected: float) what =
    Expect.isLessThanOrEqual (abs (actual - expected)) (tolerance * abs expected) $"{what}: {actual:R} against {expected:R}"

/// ‖actual − expected‖ ≤ tolerance·‖expected‖.
let close (tolerance: float) (actual: torch.Tensor) (expected: torch.Tensor) what =
    Expect.equal (List.ofArray actual.shape) (List.ofArray expected.shape) $"{what}: shape"
    let scale = max (expected.norm().number()) 1e-300
    Expect.isLessThanOrEqual (actual.minus(expected).norm().number()) (tolerance * scale) what

/// The tensors and the metadata of a safetensors file (F32 and F64), as float64.
let safetensors (path: string) =
    use file = File.OpenRead path
    use reader = new BinaryReader(file)
    let length = int (reader.ReadUInt64())
    let header = JsonDocument.Parse(reader.ReadBytes length).RootElement
    let data = reader.ReadBytes(int (file.Length - file.Position))

    let tensors =
        [
            for entry in header.EnumerateObject() do
                if entry.Name <> "__metadata__" then
                    let range = ints (entry.Value.GetProperty "data_offsets")
                    let bytes = data[int range[0] .. int range[1] - 1]

                    let values =
                        match entry.Value.GetProperty("dtype").GetString() with
                        | "F64" -> Array.init (bytes.Length / 8) (fun i -> BitConverter.ToDouble(bytes, 8 * i))
                        | "F32" -> Array.init (bytes.Length / 4) (fun i -> float (BitConverter.ToSingle(bytes, 4 * i)))
                        | other -> failtestf "dtype %A" other

                    entry.Name, torch.tensor(values, dtype = torch.float64).reshape(ints (entry.Value.GetProperty "shape"))
        ]

    let metadata =
        [ for p in header.GetProperty("__metadata__").EnumerateObject() -> p.Name, string p.Value ]

    Map.ofList tensors, Map.ofList metadata
