/// Medians of interleaved repeats.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.Measure

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices

[<DllImport("libc")>]
extern int private mallopt(int parameter, int value)

let private threshold (trim: int) (map: int) =
    if OperatingSystem.IsLinux() then
        for parameter, value in [ -1, trim; -3, map ] do
            if mallopt (parameter, value) = 0 then
                invalidOp $"The allocator refuses {value} for its parameter {parameter}."

/// The largest piece that glibc can be told to keep.
let private mostKept = 32 * 1024 * 1024

/// The allocator keeps what is freed. Memory that goes back to the system at every call is mapped page by page at the next, which costs a
/// virtual machine more than the arithmetic that is to be measured.
let keepMemory () = threshold Int32.MaxValue mostKept

/// The allocator gives large pieces back at once, as it does by itself: for measuring how much memory is in use.
let returnMemory () = threshold 131072 131072

let private milliseconds (act: unit -> unit) =
    let from = Stopwatch.GetTimestamp()
    act ()
    Stopwatch.GetElapsedTime(from).TotalMilliseconds

/// The median and the least time of each act in milliseconds. The acts take turns, so that what else the machine does falls on all alike;
/// three rounds of warming up are not counted. In each of its turns an act is called so often, and its least time counts: called once, it
/// finds the caches full of what the other acts have left there; called again, of its own.
let repeated (calls: int) (rounds: int) (acts: (unit -> unit) list) : (float * float) list =
    for _ in 1..3 do
        for act in acts do
            act ()

    let turn act = List.min [ for _ in 1..calls -> milliseconds act ]

    [ for _ in 1..rounds -> acts |> List.map turn ]
    |> List.transpose
    |> List.map (fun times ->
        let sorted = List.sort times
        sorted[rounds / 2], sorted[0])

/// As `repeated`, each act once in its turn.
let times rounds acts = repeated 1 rounds acts

/// The medians alone.
let medians rounds acts = times rounds acts |> List.map fst

/// The seconds that the process has had of all processors together: what else runs on the machine counts little.
let processor () = Process.GetCurrentProcess().TotalProcessorTime.TotalSeconds

/// What an act gives, and the seconds of processor time that it takes.
let processorTimed (act: unit -> 'T) : 'T * float =
    let before = processor ()
    let result = act ()
    result, processor () - before

/// What an act gives, and the seconds that it takes.
let timed (act: unit -> 'T) : 'T * float =
    let clock = Stopwatch.StartNew()
    let result = act ()
    result, clock.Elapsed.TotalSeconds

/// A line of /proc/self/status in bytes.
let private status (name: string) =
    File.ReadAllLines "/proc/self/status"
    |> Array.pick (fun line ->
        if line.StartsWith name then
            Some(1024.0 * float (line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]))
        else
            None)

[<DllImport("libc")>]
extern int private malloc_trim(nativeint pad)

/// The most memory an act takes beyond what the process held before it. What the allocator keeps of freed memory is given
/// back first, since it would hide what is taken.
let peak (act: unit -> unit) =
    GC.Collect()
    malloc_trim 0n |> ignore
    File.WriteAllText("/proc/self/clear_refs", "5")
    let before = status "VmRSS"
    act ()
    status "VmHWM" - before

/// Prints rows under a head as columns.
let table (head: string list) (rows: string list list) =
    let all = head :: rows
    let widths = all |> List.transpose |> List.map (List.map String.length >> List.max)

    let line (cells: string list) =
        List.mapi2 (fun i (cell: string) (width: int) -> if i = 0 then cell.PadRight width else cell.PadLeft width) cells widths

    for row in all do
        Console.WriteLine(String.Join("  ", line row))

    Console.WriteLine()
