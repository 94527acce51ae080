/// Every table by one command, each as a file that says where and when it was measured.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.AllTables

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices

let private processor =
    if File.Exists "/proc/cpuinfo" then
        File.ReadLines "/proc/cpuinfo"
        |> Seq.tryFind _.StartsWith("model name")
        |> Option.map (fun line -> line.Split ':' |> Array.last |> _.Trim())
        |> Option.defaultValue (string RuntimeInformation.ProcessArchitecture)
    else
        string RuntimeInformation.ProcessArchitecture

let private threads =
    match Environment.GetEnvironmentVariable "OMP_NUM_THREADS" with
    | null
    | "" -> "as many as processors"
    | count -> count

/// How many programs wanted a processor in the minute before: times of a busy machine say nothing, unless they are of processors.
let private load =
    if File.Exists "/proc/loadavg" then
        ", load " + (File.ReadAllText "/proc/loadavg").Split(' ')[0]
    else
        ""

/// Whether dense convolutions are slower than those of other machines.
let private engine () = if TensorNets.OneDnn.isOn () = ValueSome false then ", without oneDNN, which is wrong here" else ""

/// The lines above a table: command, day, machine, versions.
let private heading (name: string) =
    [
        $"# benchmarks -- {name}"
        $"# {DateOnly.FromDateTime(DateTime.UtcNow):O}, {processor}, {Environment.ProcessorCount} processors, threads: {threads}{load}"
        $"# {RuntimeInformation.FrameworkDescription}, libtorch {TorchSharp.torch.__version__}{engine ()}, {RuntimeInformation.OSDescription}"
    ]

/// Prints a table under its heading.
let print (name: string) (table: unit -> unit) =
    heading name |> List.iter Console.WriteLine
    Console.WriteLine()
    table ()

/// This program, begun as it was: by its own file, or by dotnet, which is told the library.
let private program: string * string list =
    match Environment.ProcessPath |> Option.ofObj with
    | Some host when Path.GetFileNameWithoutExtension host <> "dotnet" -> host, []
    | host -> Option.defaultValue "dotnet" host, [ typeof<Baseline>.Assembly.Location ]

/// What this program prints for a table, in a process of its own, whose memory no other table has filled.
let private printed (name: string) : string =
    let host, library = program

    let start =
        ProcessStartInfo(host, library @ List.ofArray (name.Split ' '), RedirectStandardOutput = true)

    match Process.Start start |> Option.ofObj with
    | None -> failwith $"{host} does not start."
    | Some child ->
        use child = child
        let text = child.StandardOutput.ReadToEnd()
        child.WaitForExit()
        if child.ExitCode = 0 then text else failwith $"{name} ended with {child.ExitCode}."

/// Writes a file for each table to a folder, of the table's name with hyphens in place of blanks.
let write (folder: string) (names: string list) =
    Directory.CreateDirectory folder |> ignore

    for name in names do
        printfn $"{name}"
        File.WriteAllText(Path.Combine(folder, $"{name.Replace(' ', '-')}.txt"), printed name)
