namespace TensorNets

open System.Diagnostics

/// How far a plan has come, as its options want to be told.
[<RequireQualifiedAccess>]
module internal PlanTeller =
    /// What is called with each layer that has its candidates, from any thread.
    let of' (options: PlanOptions) (layers: (SourceLayer * string) list) : SourceLayer -> unit =
        match options.Progress with
        | None -> ignore
        | Some progress ->
            let open' = layers |> List.filter (fun (_, kept) -> kept = "")
            let whole = open' |> List.sumBy (fst >> SourceLayer.size >> float)
            let clock = Stopwatch.StartNew()
            let finished, entries = ref 0, ref 0.0

            fun layer ->
                lock finished (fun () ->
                    finished.Value <- finished.Value + 1
                    entries.Value <- entries.Value + float (SourceLayer.size layer)

                    progress.Report
                        {
                            Path = layer.Path
                            Done = finished.Value
                            Total = open'.Length
                            TimeLeft = clock.Elapsed * (max 0.0 (whole / max 1.0 entries.Value - 1.0))
                        })
