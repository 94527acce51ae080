namespace TensorNets

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Threading
open TorchSharp

/// <summary>Whole models compressed by a plan.</summary>
[<RequireQualifiedAccess>]
module ModelCompression =
    /// <summary>At most 30 sweeps of least squares and 15 of correction a layer, within 1.02 of the error that least squares reach, on all
    /// processors.</summary>
    /// <example><code>{ ModelCompression.defaults with Folder = Some "work" }</code></example>
    let defaults: CompressOptions =
        {
            Sweeps = 30
            Tolerance = 1e-4
            Corrections = 15
            Slack = 1.02
            Covariances = []
            Workers = 0
            Folder = None
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

    /// The layers that a plan factorizes, each with the module that stands in the model.
    let private tasks (options: CompressOptions) (plan: CompressionPlan) model : Result<LayerRun.Task list, TensorNetError list> =
        let covariances = dict options.Covariances

        let task (planned: PlannedLayer) =
            Surgery.find planned.Path model
            |> Result.bind (Compress.dense planned.Path model)
            |> Result.bind (fun found ->
                let weight = found.get_parameter "weight"

                if isNull weight || List.ofArray (nonNull weight).shape <> List.ofSeq planned.Shape then
                    let shape = if isNull weight then [] else List.ofArray (nonNull weight).shape

                    Error
                        [
                            TensorNetError.Shape(
                                $"The weight of '{planned.Path}'",
                                shape,
                                $"that of the plan, {TensorNetError.shapeText (List.ofSeq planned.Shape)}"
                            )
                        ]
                else
                    let norm =
                        match covariances.TryGetValue planned.Path with
                        | true, sigma -> Norm.Weighted([ 0 ], sigma)
                        | _ -> Norm.Frobenius

                    Ok
                        {
                            LayerRun.Planned = planned
                            LayerRun.Dense = found
                            LayerRun.Norm = norm
                            LayerRun.Weight = LayerRun.weight planned
                        })

        TensorNetError.collect
            [
                for planned in plan.Layers do
                    if planned.IsFactorized then
                        task planned
            ]

    /// What is shared by the workers of a run: the model, the clock, what is done.
    type private Run(options: CompressOptions, tasks: LayerRun.Task list, model: torch.nn.Module) =
        let clock = Stopwatch.StartNew()
        let gate = obj ()
        let whole = tasks |> List.sumBy _.Weight
        let workers = SideBySide.workers options.Workers
        let mutable finished = 0
        let mutable begun = 0.0
        let mutable weight = 0.0

        /// The time that a layer may take: its share of what is left, of all workers.
        member private _.Share(task: LayerRun.Task) : TimeSpan option =
            lock gate (fun () ->
                let share = task.Weight / max 1e-300 (whole - begun)
                begun <- begun + task.Weight

                options.TimeLimit
                |> Option.map (fun limit -> (limit - clock.Elapsed) * (min 1.0 (share * float workers))))

        member private _.Tell(task: LayerRun.Task, error, sensitivity) =
            finished <- finished + 1
            weight <- weight + task.Weight

            match options.Progress with
            | Some progress ->
                let left = clock.Elapsed * ((whole - weight) / max 1e-300 weight)

                progress.Report
                    {
                        Path = task.Planned.Path
                        Done = finished
                        Total = tasks.Length
                        KernelError = error
                        Sensitivity = sensitivity
                        TimeLeft = (if left < TimeSpan.Zero then TimeSpan.Zero else left)
                    }
            | None -> ()

        member _.Elapsed = clock.Elapsed

        member this.Layer(task: LayerRun.Task) : Result<CompressedLayer, SkippedLayer> =
            let started = clock.Elapsed
            let path = task.Planned.Path
            let skipped reasons = Error { SkippedLayer.Path = path; Kind = task.Planned.Kind; Reasons = reasons }

            let made =
                try
                    LayerRun.run options (this.Share task) task
                with :? ExternalException as problem ->
                    Error
                        [
                            TensorNetError.Unsupported(
                                $"The layer '{path}'",
                                problem.Message.Split('\n')[0],
                                "numbers that libtorch can work with"
                            )
                        ]

            lock gate (fun () ->
                use _ = Mode.left ()
                use _ = torch.no_grad ()
                use _ = torch.NewDisposeScope()

                let put =
                    made
                    |> Result.bind (fun (layer, isResumed) ->
                        let noted = Compress.note (string task.Planned.Choice) task.Dense layer
                        Compress.put path model task.Dense noted |> Result.map (fun layer -> layer, isResumed))

                match put with
                | Ok(layer, isResumed) ->
                    let error = layer.Origin.Value.KernelError
                    let sensitivity = layer.Sensitivity().``to``(torch.float64).item<float>()
                    this.Tell(task, error, sensitivity)

                    Ok
                        {
                            Path = path
                            Layer = layer
                            KernelError = error
                            Sensitivity = sensitivity
                            Time = clock.Elapsed - started
                            IsResumed = isResumed
                        }
                | Error errors ->
                    this.Tell(task, nan, nan)
                    skipped (errors |> List.map _.Message))

    /// <summary>Factorizes the layers of a model that a plan has chosen, in place: least squares, the balanced or corrected network near
    /// their error, and the layer put into the model, several layers side by side.</summary>
    /// <remarks><para>A layer that fails stays dense and is reported. Cancelled, the layers that are finished stay in the model, which can
    /// be used as it is; the others stay dense. With a work folder each finished layer is written there, whole, under a hash of all that it
    /// depends on; a run that was ended in any way goes on from there and ends with the same bits, whatever the number of workers.</para>
    /// <para>Batch norms are best re-estimated afterwards (<c>Calibration.batchNorm</c>); an optimizer made before needs
    /// <c>Optimizers.follow</c>. Errors, before anything is changed: <c>PathNotFound</c>, <c>Compressed</c>, <c>Shape</c> and those of
    /// <c>Surgery.replace</c> where the plan is not one for the model; <c>UnwrittenFile</c> for the folder.</para></remarks>
    /// <param name="options">How layers are made.</param>
    /// <param name="plan">The plan, made for this model.</param>
    /// <param name="model">The model.</param>
    /// <example><code>ModelCompression.run ModelCompression.defaults plan (makeModel ()) |> orStop</code></example>
    let run (options: CompressOptions) (plan: CompressionPlan) (model: torch.nn.Module) : Result<CompressReport, TensorNetError list> =
        Argument.notNull (nameof options) options
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)
        ArgumentNullException.ThrowIfNull(model, nameof model)

        match Check.alive "The model" model with
        | [] ->
            match check options with
            | [] ->
                tasks options plan model
                |> Result.map (fun tasks ->
                    let run = Run(options, tasks, model)

                    let results =
                        tasks
                        |> List.sortBy (fun task -> -task.Weight)
                        |> SideBySide.runWithin
                            LayerRun.room
                            (fun task -> LayerRun.bytes task.Planned)
                            (SideBySide.workers options.Workers)
                            (fun task -> task.Planned.Path, run.Layer task)
                        |> dict

                    let ordered = [ for task in tasks -> results[task.Planned.Path] ]

                    {
                        Layers = ordered |> List.choose Result.toOption
                        Failed =
                            ordered
                            |> List.choose (function
                                | Error skipped -> Some skipped
                                | Ok _ -> None)
                        Time = run.Elapsed
                    })
            | errors -> Error errors
        | errors -> Error errors
