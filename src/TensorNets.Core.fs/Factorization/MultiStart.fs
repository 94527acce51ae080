namespace TensorNets

/// Several starts, of which the best is kept.
[<RequireQualifiedAccess>]
module internal MultiStart =
    /// The seed of start i, derived from the given one (SplitMix64, so that neighbouring seeds have nothing in common); start 0 has the
    /// given one.
    let seed (seed: uint64) (i: int) : uint64 =
        if i = 0 then
            seed
        else
            let z = seed + uint64 i * 0x9E3779B97F4A7C15UL
            let z = (z ^^^ (z >>> 30)) * 0xBF58476D1CE4E5B9UL
            let z = (z ^^^ (z >>> 27)) * 0x94D049BB133111EBUL
            z ^^^ (z >>> 31)

    /// Errors of a number of starts.
    let check (starts: int) =
        [
            if starts < 1 then
                TensorNetError.Unsupported("Starts", string starts, "1 or more")
        ]

    let private smallest (value: Fit -> 'Value) (a: Fit) (b: Fit) : Fit =
        let kept, other = if value b < value a then b, a else a, b
        Fit.dispose other
        kept

    /// The fit of least value over the starts 0 … count − 1, in turn; the others are disposed. A start that fails counts only where all do.
    /// Cancelled: no further start.
    let best (options: SweepOptions) (value: Fit -> 'Value) (count: int) (run: int -> Result<Fit, TensorNetError list>) =
        let rec loop i (kept: Fit option) errors =
            if i > 0 && (i >= count || options.Cancellation.IsCancellationRequested) then
                match kept with
                | Some fit when count > 1 && options.Cancellation.IsCancellationRequested ->
                    Ok(fit.After { fit.History with Stop = Stop.Cancelled })
                | Some fit -> Ok fit
                | None -> Error(List.last errors)
            else
                match run i with
                | Ok fit ->
                    let kept =
                        match kept with
                        | Some before -> smallest value before fit
                        | None -> fit

                    loop (i + 1) (Some kept) errors
                | Error found -> loop (i + 1) kept (found :: errors)

        loop 0 None []

    /// Of corrections from several starts (<c>Correction.nearest</c>) the one of least S that meets the bound; where none does, that of
    /// least error if they were cancelled, else an error that names it.
    let leastSensitive (options: SweepOptions) (count: int) (run: int -> Result<Fit, TensorNetError list>) =
        let value (fit: Fit) = if fit.MeetsBound then struct (0, fit.Sensitivity) else struct (1, fit.Error)

        best options value count run |> Result.bind Fit.settled
