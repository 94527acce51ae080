/// Trained convolution kernels at a bounded error: what each format needs, and how sensitive it is as least squares leave it, balanced and
/// corrected.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.KernelTable

open System
open System.IO
open System.Threading
open TensorNets
open TorchSharp

let private bound = 0.3

/// Sweeps of least squares and of the correction; beside the seconds of processor time below, what keeps the run short.
let private alsSweeps, private epcSweeps = 40, 60

/// Processor seconds after which the search for ranks, a correction, and a correction from a given start are cancelled.
let private searchCap, private epcCap, private limitCap = 60.0, 25.0, 90.0

let private orStop result = TensorNetError.raiseErrors result


/// An act that is told to stop after so many seconds of processor time, and the seconds it took: the machine may do other work.
let private capped (seconds: float) (act: CancellationToken -> 'T) : 'T * float =
    // Not disposed: the timer's last call may still come.
    let source = new CancellationTokenSource()
    let from = Measure.processor ()

    let check _ =
        if Measure.processor () - from > seconds then
            source.Cancel()

    use _ = new Timer(check, null, 100, 100)
    let result = act source.Token
    result, Measure.processor () - from

let private als (token: CancellationToken) = { SweepOptions.defaults with MaxSweeps = alsSweeps; Tolerance = 1e-3; Cancellation = token }

let private epc sweeps tolerance (token: CancellationToken) =
    { SweepOptions.defaults with MaxSweeps = sweeps; Tolerance = tolerance; Cancellation = token }

let private toBound family (k: torch.Tensor) (token: CancellationToken) =
    Factorize.toBound { Factorize.defaults with Sweeps = als token } (ErrorBound.Relative bound) family k

/// Tucker-2 by the library's own search for ranks.
let private tucker2 (k: torch.Tensor) (token: CancellationToken) : Fit option * string =
    Some(toBound FormatFamily.Tucker2 k token |> orStop), ""

/// The most entries of a kernel for which the ranks of a tensor chain are lowered one by one: beyond, that takes minutes.
let private mostLowered = 200_000L

/// A tensor chain in the ranks of its truncation (a search without sweeps), then least squares.
let private truncatedChain (k: torch.Tensor) (token: CancellationToken) : Fit option * string =
    let still = { als CancellationToken.None with MaxSweeps = 0 }

    use truncated =
        Factorize.toBound { Factorize.defaults with Sweeps = still } (ErrorBound.Relative bound) FormatFamily.TensorChain k
        |> orStop

    Some(Als.run (als token) k truncated.Network |> orStop), "ranks by truncation alone, not lowered"

/// A tensor chain by the library's own search; one that is told to stop has the ranks found so far.
let private chain (k: torch.Tensor) (token: CancellationToken) : Fit option * string =
    if k.numel () > mostLowered then
        truncatedChain k token
    else
        let fit = toBound FormatFamily.TensorChain k token |> orStop
        Some fit, (if token.IsCancellationRequested then "search capped" else "")

/// Cancels least squares that will not meet the bound even if every sweep left gains as much as the last one.
let private hopeless (source: CancellationTokenSource) : IProgress<FitProgress> =
    let mutable last = 1.0

    { new IProgress<FitProgress> with
        member _.Report progress =
            let gain = last - progress.RelativeError
            last <- progress.RelativeError

            if progress.Sweep >= 5 && last - gain * float (alsSweeps - progress.Sweep) > bound then
                source.Cancel()
    }

/// One rank of CP: the fit where it meets the bound, and the error reached.
let private cpOf (k: torch.Tensor) (token: CancellationToken) (rank: int) : Fit option * float =
    use source = CancellationTokenSource.CreateLinkedTokenSource token
    let sweeps = { als source.Token with Progress = Some(hopeless source) }
    let fit = Factorize.run { Factorize.defaults with Sweeps = sweeps } (Format.CP rank) k |> orStop
    let error = fit.RelativeError

    if error <= bound then
        Some fit, error
    else
        (fit :> IDisposable).Dispose()
        None, error

/// The least rank of a ladder, in quarters of octaves from twice the channels, that meets the bound; a remark on the ones that did not.
let private cp (k: torch.Tensor) (token: CancellationToken) : Fit option * string =
    let channels = float k.shape[0]

    let rec climb i tried =
        let rank = int (round (channels * 2.0 ** (1.0 + float i / 4.0)))

        match cpOf k token rank with
        | Some fit, _ -> Some fit, (if tried = "" then "" else $"missed: {tried}")
        | None, error ->
            let tried = (if tried = "" then "" else tried + ", ") + $"{rank} ({error:F2})"

            if token.IsCancellationRequested then None, $"missed: {tried}; search capped"
            elif i >= 8 then None, $"missed: {tried}"
            else climb (i + 1) tried

    climb 0 ""

let private formats = [ "Tucker-2", tucker2; "tensor chain", chain; "CP", cp ]

/// A row of Markdown.
let line (cells: string list) = Console.WriteLine("| " + String.Join(" | ", cells) + " |")

/// The head of a Markdown table.
let head (cells: string list) =
    line cells
    line (cells |> List.map (fun _ -> "---"))

let private stopOf (fit: Fit) =
    match fit.Stop with
    | Stop.Cancelled -> $"time, after {fit.Sweeps}"
    | Stop.MaxSweeps -> $"{fit.Sweeps} sweeps"
    | stop -> $"{stop}, {fit.Sweeps}"

let private ranksOf (spec: Spec) =
    let ranks = Spec.bonds spec |> List.map (fun axis -> string (Spec.dim axis spec))
    String.Join(", ", ranks)

let private row (kernel: string) (k: torch.Tensor) (format: string, search: torch.Tensor -> CancellationToken -> Fit option * string) =
    use _ = torch.NewDisposeScope()

    match capped searchCap (search k) with
    | (None, remark), seconds -> line [ kernel; format; "–"; "–"; "–"; "–"; "–"; "–"; "–"; $"{seconds:F0}"; "–"; "–"; remark ]
    | (Some fit, remark), seconds ->
        use fit = fit
        let spec = fit.Network.Spec
        use balanced = Gauge.balance fit.Network |> orStop

        let corrected, correction =
            capped epcCap (fun token -> Correction.epc (epc epcSweeps 1e-4 token) (ErrorBound.Relative bound) k fit.Network |> orStop)

        use corrected = corrected

        line
            [
                kernel
                format
                ranksOf spec
                $"{100.0 * float (Spec.parameters spec) / float (k.numel ()):F0} %%"
                $"{fit.Sensitivity:F0}"
                $"{Sensitivity.value balanced:F0}"
                $"{corrected.Sensitivity:F0}"
                $"{fit.RelativeError:F4}"
                $"{corrected.RelativeError:F4}"
                $"{seconds:F0}"
                $"{correction:F0}"
                stopOf corrected
                remark
            ]

/// A kernel K[s, d, t] divided by its norm.
let private normalised (weight: torch.Tensor) =
    let k = ConvGeometry.kernelOfWeight (ConvGeometry.ofWeight weight) weight
    k.div (k.norm ())

/// The kernels by name, in float64 and of norm 1.
let kernels (shared: string) =
    SharedKernels.read (Path.Combine(shared, "data", "face-resnet-kernels.safetensors"))
    |> fst
    |> List.map (fun (name, weight) -> name.Replace(".weight", ""), normalised weight)

/// Says why nothing is printed.
let absent () =
    Console.WriteLine "Skipped: ../shared, which holds the kernels, is absent (a public clone has none)."

/// A CP network of a kernel, and the relative error that it has.
type Given = { Kernel: string; Rank: int; Target: torch.Tensor; Start: Network; Bound: ErrorBound }

/// The network in a file. The caller disposes it.
let given (kernels: (string * torch.Tensor) list) (path: string) : Given =
    let cores, meta = SharedKernels.read path
    let kernel = meta["kernel"].Replace(".weight", "")
    let k = kernels |> List.find (fst >> (=) kernel) |> snd
    let rank = int meta["rank"]
    let spec = Spec.parse [ "s", int k.shape[0]; "d", 9; "t", int k.shape[2]; "r", rank ] meta["network"]

    let start =
        spec
        |> Result.mapError (List.map TensorNetError.Spec)
        |> Result.bind (fun spec -> Network.create spec cores)
        |> orStop

    {
        Kernel = kernel
        Rank = rank
        Target = k
        Start = start
        Bound = ErrorBound.Absolute(float meta["relative_error"] * (1.0 + 1e-9))
    }

/// Every given CP network, in files of the folder ../shared.
let givenPaths (shared: string) = Directory.GetFiles(Path.Combine(shared, "golden"), "real_cp_*.safetensors") |> Array.sort

/// Correction from the start in a file, at the start's own error.
let private limit (kernels: (string * torch.Tensor) list) (path: string) =
    use _ = torch.NewDisposeScope()
    let given = given kernels path
    use balanced = Gauge.balance given.Start |> orStop

    let fit, seconds =
        capped limitCap (fun token -> Correction.epc (epc 1000 1e-7 token) given.Bound given.Target given.Start |> orStop)

    use fit = fit

    line
        [
            given.Kernel
            $"CP {given.Rank}"
            $"{fit.RelativeError:F4}"
            $"{Sensitivity.value given.Start:F0}"
            $"{Sensitivity.value balanced:F0}"
            $"{fit.Sensitivity:F1}"
            $"{seconds:F0}"
            stopOf fit
        ]

/// Prints where the correction ends from given CP networks.
let limits () =
    match SharedKernels.shared with
    | None -> absent ()
    | Some shared ->
        torch.set_num_threads 1
        use _ = torch.NewDisposeScope()
        let kernels = kernels shared
        head [ "kernel"; "format"; "error"; "S at start"; "balanced"; "after EPC"; "seconds"; "stop" ]

        for path in givenPaths shared do
            limit kernels path

/// Prints the table of the kernels, and of the formats, whose names contain a text.
let run (filter: string) (format: string) =
    match SharedKernels.shared with
    | None -> absent ()
    | Some shared ->
        torch.set_num_threads 1
        use _ = torch.NewDisposeScope()

        head
            [
                "kernel"
                "format"
                "ranks"
                "parameters / dense"
                "S least squares"
                "S balanced"
                "S after EPC"
                "error"
                "error after EPC"
                "search s"
                "EPC s"
                "EPC stop"
                "remark"
            ]

        for name, k in kernels shared |> List.filter (fun (name, _) -> name.Contains filter) do
            formats |> List.filter (fun (name, _) -> name.Contains format) |> List.iter (row name k)
