namespace TensorNets

open System
open System.Diagnostics
open System.IO
open TorchSharp

/// One layer of a plan made into a factorized one.
[<RequireQualifiedAccess>]
module internal LayerRun =
    /// What a layer is made with.
    type Task =
        {
            Planned: PlannedLayer
            Source: SourceLayer
            Norm: Norm
            /// Of an embedding the shares of its tokens, where they are known.
            Shares: Tensor option
            Cost: float
        }

    /// Where a layer stands between two steps.
    type Stage =
        | Fresh
        /// A draft for each group, the sweeps of correction that are left, and the fall of log S that a second of the next round is
        /// expected to bring.
        | Drafted of drafts: LayerDraft.Draft list * sweeps: int * rate: float

    /// The time there is for the least squares of a layer, for rounds of correction, and for what ends a layer; none without a limit.
    type Times = { First: Task -> TimeSpan option; Rounds: unit -> TimeSpan option; Last: Task -> TimeSpan option }

    /// The cost of a layer's sweeps, up to a factor.
    let cost (layer: PlannedLayer) : float =
        let choice = layer.Choice

        match choice.Format with
        | Format.CP rank -> float layer.Parameters * float rank
        | Format.TensorChain ranks -> float layer.Parameters * float (List.max ranks) * float (List.max ranks)
        | _ -> float layer.Parameters * sqrt (float choice.Parameters)

    /// How the cores of a layer are rounded: as its entry of the plan says, or else the options.
    let private rounding (options: CompressOptions) (task: Task) : QuantizeOptions option =
        match task.Planned.Choice.Bits with
        | 0 -> options.Quantize
        | bits -> Some { Quantization.defaults with Bits = bits }

    /// What becomes of the kernel of each group, by its number, in its norm, for its spec.
    let private perGroup
        (task: Task)
        (weight: Tensor)
        (act: int -> Norm -> Spec -> Tensor -> Result<'T, TensorNetError list>)
        : Result<'T list, TensorNetError list> =
        let choice, g = task.Planned.Choice, task.Source.Geometry

        PlanMaking.ofGroup choice.Axes choice.Format g
        |> Result.bind (fun spec ->
            if g.Groups = 1L then
                ConvGeometry.kernelFor (Spec.shape spec) g (weight.detach ())
                |> act 0 task.Norm spec
                |> Result.map List.singleton
            else
                let kernel = HalfPrecision.widened (ConvGeometry.kernelOfWeight g (weight.detach ()))

                (Ok [], [ 0 .. int g.Groups - 1 ])
                ||> List.fold (fun found i ->
                    found
                    |> Result.bind (fun found ->
                        act i Norm.Frobenius spec ((kernel.select (0L, int64 i)).reshape(List.toArray (Spec.shape spec)))
                        |> Result.map (fun next -> next :: found)))
                |> Result.map List.rev)

    let private share (task: Task) (time: TimeSpan option) = time |> Option.map (fun time -> time / float task.Source.Geometry.Groups)

    /// The layer of a network with the bias, in the dtype and on the device of the weight.
    let private layerOf (g: ConvGeometry) (weight: Tensor) (bias: Tensor option) (norm: Norm) (network: Network) =
        LayerMaking.planned None g network.Spec
        |> Result.bind (fun plan ->
            let layer = LayerMaking.made plan weight.dtype weight.device network bias LayerMaking.trained
            layer.TrySetNorm norm |> Result.map (fun () -> layer))

    /// The layer of drafts.
    let private made options time (task: Task) (weight: Tensor) (bias: Tensor option) (drafts: LayerDraft.Draft list) =
        let g = task.Source.Geometry

        perGroup task weight (fun i norm _ kernel -> LayerDraft.last options (share task time) norm kernel drafts[i])
        |> Result.bind (fun networks ->
            let network = if g.Groups = 1L then networks.Head else GroupNetworks.stack networks
            layerOf g weight bias (if g.Groups = 1L then task.Norm else Norm.Frobenius) network)
        |> Result.bind (fun layer ->
            layer.StartSensitivity <- drafts |> List.sumBy _.Before

            match options.Quantize with
            | None -> Ok layer
            | Some quantize ->
                match LayerQuantization.fit { quantize with Norm = layer.Norm } (Some weight) layer with
                | Ok() -> Ok layer
                | Error errors ->
                    layer.Dispose()
                    Error errors)

    /// As a file in the work folder says, where there is one that can be read.
    let private resumed (path: string) (task: Task) (weight: Tensor) (bias: Tensor option) : FactorizedLayer option =
        if File.Exists path then
            use _ = torch.NewDisposeScope()

            match LayerFile.load path with
            | Ok stored ->
                use stored = stored
                use network = stored.Network()

                match layerOf task.Source.Geometry weight bias stored.Norm network with
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
    let private place (options: CompressOptions) (task: Task) weight bias : string option =
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
            | Some path -> LayerFile.save path layer |> Result.map (fun () -> layer)
            | None -> Ok layer

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
    let private dispose (later: LayerDraft.Draft list) (drafts: LayerDraft.Draft list) : unit =
        for draft in drafts do
            if later |> List.forall (fun other -> not (obj.ReferenceEquals(other.Network, draft.Network))) then
                (draft.Network :> IDisposable).Dispose()

    /// How soon the next step of a layer is due: least squares come first, then what lowers S most a second.
    let priority (stage: Stage) : float =
        match stage with
        | Fresh -> infinity
        | Drafted(_, _, rate) -> rate

    /// A layer that is made: where it stands in the work folder, empty where there is none, and whether it was read from there.
    type Made = { Layer: FactorizedLayer; File: string; IsResumed: bool }

    /// What a step works on and with.
    type private Work =
        {
            Options: CompressOptions
            Times: Times
            Task: Task
            Weight: Tensor
            Bias: Tensor option
            /// The layer's file in the work folder, once it is asked for.
            File: Lazy<string option>
            Clock: Stopwatch
        }

    let private made' (work: Work) isResumed (layer: FactorizedLayer) : Made =
        {
            Layer = Compress.note (string work.Task.Planned.Choice) work.Weight layer
            File = work.File.Value |> Option.defaultValue ""
            IsResumed = isResumed
        }

    let private ended (work: Work) (drafts: LayerDraft.Draft list) =
        made work.Options (work.Times.Last work.Task) work.Task work.Weight work.Bias drafts
        |> Result.bind (written work.Options work.File.Value)
        |> Result.map (made' work false)
        |> SideBySide.Done

    let private again (work: Work) drafts sweeps gain =
        let rate = float work.Task.Planned.Parameters * gain / max 1e-9 work.Clock.Elapsed.TotalSeconds
        SideBySide.Again(Drafted(kept drafts, sweeps, rate))

    /// Drafts after so many sweeps of correction more, within a time.
    let private corrected (work: Work) sweeps time (drafts: LayerDraft.Draft list) =
        let time = share work.Task time
        perGroup work.Task work.Weight (fun i norm _ kernel -> LayerDraft.corrected work.Options sweeps time norm kernel drafts[i])

    /// From the work folder, or by least squares; without a limit of time to the end.
    let private first (work: Work) =
        match work.File.Value |> Option.bind (fun path -> resumed path work.Task work.Weight work.Bias) with
        | Some layer -> SideBySide.Done(Ok(made' work true layer))
        | None when work.Options.Cancellation.IsCancellationRequested -> SideBySide.Done(Error stopped)
        | None ->
            let time = share work.Task (work.Times.First work.Task)

            let isUnlimited = work.Options.TimeLimit.IsNone

            let draft i norm (spec: Spec) kernel =
                match work.Task.Shares with
                | Some shares when spec.Output.Length = 2 ->
                    // A table is fitted whole in the norm of its shares.
                    TokenShares.fit shares (LayerDraft.whole work.Options time norm spec) kernel
                    |> Result.map LayerDraft.final
                | _ when isUnlimited -> LayerRounds.run work.Options (work.File.Value |> Option.map (LayerRounds.fileOf i)) norm spec kernel
                | _ -> LayerDraft.first work.Options time norm spec kernel

            match perGroup work.Task work.Weight draft with
            | Error errors -> SideBySide.Done(Error errors)
            | Ok drafts when isUnlimited || drafts |> List.forall _.Bound.IsNone ->
                let step = ended work drafts
                work.File.Value |> Option.iter (LayerRounds.forget drafts.Length)
                step
            | Ok drafts -> again work drafts work.Options.Corrections (log firstFactor)

    /// A round of correction where there are sweeps and time left, the end where there are none.
    let private next (work: Work) (drafts: LayerDraft.Draft list) (left: int) =
        match work.Times.Rounds() with
        | _ when work.Options.Cancellation.IsCancellationRequested -> SideBySide.Done(Error stopped)
        | Some time when left > 0 && time > TimeSpan.Zero ->
            let count = min roundSweeps left

            match corrected work count (Some time) drafts with
            | Ok next ->
                let fall = next |> List.averageBy _.Fall
                again work next (if fall > work.Options.Tolerance then left - count else 0) fall
            // What there is can be used.
            | Error _ -> again work drafts 0 0.0
        | _ -> ended work drafts

    /// The next step of a layer: from the work folder or by least squares; then, under a limit of time, a round of correction at a time;
    /// then made and written into the folder. What it gives says where the layer stands now, or ends it.
    let step
        (options: CompressOptions)
        (times: Times)
        (task: Task)
        (stage: Stage)
        : SideBySide.Step<Stage, Result<Made, TensorNetError list>> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let clock = Stopwatch.StartNew()
        let options = { options with Quantize = rounding options task }

        let stepped act =
            match SourceLayer.weight task.Source, SourceLayer.bias task.Source with
            | Ok weight, Ok bias ->
                act
                    {
                        Options = options
                        Times = times
                        Task = task
                        Weight = weight
                        Bias = bias
                        File = lazy place options task weight bias
                        Clock = clock
                    }
            | Error errors, _
            | _, Error errors -> SideBySide.Done(Error errors)

        match stage with
        | Fresh -> stepped first
        | Drafted(before, left, _) ->
            let mutable after = []

            try
                let step = stepped (fun work -> next work before left)

                match step with
                | SideBySide.Again(Drafted(drafts, _, _)) -> after <- drafts
                | _ -> ()

                step
            finally
                dispose after before
