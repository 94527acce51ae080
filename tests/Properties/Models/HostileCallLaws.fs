/// No exception of libtorch's leaves the library: random valid and invalid calls at every public function end with a value, typed errors, a
/// TensorNetException or an ArgumentException of the library's, in time, and give every tensor back.
///
/// The calls run in a process of their own, so that one that ends or never returns is counted. More calls, from other seeds, and one call
/// again as it was printed:
///
///     HOSTILE_CALLS=50000 HOSTILE_SEED=2 ./build.sh test --filter Properties.hostile
///     dotnet Properties.dll --hostile-call 'Gauge.balance(Network)' 12345
module HostileCallLaws

open System
open System.Collections.Concurrent
open System.Collections.Generic
open System.Diagnostics
open Expecto
open HostileEntries
open HostileCalls

/// A call takes longer where nothing ends it.
let private patience = TimeSpan.FromSeconds 20.0

let private setting (name: string) (otherwise: int) =
    match Environment.GetEnvironmentVariable name with
    | null
    | "" -> otherwise
    | text -> int text

/// Call i from a seed: every function in turn.
let private nth (seed: int) (i: int) =
    let entry = entries[i % entries.Length]
    entry, seed * 1_000_003 + i

/// The process of the calls: prints each before it is made, and what went wrong.
let run (argv: string[]) : int =
    match List.ofArray argv with
    | [ "--hostile-call"; name; seed ] ->
        let entry = entries |> List.find (fun entry -> entry.Name = name)
        stdout.WriteLine(words entry (int seed))
        stdout.Flush()
        let accepted, problems = call entry (int seed)
        stdout.WriteLine(if accepted then "accepted" else "refused")
        problems |> List.iter stdout.WriteLine
        HostileModules.clean ()
        problems.Length
    | [ "--hostile-calls"; seed; first; last ] ->
        for i in int first .. int last - 1 do
            let entry, seed = nth (int seed) i
            stdout.WriteLine $"CALL {i} '{entry.Name}' {seed}"
            stdout.Flush()

            let accepted, problems =
                try
                    call entry seed
                with error ->
                    false, [ $"no call could be made: {error.Message}" ]

            if accepted then
                stdout.WriteLine "ACCEPTED"

            for problem in problems do
                stdout.WriteLine("WRONG " + problem.Replace("\n", "\t"))

        stdout.WriteLine "DONE"
        stdout.Flush()
        HostileModules.clean ()
        0
    | _ -> 2

/// Runs calls in a child until all are made; one that ends the child or hangs is skipped by the next. What went wrong, and how many calls
/// each function accepted.
let private made (seed: int) (count: int) : string list * Map<string, int> =
    let found = List<string>()
    let accepted = Dictionary<string, int>()
    let mutable next = 0

    while next < count do
        let start =
            ProcessStartInfo(nonNull Environment.ProcessPath, RedirectStandardOutput = true, RedirectStandardError = true)

        for argument in [ Environment.GetCommandLineArgs()[0]; "--hostile-calls"; string seed; string next; string count ] do
            start.ArgumentList.Add argument

        use child = nonNull (Process.Start start)
        use lines = new BlockingCollection<string>()

        child.OutputDataReceived.Add(fun line ->
            match line.Data with
            | null -> lines.CompleteAdding()
            | text -> lines.Add text)

        child.ErrorDataReceived.Add ignore
        child.BeginOutputReadLine()
        child.BeginErrorReadLine()
        let mutable last = "no call"
        let mutable reading = true

        while reading do
            let mutable line = ""

            if not (lines.TryTake(&line, patience)) then
                found.Add(
                    if lines.IsCompleted then
                        $"{last}: the process ended"
                    else
                        $"{last}: no answer in {patience.TotalSeconds} s"
                )

                reading <- false
            elif line = "DONE" then
                next <- count
                reading <- false
            elif line.StartsWith "CALL " then
                let parts = line.Split(' ', 3)
                next <- int parts[1] + 1
                last <- parts[2]
            elif line = "ACCEPTED" then
                let name = last.Split('\'')[1]
                accepted[name] <- (if accepted.ContainsKey name then accepted[name] else 0) + 1
            else
                found.Add(last + ": " + line)

        if not child.HasExited && next < count then
            child.Kill()

        child.WaitForExit()

    List.ofSeq found, Map.ofSeq [ for pair in accepted -> pair.Key, pair.Value ]

let all =
    testSequenced
    <| testList
        "hostile"
        [
            testCase "null for any argument of an F# function ends in a value or a typed error" (fun () ->
                let failures =
                    [
                        for entry in entries do
                            if (nonNull entry.Method.DeclaringType).Assembly = typeof<TensorNets.Spec>.Assembly then
                                for seed in 1..5 do
                                    yield! nulls entry seed
                    ]

                HostileModules.clean ()
                Expect.isEmpty failures (String.concat "\n" failures))
            testCase "every call at the public surface ends in a value or a typed error, in time, and gives its tensors back" (fun () ->
                let count = setting "HOSTILE_CALLS" 2500
                let failures, accepted = made (setting "HOSTILE_SEED" 1) count
                let shown = failures |> List.map (fun line -> line.Replace("\t", "\n"))
                Expect.isEmpty failures ("replay with --hostile-call:\n" + String.concat "\n" shown)

                // Calls that never get past the first check would show nothing.
                let share = float (Seq.sum accepted.Values) / float count
                Expect.isGreaterThan share 0.4 "the share of calls that are accepted")
        ]
