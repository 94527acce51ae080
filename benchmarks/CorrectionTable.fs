/// How long the correction takes to an S that block sweeps alone take hundreds or thousands of sweeps for, in units of block sweeps of the
/// same run.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.CorrectionTable

open System
open System.IO
open System.Threading
open TensorNets
open TorchSharp

/// A given CP network, the plain block sweeps that are timed, and the S to reach: what 300 of them (2,000 for CP 96) were found to end at.
let private cases =
    [
        "real_cp_conv64_1_32.safetensors", 60, 246.68
        "real_cp_conv64_1_96.safetensors", 150, 432.0
        "real_cp_conv128_1_128.safetensors", 60, 924.3
    ]

/// Turns of block sweeps and correction; times are medians.
let private turns = 5

/// Corrections before those that are timed.
let private warmUps = 3

/// The most sweeps and steps of a correction: what it ends with is the last column.
let private mostSweeps = 1000

/// Processor time of this process in milliseconds: the machine may do other work.
let private processor () = 1000.0 * Measure.processor ()

/// What a correction reported: the milliseconds since its start, the sweep, the relative error and S.
type private Report = { Time: float; Sweep: int; Error: float; S: float }

/// A correction of the network, told to stop once S is at most a value within the bound; its reports, and its fit.
let private correct (given: KernelTable.Given) (bound: float) (enough: float) : Report list * Fit =
    use source = new CancellationTokenSource()
    let from = processor ()
    let mutable reports = []

    let listener =
        { new IProgress<FitProgress> with
            member _.Report progress =
                reports <-
                    {
                        Time = processor () - from
                        Sweep = progress.Sweep
                        Error = progress.RelativeError
                        S = progress.Sensitivity
                    }
                    :: reports

                if progress.RelativeError <= bound && progress.Sensitivity <= enough then
                    source.Cancel()
        }

    let options =
        { SweepOptions.defaults with
            MaxSweeps = mostSweeps
            Progress = Some listener
            Cancellation = source.Token
        }

    let fit = Correction.epc options given.Bound given.Target given.Start |> FactorizeCases.orStop
    List.rev reports, fit

/// Plain block sweeps from the balanced network: their time, and S after them.
let private sweeps (given: KernelTable.Given) (bound: float) (count: int) : float * float =
    use balanced = Gauge.balance given.Start |> FactorizeCases.orStop
    use work = FactorizeCases.from bound given.Target balanced
    let from = processor ()
    let mutable s = nan

    for _ in 1..count do
        s <- snd (CorrectionSweep.once work)

    let time = processor () - from

    for core in work.Cores do
        core.Dispose()

    time, s

let private median (values: float list) = (List.sort values)[values.Length / 2]

let private row (kernels: (string * torch.Tensor) list) (shared: string) (file: string, count: int, enough: float) =
    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()
    let given = KernelTable.given kernels (Path.Combine(shared, "golden", file))

    let bound =
        match given.Bound with
        | ErrorBound.Absolute delta
        | ErrorBound.Relative delta -> delta * (1.0 + 1e-9)

    // Once for the code to be compiled.
    for _ in 1..warmUps do
        sweeps given bound 3 |> ignore
        (correct given bound enough |> snd :> IDisposable).Dispose()

    let measured =
        [
            for _ in 1..turns ->
                let time, s = sweeps given bound count
                let reports, fit = correct given bound enough
                use fit = fit
                let reached = reports |> List.tryFind (fun report -> report.Error <= bound && report.S <= enough)
                let until = reports |> List.filter (fun report -> report.Error <= bound && report.Time <= time)
                time, s, reached, until |> List.fold (fun least report -> min least report.S) infinity
        ]

    let _, plain, reached, _ = measured.Head
    let times = measured |> List.map (fun (time, _, _, _) -> time)

    let ratio =
        match reached with
        | None -> "not reached"
        | Some _ ->
            let ratios =
                measured
                |> List.choose (fun (time, _, reached, _) -> reached |> Option.map (fun reached -> reached.Time / time))

            $"{median ratios:F2}"

    let _, last = correct given bound 0.0
    use last = last

    KernelTable.line
        [
            given.Kernel
            $"CP {given.Rank}"
            $"{count} sweeps, {median times:F0} ms"
            $"{plain:F1}"
            $"{enough}"
            ratio
            (match reached with
             | Some report -> string report.Sweep
             | None -> "–")
            $"{measured |> List.map (fun (_, _, _, s) -> s) |> median:F1}"
            $"{last.Sensitivity:F1}"
        ]

/// Prints the table.
let run () =
    match SharedKernels.shared with
    | None -> KernelTable.absent ()
    | Some shared ->
        torch.set_num_threads 1
        use _ = torch.NewDisposeScope()
        let kernels = KernelTable.kernels shared

        KernelTable.head
            [
                "kernel"
                "format"
                "plain block sweeps"
                "S after them"
                "S to reach"
                "time of EPC to it / of the sweeps"
                "sweeps and steps of EPC"
                "S of EPC in the time of the sweeps"
                "S of EPC in the end"
            ]

        for case in cases do
            row kernels shared case
