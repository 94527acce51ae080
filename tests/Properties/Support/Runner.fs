/// Runs tests and closes with one line of counts: `N passed, N failed, N skipped`.
[<RequireQualifiedAccess>]
module Runner

open Expecto
open Expecto.Impl

let private skipReasons (summary: TestRunSummary) =
    [
        for test, outcome in summary.ignored do
            match outcome.result with
            | Ignored reason -> $"""Skipped: {String.concat "." test.name}: {reason}"""
            | _ -> ()
    ]

let private closingLine (summary: TestRunSummary) =
    let failed = summary.failed.Length + summary.errored.Length
    $"{summary.passed.Length} passed, {failed} failed, {summary.ignored.Length} skipped"

/// Runs the tests under Expecto's command line (`--filter`, `--list-tests`, …) and returns its exit code.
let run (argv: string[]) (tests: Test) =
    let mutable lines = []

    let keepCounts = SummaryHandler(fun summary -> lines <- skipReasons summary @ [ closingLine summary ])

    let exitCode =
        runTestsWithCLIArgs [ Append_Summary_Handler keepCounts; No_Spinner; Colours 0 ] argv tests

    // Expecto's logger ends with a colour reset and no newline.
    stdout.WriteLine()
    lines |> List.iter stdout.WriteLine
    exitCode
