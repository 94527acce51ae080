namespace TensorNets

open System
open System.Diagnostics
open System.IO
open TorchSharp

/// One layer of a plan made into a factorized one.
[<RequireQualifiedAccess>]
module internal LayerRun =
    /// A layer between two rounds of correction.
    type Drafted =
        {
            /// One for each group.
            Drafts: LayerDraft.Draft list
            /// The layer's file in the work folder.
            File: string option
            /// The sweeps of correction that are left.
            Sweeps: int
            /// The fall of log S that a second of the next round is expected to bring, weighed by parameters.
            Rate: float
        }

    /// Where a layer stands between two steps.
    type Stage =
        | Fresh
        | Drafted of Drafted

    /// The time there is for the least squares of a layer, for rounds of correction, and for what ends a layer; none without a limit.
    type Times =
        {
            First: LayerTask -> TimeSpan option
            Rounds: unit -> TimeSpan option
            Last: LayerTask -> TimeSpan option
        }

    /// The layer of drafts.
    let private layerOfDrafts options time (task: LayerTask) (weight: Tensor) (bias: Tensor option) (drafts: LayerDraft.Draft list) =
        let g = task.Source.Geometry

        LayerTask.perGroup task weight (fun i norm _ kernel -> LayerDraft.last options (LayerTask.share task time) norm kernel drafts[i])
        |> Result.bind (fun networks ->
            let network = if g.Groups = 1L then networks.Head else GroupNetworks.stack networks
            LayerTask.layerOf g weight bias (if g.Groups = 1L then task.Norm else Norm.Frobenius) network)
        |> Result.bind (fun layer ->
            layer.StartSensitivity <- drafts |> List.sumBy _.Before

            match options.Quantize with
            | None -> Ok layer
            | Some quantize ->
                LayerQuantization.fit { quantize with Norm = layer.Norm } (Some weight) layer
                |> LayerMaking.orDisposed layer)

    /// As a file in the work folder says, where there is one that can be read.
    let private resumed (path: string) (task: LayerTask) (weight: Tensor) (bias: Tensor option) : FactorizedLayer option =
        if File.Exists path then
            use _ = torch.NewDisposeScope()

            match LayerFile.load path with
            | Ok stored ->
                use stored = stored
                use network = stored.Network()

                match LayerTask.layerOf task.Source.Geometry weight bias stored.Norm network with
                | Ok layer ->
                    let integers = stored.Integers
                    stored.Integers <- None
                    layer |> Ok |> LayerQuantization.remembered integers |> Result.toOption
                | Error _ -> None
            | Error _ -> None
        else
            None

    let private stopped =
        [
            TensorNetError.Unsupported("The run", "cancelled before the layer was finished", "one that is let run")
        ]

    /// The file of a layer in the work folder, if there is one.
    let private place (options: CompressOptions) (task: LayerTask) weight bias : string option =
        options.Folder
        |> Option.map (fun folder ->
            let norm =
                task.Shares
                |> Option.map (fun shares -> Norm.Weighted([ 0 ], shares))
                |> Option.defaultValue task.Norm

            let key = RunKey.ofLayer options task.Planned task.Source.Geometry weight bias norm
            Path.Combine(folder, key + ".safetensors"))

    /// The layer, written into its file, unless the run was cancelled.
    let private written (options: CompressOptions) (file: string option) (layer: FactorizedLayer) =
        if options.Cancellation.IsCancellationRequested then
            layer.Dispose()
            Error stopped
        else
            match file with
            | None -> Ok layer
            | Some path -> LayerFile.save path layer |> LayerMaking.orDisposed layer

    /// Sweeps of a round of correction, and the factor by which the first is expected to lower S, in the time that least squares took: CP
    /// was seen to gain it in fifteen sweeps.
    let private roundSweeps, private firstFactor = 3, 3.0

    /// Drafts that are kept between steps belong to no scope.
    let private kept (drafts: LayerDraft.Draft list) : LayerDraft.Draft list =
        for draft in drafts do
            for core in draft.Network.Cores do
                core.DetachFromDisposeScope() |> ignore

        drafts

    /// Disposes what drafts hold, but for what later ones hold too.
    let private disposeBut (later: LayerDraft.Draft list) (drafts: LayerDraft.Draft list) : unit =
        for draft in drafts do
            if later |> List.forall (fun other -> not (obj.ReferenceEquals(other.Network, draft.Network))) then
                (draft.Network :> IDisposable).Dispose()

    /// How soon the next step of a layer is due: least squares come first, then what lowers S most a second.
    let priority (stage: Stage) : float =
        match stage with
        | Fresh -> infinity
        | Drafted drafted -> drafted.Rate

    /// Disposes what a layer holds whose steps are not gone on with.
    let release (stage: Stage) : unit =
        match stage with
        | Fresh -> ()
        | Drafted drafted -> disposeBut [] drafted.Drafts

    /// A layer that is made: where it stands in the work folder, empty where there is none, and whether it was read from there.
    type Made = { Layer: FactorizedLayer; File: string; IsResumed: bool }

    /// What a step works on and with.
    type private Work =
        {
            Options: CompressOptions
            Times: Times
            Task: LayerTask
            Weight: Tensor
            Bias: Tensor option
            /// The layer's file in the work folder, once it is asked for.
            File: Lazy<string option>
            Clock: Stopwatch
        }

    let private finished (work: Work) isResumed (layer: FactorizedLayer) : Made =
        {
            Layer = Compress.note (string work.Task.Planned.Choice) work.Weight layer
            File = work.File.Value |> Option.defaultValue ""
            IsResumed = isResumed
        }

    let private ended (work: Work) (drafts: LayerDraft.Draft list) =
        layerOfDrafts work.Options (work.Times.Last work.Task) work.Task work.Weight work.Bias drafts
        |> Result.bind (written work.Options work.File.Value)
        |> Result.map (finished work false)
        |> SideBySide.Done

    let private again (work: Work) drafts sweeps gain =
        let rate = float work.Task.Planned.Parameters * gain / max 1e-9 work.Clock.Elapsed.TotalSeconds

        { Drafts = kept drafts; File = work.File.Value; Sweeps = sweeps; Rate = rate }
        |> Drafted
        |> SideBySide.Again

    /// Drafts after so many sweeps of correction more, within a time.
    let private corrected (work: Work) sweeps time (drafts: LayerDraft.Draft list) =
        let time = LayerTask.share work.Task time

        LayerTask.perGroup work.Task work.Weight (fun i norm _ kernel ->
            LayerDraft.corrected work.Options sweeps time norm kernel drafts[i])

    /// From the work folder, or by least squares; without a limit of time to the end.
    let private first (work: Work) =
        match work.File.Value |> Option.bind (fun path -> resumed path work.Task work.Weight work.Bias) with
        | Some layer ->
            work.File.Value |> Option.iter (LayerRounds.forget (int work.Task.Source.Geometry.Groups))
            SideBySide.Done(Ok(finished work true layer))
        | None when work.Options.Cancellation.IsCancellationRequested -> SideBySide.Done(Error stopped)
        | None ->
            let time = LayerTask.share work.Task (work.Times.First work.Task)

            let isUnlimited = work.Options.TimeLimit.IsNone

            let draft i norm (spec: Spec) kernel =
                match work.Task.Shares with
                | Some shares when spec.Output.Length = 2 ->
                    // A table is fitted whole in the norm of its shares.
                    TokenShares.fit shares (LayerDraft.whole work.Options time norm spec) kernel
                    |> Result.map LayerDraft.final
                | _ when isUnlimited -> LayerRounds.run work.Options (work.File.Value |> Option.map (LayerRounds.fileOf i)) norm spec kernel
                | _ -> LayerDraft.first work.Options time norm spec kernel

            match LayerTask.perGroup work.Task work.Weight draft with
            | Error errors -> SideBySide.Done(Error errors)
            | Ok drafts when isUnlimited || drafts |> List.forall _.Bound.IsNone ->
                let step = ended work drafts
                work.File.Value |> Option.iter (LayerRounds.forget drafts.Length)
                step
            | Ok drafts -> again work drafts work.Options.Corrections (log firstFactor)

    /// A round of correction where there are sweeps and time left, the end where there are none.
    let private next (work: Work) (before: Drafted) =
        match work.Times.Rounds() with
        | _ when work.Options.Cancellation.IsCancellationRequested -> SideBySide.Done(Error stopped)
        | Some time when before.Sweeps > 0 && time > TimeSpan.Zero ->
            let count = min roundSweeps before.Sweeps

            match corrected work count (Some time) before.Drafts with
            | Ok drafts ->
                let fall = drafts |> List.averageBy _.Fall
                again work drafts (if fall > work.Options.Tolerance then before.Sweeps - count else 0) fall
            // A kernel that cannot be corrected further, for whatever reason, is taken as it is.
            | Error(_: TensorNetError list) -> again work before.Drafts 0 0.0
        // No time or no sweep is left, or there is no limit of time.
        | Some _
        | None -> ended work before.Drafts

    /// The next step of a layer: from the work folder or by least squares; then, under a limit of time, a round of correction at a time;
    /// then made and written into the folder. What it gives says where the layer stands now, or ends it.
    let step
        (options: CompressOptions)
        (times: Times)
        (task: LayerTask)
        (stage: Stage)
        : SideBySide.Step<Stage, Result<Made, TensorNetError list>> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let clock = Stopwatch.StartNew()
        let options = { options with Quantize = LayerTask.rounding options task }

        let stepped file act =
            match SourceLayer.weight task.Source, SourceLayer.bias task.Source with
            | Ok weight, Ok bias ->
                act
                    {
                        Options = options
                        Times = times
                        Task = task
                        Weight = weight
                        Bias = bias
                        File = file weight bias
                        Clock = clock
                    }
            | Error errors, _
            | _, Error errors -> SideBySide.Done(Error errors)

        match stage with
        | Fresh -> stepped (fun weight bias -> lazy place options task weight bias) first
        | Drafted before ->
            let mutable after = []

            try
                let step = stepped (fun _ _ -> lazy before.File) (fun work -> next work before)

                match step with
                | SideBySide.Again(Drafted next) -> after <- next.Drafts
                | SideBySide.Again Fresh
                | SideBySide.Done _ -> ()

                step
            finally
                disposeBut after before.Drafts
