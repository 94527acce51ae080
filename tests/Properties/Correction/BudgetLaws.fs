/// Laws of what MaxSweeps bounds: sweeps, searches and steps of all cores together, and the reports of them.
module BudgetLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

type private Kept() =
    member val All: FitProgress list = [] with get, set

    interface IProgress<FitProgress> with
        member this.Report progress = this.All <- progress :: this.All

let private specOf shape format = Format.spec shape format |> Result.mapError (List.map TensorNetError.Format) |> ok

/// Formats of few and of many parameters, with one of lower ranks.
let private formats: (string * int list * Format * Format) list =
    [
        "CP of few", [ 6; 4; 6 ], Format.CP 6, Format.CP 3
        "CP of many", [ 12; 9; 12 ], Format.CP 14, Format.CP 5
        "Tucker", [ 6; 5; 4 ], Format.Tucker [ 3; 3; 2 ], Format.Tucker [ 2; 2; 2 ]
        "train", [ 8; 9; 8 ], Format.TensorTrain [ 6; 6 ], Format.TensorTrain [ 3; 3 ]
        "ring of few", [ 6; 5; 6 ], Format.TensorChain [ 3; 3; 3 ], Format.TensorChain [ 2; 2; 2 ]
        "ring of many", [ 16; 9; 16 ], Format.TensorChain [ 4; 4; 4 ], Format.TensorChain [ 2; 2; 2 ]
    ]

let private targets: (string * (int list -> Format -> Format -> torch.Tensor)) list =
    let exactly seed spec = Contraction.reconstruct (randomNetwork seed spec)

    [
        "fits", (fun shape format _ -> exactly 3 (specOf shape format))
        "of lower rank", (fun shape _ lower -> exactly 4 (specOf shape lower))
        "noise", (fun shape _ _ -> noise 5 (List.map int64 shape))
    ]

/// What an iteration has reported keeps to its options; the number of reports.
let private reported (most: int) (kept: Kept) what =
    for progress in kept.All do
        Expect.isTrue (1 <= progress.Sweep && progress.Sweep <= most) $"{what}: sweep {progress.Sweep} of {most}"
        Expect.isTrue (0 <= progress.SweepsLeft && progress.SweepsLeft <= most - progress.Sweep) $"{what}: {progress.SweepsLeft} left"

    kept.All.Length

let private ended (most: int) (fit: Fit) what =
    Expect.isLessThanOrEqual fit.Sweeps most $"{what}: sweeps"
    Expect.equal fit.Trace.Count (fit.Sweeps + 1) $"{what}: a value for each sweep"

    if fit.Stop = Stop.MaxSweeps then
        Expect.equal fit.Sweeps most $"{what}: all sweeps are used up"

    if most = 0 then
        Expect.equal fit.Stop Stop.MaxSweeps $"{what}: none was allowed"

/// The reports of a correction from a start that misses its bound: those of the way to it, and of the way down.
let private correction (dtype: torch.ScalarType) most = if dtype = torch.float64 then 2 * most else 2 * most + 10 * min most 8

let private keeps (name: string) shape format (k: torch.Tensor) (dtype: torch.ScalarType) =
    let spec = specOf shape format
    let k = k.``to`` dtype

    for most in [ 0; 1; 2; 5 ] do
        let run (what: string) limit (act: SweepOptions -> Result<Fit, TensorNetError list>) =
            use _ = torch.NewDisposeScope()
            let kept = Kept()
            let what = $"{name}, {what}, {most} sweeps"

            match act { SweepOptions.defaults with MaxSweeps = most; Progress = Some kept } with
            | Ok fit -> ended most fit what
            | Error [ TensorNetError.Unreachable _ ] -> ()
            | Error errors -> failtestf "%s: %A" what errors

            Expect.isLessThanOrEqual (reported most kept what) limit $"{what}: reports"

        let stable bound sweeps = Factorize.stableSpec { Factorize.defaults with Sweeps = sweeps } bound spec k
        run "least squares" most (fun sweeps -> Factorize.runSpec { Factorize.defaults with Sweeps = sweeps } spec k)
        run "stable" (most + correction dtype most) (stable None)

        for bound in [ 1e-6; 0.3 ] do
            run $"stable within {bound}" (most + correction dtype most) (stable (Some(ErrorBound.Relative bound)))

            run $"from noise to {bound}" (correction dtype most) (fun sweeps ->
                use start = SvdStart.noise 7UL spec k |> ok
                Correction.epc sweeps (ErrorBound.Relative bound) k start)

        // A network that fits meets any bound.
        if name.Contains "fits" then
            run "from the network itself" (if dtype = torch.float64 then most else correction dtype most) (fun sweeps ->
                use start = randomNetwork 3 spec
                Correction.epc sweeps (ErrorBound.Relative 1e-4) k start)

let all =
    testList
        "budget"
        [
            for i, (name, shape, format, lower) in List.indexed formats do
                for j, (kind, target) in List.indexed targets do
                    testCase $"{name}, target {kind}: sweeps, searches and steps of all cores keep to MaxSweeps" (fun () ->
                        use _ = torch.NewDisposeScope()
                        let dtype = if (i + j) % 3 = 0 then torch.float32 else torch.float64
                        keeps $"{name}, {kind}" shape format (target shape format lower) dtype)
        ]
