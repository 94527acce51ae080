namespace TensorNets

open System

/// How many sweeps an iteration has still to go, from the values that it lowers.
[<RequireQualifiedAccess>]
module internal SweepsLeft =
    /// The rate is that over this many sweeps: one sweep's is too noisy, the first sweeps' no longer hold.
    let private window = 8

    /// The sweeps until a sweep's share of the value is at most the tolerance, at most `limit`. The values come latest first.
    let estimate (tolerance: float) (limit: int) (values: float list) : int =
        let shares = values |> List.pairwise |> List.map (fun (after, before) -> (before - after) / before)

        match shares with
        | latest :: _ when latest <= tolerance -> 0
        | latest :: _ :: _ when tolerance > 0.0 ->
            let back = min window (shares.Length - 1)
            let rate = Math.Pow(latest / shares[back], 1.0 / float back)
            // Written so that NaN counts as a rate that is not known.
            if rate > 0.0 && rate < 1.0 then
                int (min (float limit) (ceil (log (tolerance / latest) / log rate)))
            else
                limit
        | _ -> limit

    type private Listener(tolerance: float, inner: IProgress<FitProgress>) =
        let mutable last = 0
        let mutable values: float list = []

        interface IProgress<FitProgress> with
            member _.Report progress =
                // Another iteration starts from its first sweep.
                if progress.Sweep <= last then
                    values <- []

                last <- progress.Sweep
                let value = if Double.IsNaN progress.Sensitivity then progress.RelativeError else progress.Sensitivity
                // Sweeps never raise S; a search of all cores at once does on its way, and says nothing of the end.
                let searching =
                    not (Double.IsNaN progress.Sensitivity)
                    && (values |> List.tryHead |> Option.exists (fun before -> value > before * (1.0 + tolerance)))

                values <- List.truncate (window + 2) (value :: values)

                inner.Report
                    { progress with
                        SweepsLeft = if searching then progress.SweepsLeft else estimate tolerance progress.SweepsLeft values
                    }

    /// The options with a listener that puts the estimate into what it passes on; the same ones where there is one already.
    let listening (options: SweepOptions) : SweepOptions =
        match options.Progress with
        | None -> options
        | Some(:? Listener) -> options
        | Some progress -> { options with Progress = Some(Listener(options.Tolerance, progress)) }
