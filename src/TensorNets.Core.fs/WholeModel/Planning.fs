namespace TensorNets

open System
open TorchSharp

/// <summary>Plans: made under a budget, edited, compared, written as JSON.</summary>
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module CompressionPlan =
    /// <summary>The options that plans are made with unless told otherwise: first and last layer dense, errors of kernels, every family for
    /// kernels of several positions.</summary>
    /// <example><code>{ CompressionPlan.defaults with Keep = [ "fc" ] }</code></example>
    let defaults: PlanOptions =
        {
            Families = [ FormatFamily.CP; FormatFamily.Tucker2; FormatFamily.TensorChain; FormatFamily.TensorTrain ]
            Ratios = [ 1.5; 2.0; 3.0; 4.0; 6.0; 9.0; 13.0 ]
            Bits = [ 8; 6; 5; 4; 3 ]
            Sweeps = 3
            KeepFirst = true
            KeepLast = true
            Keep = []
            Covariances = []
            Workers = 0
            Latencies = None
            TrainMatrixModes = []
            Evaluate = None
            Progress = None
        }

    let private check (isKnown: string -> bool) (known: string list) (options: PlanOptions) : TensorNetError list =
        [
            if options.Ratios |> List.exists (fun ratio -> not (ratio > 1.0 && Double.IsFinite ratio)) then
                TensorNetError.Unsupported("The ratios", String.Join(", ", options.Ratios), "numbers above 1")
            if options.TrainMatrixModes |> List.exists (fun modes -> modes < 2) then
                TensorNetError.Unsupported("The modes of TT-matrices", String.Join(", ", options.TrainMatrixModes), "2 or more")
            if options.Bits |> List.exists (fun bits -> bits < 2 || bits > 8) then
                TensorNetError.Unsupported("The bits", String.Join(", ", options.Bits), "numbers from 2 to 8")
            if options.Sweeps < 1 then
                TensorNetError.Unsupported("The sweeps of a plan", string options.Sweeps, "1 or more")
            for path in options.Keep @ List.map fst options.Covariances do
                if isNull (box path) || not (isKnown path) then
                    ModulePath.unknown (if isNull (box path) then "" else path) known
        ]

    type private Net = torch.nn.Module<Tensor, Tensor>

    /// Layers with their candidates, the largest first, so that the workers end together.
    let private sideBySide (bound: float option) (options: PlanOptions) (layers: (SourceLayer * string) list) : PlannedLayer list =
        let tell = PlanTeller.of' options layers

        let finished =
            layers
            |> List.sortBy (fun (layer, _) -> -(SourceLayer.size layer))
            |> SideBySide.runWithin
                WorkMemory.room
                (fun (layer, kept) -> if kept = "" then WorkMemory.ofPlanning options layer else 0.0)
                (SideBySide.workers options.Workers)
                (fun (layer, kept) ->
                    layer.Path,
                    if kept = "" then
                        let made = PlanMaking.withCandidates bound options layer
                        tell layer
                        made
                    else
                        { PlanMaking.planned layer with Kept = kept })
            |> dict

        [ for layer, _ in layers -> finished[layer.Path] ]

    let private measure (options: PlanOptions) =
        if options.Evaluate.IsSome then "function"
        elif options.Covariances.IsEmpty then "kernel"
        else "calibrated"

    let private planned (budget: Budget) (options: PlanOptions) (model: Net option) (source: LayerSource) =
        use _ = Mode.left ()
        let layers = List.ofSeq source.Layers
        // A function is told of whole kernels, not of rounded ones.
        let isRounded = PlanMaking.isOfBytes budget && options.Evaluate.IsNone
        let options = if isRounded then options else { options with Bits = [] }
        let kept = List.zip layers (PlanMaking.kept options layers)

        match options.Evaluate, model with
        | Some evaluate, Some model -> LayerDamage.layers options evaluate model (PlanTeller.of' options kept) kept
        | _ -> Ok(sideBySide (PlanMaking.bound budget) options kept)
        |> Result.bind (fun layers ->
            // Times are taken one by one, with nothing beside them.
            TensorNetError.collect
                [
                    for layer in layers do
                        if PlanMaking.isOfLatency budget then LayerLatency.timed options layer else Ok layer
                ])
        |> Result.bind (fun layers ->
            PlanMaking.chosen
                budget
                {
                    Input = source.Input
                    Measure = measure options
                    OtherParameters = source.OtherParameters
                    Layers = layers
                })

    /// <summary>A plan for the layers of any source under a budget: as <c>make</c>, which is this for the source of a model
    /// (<c>LayerSource.ofModel</c>).</summary>
    /// <remarks>Weights are read layer by layer, those that cannot be read or factorized stay dense, and the plan says why. Errors: layers
    /// that cannot be; <c>PathNotFound</c> for a path in the options; <c>Unsupported</c> for a budget that the smallest candidates
    /// exceed, and for a function, which wants a model.</remarks>
    /// <param name="budget">What all layers and other parameters together may cost.</param>
    /// <param name="options">The candidates.</param>
    /// <param name="source">The layers; they are not changed.</param>
    /// <example><code>CompressionPlan.ofSource (Budget.ParameterRatio 1.3) planOptions (LayerSource.ofLayers [])</code></example>
    let ofSource (budget: Budget) (options: PlanOptions) (source: LayerSource) : Result<CompressionPlan, TensorNetError list> =
        Argument.notNull (nameof budget) budget
        Argument.notNull (nameof options) options
        Argument.notNull (nameof source) source
        let paths = [ for layer in source.Layers -> layer.Path ]

        let unmodelled =
            if options.Evaluate.IsSome then
                [
                    TensorNetError.Unsupported("The function of the plan", "given", "none for a source, which is no model to call it with")
                ]
            else
                []

        match LayerSource.errors source @ unmodelled @ check (fun path -> List.contains path paths) paths options with
        | [] -> planned budget options None source
        | errors -> Error errors

    /// <summary>A plan for a model under a budget: the formats and ranks of least predicted damage.</summary>
    /// <remarks><para>Every linear layer and convolution has a curve of damage over cost from a few sizes in each family, by the exact
    /// spectra for Tucker-2 and matrices and a few sweeps of least squares, each from the last, for the rest; nothing is factorized in
    /// full. The choice walks down the convex hulls of all curves at one price, then exchanges one and two layers: its damage is above the
    /// least possible by at most one step of one hull.</para>
    /// <para>Depthwise layers, those that cannot be replaced, the first, the last and those named stay dense, and the plan says why. The
    /// covariances of the options make errors those of the layers' outputs (arXiv 2511.04494). Under a budget of latency the
    /// candidates of each family on its hull are timed, and a layer that none makes faster stays dense.</para>
    /// <para>With a function (<c>Evaluate</c>) layers are worked on one after the other: the weight of the layer becomes the kernel of the
    /// candidate, as short least squares or the singular values give it, the function is called, and the weight gets its own bits back
    /// whatever happens. What runs the model meanwhile meets that kernel. The function leaves the model as it was: one in training would
    /// move the statistics of batch norms. What it throws is an error, <c>OperationCanceledException</c> passes.</para>
    /// <para>Errors: those of <c>ModelReport.make</c>; <c>Unsupported</c> for a budget that the smallest candidates exceed, a function that
    /// throws or gives no finite number.</para></remarks>
    /// <param name="budget">What the whole model may cost.</param>
    /// <param name="options">The candidates.</param>
    /// <param name="shape">The shape of an input, images first, for which FLOPs are counted.</param>
    /// <param name="model">The model; it is not changed.</param>
    /// <example><code>CompressionPlan.make (Budget.ParameterRatio 1.3) planOptions [ 1L; 4L; 8L; 8L ] model |> orStop</code></example>
    let make
        (budget: Budget)
        (options: PlanOptions)
        (shape: int64 seq)
        (model: torch.nn.Module<Tensor, Tensor>)
        : Result<CompressionPlan, TensorNetError list> =
        Argument.notNull (nameof options) options
        ArgumentNullException.ThrowIfNull(shape, nameof shape)
        ArgumentNullException.ThrowIfNull(model, nameof model)

        match Check.alive "The model" model with
        | [] ->
            let paths = ModulePath.all model |> List.map fst

            match check (Set.ofList paths).Contains paths options with
            | [] -> LayerSource.ofModel shape model |> Result.bind (planned budget options (Some model))
            | errors -> Error errors
        | errors -> Error errors

    /// <summary>The same candidates with the choice made anew under another budget, edits of the choice undone. Errors: <c>Unsupported</c>
    /// for a budget that the smallest candidates exceed.</summary>
    /// <example><code>CompressionPlan.under (Budget.FlopRatio 1.2) plan |> orStop</code></example>
    let under (budget: Budget) (plan: CompressionPlan) : Result<CompressionPlan, TensorNetError list> =
        Argument.notNull (nameof budget) budget
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)
        PlanMaking.chosen budget plan

    let private edited
        (path: string)
        (edit: PlannedLayer -> PlannedLayer)
        (plan: CompressionPlan)
        : Result<CompressionPlan, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)

        if plan.Layers |> Seq.exists (fun layer -> layer.Path = path) then
            Ok
                { plan with
                    Layers = [ for layer in plan.Layers -> if layer.Path = path then edit layer else layer ]
                }
        else
            Error [ ModulePath.unknown path [ for layer in plan.Layers -> layer.Path ] ]

    /// <summary>The plan with a layer kept dense. Errors: <c>PathNotFound</c>.</summary>
    /// <example><code>CompressionPlan.keepDense "conv" plan |> orStop</code></example>
    let keepDense (path: string) (plan: CompressionPlan) : Result<CompressionPlan, TensorNetError list> =
        plan |> edited path (fun layer -> { layer with Chosen = -1; Kept = "asked for" })

    /// <summary>The plan with a format of one's own for a layer, with the parameters and FLOPs of the factorized layer; its damage is not
    /// known and counts as none. Errors: <c>PathNotFound</c>; <c>Format</c> where the format does not fit the kernel, which with groups is
    /// that of one group.</summary>
    /// <example><code>CompressionPlan.choose "conv" KernelAxes.Fused (Format.CP 2) plan |> orStop</code></example>
    let choose (path: string) (axes: KernelAxes) (format: Format) (plan: CompressionPlan) : Result<CompressionPlan, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)

        match plan.Layers |> Seq.tryFind (fun layer -> layer.Path = path) with
        | Some layer ->
            PlanMaking.costed layer axes format nan
            |> Result.bind (fun own -> plan |> edited path (PlanMaking.withOwn { own with Damage = 0.0 }))
        | None -> edited path id plan

    /// The choice for a layer, or its dense kernel, at so many bits: the candidate that the plan has of it, or one like that which is not
    /// rounded, whose damage by rounding counts as none.
    let private atBits (bits: int) (layer: PlannedLayer) : Result<PlannedLayer, TensorNetError list> =
        let axes, format =
            if layer.IsFactorized then
                layer.Choice.Axes, layer.Choice.Format
            else
                KernelAxes.Fused, Format.Dense

        let known bits = layer.Candidates |> Seq.tryFindIndex (fun c -> c.Axes = axes && c.Format = format && c.Bits = bits)

        let plain () =
            match known 0 with
            | Some at -> Ok layer.Candidates[at]
            | None when layer.IsFactorized && format <> Format.Dense ->
                Ok { layer.Choice with Bits = 0; Bytes = 4L * layer.Choice.Parameters }
            | None -> PlanMaking.costed layer axes format 0.0

        match known bits with
        | Some at -> Ok { layer with Chosen = at; Kept = "" }
        | None ->
            plain ()
            |> Result.bind (fun plain ->
                if bits = 0 then
                    Ok plain
                else
                    PlanMaking.atBits layer bits 0.0 plain |> Result.map (fun own -> { own with Damage = plain.Damage }))
            |> Result.map (fun own -> PlanMaking.withOwn own layer)

    /// <summary>The plan with the choice for a layer, or its dense kernel, at so many bits with a scale for each slice; 0: not rounded,
    /// which the dense kernel is as a layer that is kept dense. A candidate that the plan has is chosen with its damage; any other has
    /// that of the same network not rounded, or else of the choice, since what rounding adds is not known. Errors: <c>PathNotFound</c>;
    /// <c>Unsupported</c> for other bits than 0 and 2 to 8; <c>Format</c> for a choice that does not fit the layer.</summary>
    /// <example><code>CompressionPlan.chooseBits "conv" 4 plan |> orStop</code></example>
    let chooseBits (path: string) (bits: int) (plan: CompressionPlan) : Result<CompressionPlan, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)

        match plan.Layers |> Seq.tryFind (fun layer -> layer.Path = path) with
        | _ when bits <> 0 && (bits < 2 || bits > 8) -> Error [ TensorNetError.Unsupported("The bits", string bits, "0 or 2 to 8") ]
        | Some layer when bits = 0 && (not layer.IsFactorized || layer.Choice.Format = Format.Dense) -> keepDense path plan
        | Some layer -> atBits bits layer |> Result.bind (fun other -> plan |> edited path (fun _ -> other))
        | None -> edited path id plan

    /// <summary>What is chosen otherwise in another plan, a line for each layer.</summary>
    /// <example><code>CompressionPlan.diff plan plan // []</code></example>
    let diff (before: CompressionPlan) (after: CompressionPlan) : string list =
        ArgumentNullException.ThrowIfNull(box before, nameof before)
        ArgumentNullException.ThrowIfNull(box after, nameof after)
        let text (layer: PlannedLayer) = if layer.IsFactorized then string layer.Choice else "dense"
        let of' (plan: CompressionPlan) = [ for layer in plan.Layers -> layer.Path, text layer ]
        let old, fresh = Map.ofList (of' before), of' after

        [
            for path, choice in fresh do
                match old.TryFind path with
                | Some other when other <> choice -> $"{path}: {other} -> {choice}"
                | None -> $"{path}: nothing -> {choice}"
                | _ -> ()
            for KeyValue(path, choice) in old do
                if fresh |> List.forall (fun (other, _) -> other <> path) then
                    $"{path}: {choice} -> nothing"
        ]

    /// <summary>The plan as versioned JSON.</summary>
    /// <example><code>CompressionPlan.toJson plan</code></example>
    let toJson (plan: CompressionPlan) : string =
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)
        PlanJson.write plan

    /// <summary>The plan that <c>toJson</c> has written. Errors: <c>Spec</c>, with everything that is wrong.</summary>
    /// <example><code>CompressionPlan.ofJson (CompressionPlan.toJson plan) |> orStop</code></example>
    let ofJson (json: string) : Result<CompressionPlan, TensorNetError list> =
        PlanJson.read json |> Result.mapError (List.map TensorNetError.Spec)
