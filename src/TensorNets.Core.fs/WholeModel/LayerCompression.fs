namespace TensorNets

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Threading
open TorchSharp

/// <summary>Layers of any source compressed by a plan.</summary>
[<RequireQualifiedAccess>]
module LayerCompression =
    /// <summary>At most 30 sweeps of least squares and 15 of correction a layer, within 1.02 of the error that least squares reach, on all
    /// processors.</summary>
    /// <example><code>{ LayerCompression.defaults with Folder = Some "work" }</code></example>
    let defaults: CompressOptions =
        {
            Sweeps = 30
            Tolerance = 1e-4
            Corrections = 15
            Slack = PlanMaking.slack
            Covariances = []
            Workers = 0
            Quantize = None
            Folder = None
            ReleaseLayers = false
            TimeLimit = None
            Progress = None
            Cancellation = CancellationToken.None
        }

    let private check (options: CompressOptions) : TensorNetError list =
        [
            if options.Sweeps < 1 then
                TensorNetError.Unsupported("The sweeps", string options.Sweeps, "1 or more")
            if not (options.Slack >= 1.0) then
                TensorNetError.Unsupported("The slack", $"{options.Slack:G6}", "1 or more")
            match options.Quantize with
            | Some quantize -> yield! Quantization.check quantize
            | None -> ()
            if options.ReleaseLayers && options.Folder.IsNone then
                TensorNetError.Unsupported("Layers that are released", "no work folder", "a folder that they stand in")
            match options.Folder with
            | Some folder ->
                try
                    Directory.CreateDirectory folder |> ignore
                with
                | :? IOException
                | :? ArgumentException
                | :? NotSupportedException
                | :? UnauthorizedAccessException as problem -> TensorNetError.UnwrittenFile(string folder, problem.Message.TrimEnd '.')
            | None -> ()
        ]

    /// The layers that a plan factorizes, each with the layer of the source.
    let private tasks
        (options: CompressOptions)
        (plan: CompressionPlan)
        (source: LayerSource)
        : Result<LayerTask list, TensorNetError list> =
        let covariances = dict options.Covariances
        let layers = dict [ for layer in source.Layers -> layer.Path, layer ]

        let task (planned: PlannedLayer) =
            match layers.TryGetValue planned.Path with
            | false, _ -> Error [ ModulePath.unknown planned.Path layers.Keys ]
            | true, layer when ConvGeometry.weightShape layer.Geometry <> List.ofSeq planned.Shape ->
                let expected = $"that of the plan, {TensorNetError.shapeText (List.ofSeq planned.Shape)}"

                Error
                    [
                        TensorNetError.Shape($"The weight of '{planned.Path}'", ConvGeometry.weightShape layer.Geometry, expected)
                    ]
            | true, layer when layer.Kept <> "" ->
                Error
                    [
                        TensorNetError.Unsupported($"The layer '{layer.Path}'", layer.Kept, "one that can be factorized")
                    ]
            | true, layer ->
                let norm, shares =
                    match covariances.TryGetValue planned.Path with
                    | true, sigma when TokenShares.are layer.Geometry sigma -> Norm.Frobenius, Some sigma
                    | true, sigma -> Norm.Weighted(PlanMaking.inputModes planned.Choice.Format, sigma), None
                    | _ -> Norm.Frobenius, None

                Ok { Planned = planned; Source = layer; Norm = norm; Shares = shares; Cost = LayerTask.cost planned }

        TensorNetError.collect
            [
                for planned in plan.Layers do
                    if planned.IsFactorized then
                        task planned
            ]

    /// A layer on its way, and the time that its steps have taken.
    type private Item =
        {
            Task: LayerTask
            Stage: LayerRun.Stage
            Spent: TimeSpan
        }

        interface IDisposable with
            member this.Dispose() = LayerRun.release this.Stage

    /// What is shared by the workers of a run: the clock, what is done.
    type private Run
        (options: CompressOptions, tasks: LayerTask list, take: string -> FactorizedLayer -> Result<FactorizedLayer, TensorNetError list>) =
        let clock = Stopwatch.StartNew()
        let gate = obj ()
        let whole = tasks |> List.sumBy _.Cost
        let workers = SideBySide.workers options.Workers
        let roundsEnd = LayerTask.roundsEnd options tasks
        let mutable finished = 0
        let mutable begun = 0.0
        let mutable cost = 0.0

        let rest (whole: TimeSpan) (share: float) = (whole - clock.Elapsed) * (min 1.0 (share * float workers))

        /// Least squares of all layers get the first half, by what they cost; rounds of correction what they leave of it and the rest, but
        /// for a quarter where rounding to few bits comes after them.
        let times: LayerRun.Times =
            {
                First =
                    fun task ->
                        lock gate (fun () ->
                            let share = task.Cost / max 1e-300 (whole - begun)
                            begun <- begun + task.Cost
                            options.TimeLimit |> Option.map (fun limit -> rest (limit / 2.0) share))
                Rounds = fun () -> roundsEnd |> Option.map (fun time -> time - clock.Elapsed)
                Last =
                    fun task ->
                        lock gate (fun () ->
                            options.TimeLimit |> Option.map (fun limit -> rest limit (task.Cost / max 1e-300 (whole - cost))))
            }

        member private _.Tell(task: LayerTask, error, sensitivity) =
            finished <- finished + 1
            cost <- cost + task.Cost

            match options.Progress with
            // What is cancelled is no news of a layer.
            | Some progress when not options.Cancellation.IsCancellationRequested ->
                let left = clock.Elapsed * ((whole - cost) / max 1e-300 cost)

                progress.Report
                    {
                        Path = task.Planned.Path
                        Done = finished
                        Total = tasks.Length
                        KernelError = error
                        Sensitivity = sensitivity
                        TimeLeft = (if left < TimeSpan.Zero then TimeSpan.Zero else left)
                    }
            | _ -> ()

        member _.Elapsed = clock.Elapsed

        /// A layer that is made, given to what takes it, and told.
        member private this.Taken
            (item: Item, made: Result<LayerRun.Made, TensorNetError list>, time: TimeSpan)
            : Result<CompressedLayer, SkippedLayer> =
            let task, path = item.Task, item.Task.Planned.Path

            lock gate (fun () ->
                use _ = Mode.left ()
                use _ = torch.no_grad ()
                use _ = torch.NewDisposeScope()

                let taken =
                    made
                    |> Result.bind (fun made -> take path made.Layer |> Result.map (fun layer -> { made with Layer = layer }))

                match taken with
                | Ok { Layer = layer; File = file; IsResumed = isResumed } ->
                    let error = layer.Origin.Value.KernelError
                    let sensitivity = layer.Sensitivity().``to``(torch.float64).item<float>()
                    let bytes = LayerQuantization.bytes layer
                    this.Tell(task, error, sensitivity)

                    if options.ReleaseLayers then
                        layer.Dispose()

                    Ok
                        {
                            Path = path
                            Layer = layer
                            File = file
                            Bytes = bytes
                            KernelError = error
                            Sensitivity = sensitivity
                            StartSensitivity = layer.StartSensitivity
                            Time = time
                            IsResumed = isResumed
                        }
                | Error errors ->
                    this.Tell(task, nan, nan)
                    Error { SkippedLayer.Path = path; Kind = task.Planned.Kind; Reasons = errors |> List.map _.Message })

        /// The next step of a layer; what was ended is told.
        member this.Step(item: Item) : SideBySide.Step<Item, Result<CompressedLayer, SkippedLayer>> =
            let started, task = clock.Elapsed, item.Task
            let spent () = item.Spent + (clock.Elapsed - started)
            let path = task.Planned.Path

            let next =
                try
                    LayerRun.step options times task item.Stage
                with :? ExternalException as problem ->
                    [
                        TensorNetError.Unsupported(
                            $"The layer '{path}'",
                            problem.Message.Split('\n')[0],
                            "numbers that libtorch can work with"
                        )
                    ]
                    |> Error
                    |> SideBySide.Done

            match next with
            | SideBySide.Again stage -> SideBySide.Again { item with Stage = stage; Spent = spent () }
            | SideBySide.Done made -> SideBySide.Done(this.Taken(item, made, spent ()))

    /// Compresses the layers of a source; what takes a finished layer, one at a time, says what became of it.
    let internal into
        (take: string -> FactorizedLayer -> Result<FactorizedLayer, TensorNetError list>)
        (options: CompressOptions)
        (plan: CompressionPlan)
        (source: LayerSource)
        : Result<CompressReport, TensorNetError list> =
        match check options @ LayerSource.errors source with
        | [] ->
            tasks options plan source
            |> Result.map (fun tasks ->
                let run = Run(options, tasks, take)

                let ordered = tasks |> List.sortBy (fun task -> -task.Cost)

                let results =
                    ordered
                    |> List.map (fun task -> { Task = task; Stage = LayerRun.Fresh; Spent = TimeSpan.Zero })
                    |> SideBySide.stepsWithin
                        WorkMemory.room
                        (fun item -> WorkMemory.ofChoice item.Task.Planned)
                        (fun item -> LayerRun.priority item.Stage)
                        (SideBySide.workers options.Workers)
                        run.Step
                    |> List.zip [ for task in ordered -> task.Planned.Path ]
                    |> dict

                let results = [ for task in tasks -> results[task.Planned.Path] ]

                {
                    Layers = results |> List.choose Result.toOption
                    Failed =
                        results
                        |> List.choose (function
                            | Error skipped -> Some skipped
                            | Ok _ -> None)
                    Time = run.Elapsed
                })
        | errors -> Error errors

    /// <summary>Factorizes the layers of a source that a plan has chosen, several side by side: least squares, then the balanced or
    /// corrected network near their error, as a layer with the geometry and bias of the source.</summary>
    /// <remarks><para>The source is not changed. The layers belong to the caller: <c>Network()</c> gives the kernel of each, with groups
    /// one network over all, <c>Geometry</c> how it is applied. Numbers are read when a layer is begun. A layer that cannot be read or made
    /// is reported, cancelled ones likewise.</para>
    /// <para>With a work folder each finished layer is written there, whole, under a hash of all that it depends on; a run that was ended
    /// in any way goes on from there and ends with the same bits, whatever the number of workers. Equivalent to <c>ModelCompression.run</c>
    /// where the source is a model. Errors: <c>PathNotFound</c> and <c>Shape</c> where the plan is not one for the source;
    /// <c>UnwrittenFile</c> for the folder.</para></remarks>
    /// <param name="options">How layers are made.</param>
    /// <param name="plan">The plan, made for this source.</param>
    /// <param name="source">The layers.</param>
    /// <example><code>LayerCompression.run ModelCompression.defaults { plan with Layers = [] } (LayerSource.ofLayers [])</code></example>
    let run (options: CompressOptions) (plan: CompressionPlan) (source: LayerSource) : Result<CompressReport, TensorNetError list> =
        Argument.notNull (nameof options) options
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)
        Argument.notNull (nameof source) source
        into (fun _ layer -> Ok layer) options plan source
