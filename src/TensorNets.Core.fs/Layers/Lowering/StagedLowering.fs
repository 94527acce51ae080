namespace TensorNets

open TorchSharp

/// A stage for images of a size, with everything but its tensors worked out.
[<NoEquality; NoComparison>]
type private Step =
    {
        Reorder: (Tensor -> Tensor) option
        /// The cores' names.
        Cores: string[]
        /// Several cores' contraction.
        Plan: Plan option
        Convolution: StageOperator
        /// As a product of matrices, where that is faster for images that lie side by side.
        Product: StageOperator option
        /// As a product by blocks, for float32 on processors that have it.
        Blocks: StageOperator option
        /// The name under which the weight of an operator is cached.
        Key: string
    }

/// All stages of a layer for images of a size.
[<NoEquality; NoComparison>]
type private StepSequence =
    {
        Steps: Step[]
        /// What the convolutions cannot pad themselves.
        Pad: (Tensor -> Tensor) option
        /// The channels that come out brought to their order, where they are not in it.
        Last: (Tensor -> Tensor) option
        /// Whether there are enough positions for libtorch to be faster with the channels of a position side by side.
        IsWide: bool
        /// Whether the kernels take the stages over, where they take the input.
        IsBlocked: bool
        /// The shape of a bias that is added to the images that come out.
        BiasShape: int64[]
    }

/// Stages applied one after the other, each in the form that is fast for the images.
[<RequireQualifiedAccess>]
module internal StagedLowering =
    /// Positions from which stages keep the channels of a position side by side in memory.
    let private wide = Kernels.tuning.WidePositions

    let private channelsLast (x: Tensor) : Tensor =
        if x.dtype = torch.float32 then
            use last = x.permute (0L, 2L, 3L, 1L)
            use moved = last.contiguous ()
            moved.permute (0L, 3L, 1L, 2L)
        else
            x

    /// Whether a stage runs over many positions in groups, which libtorch does faster with the channels of a position side by side; but
    /// not, on several threads, forward and backward (measured with two: a tenth of a training step).
    let private prefersLast (place: PlacedStage) =
        place.Layer.Geometry.Kernel.Length = 2
        && place.Groups > 1L
        && not place.Stage.Dims.IsEmpty
        && place.Positions >= wide
        && (place.Layer.Setting.CachesWeights || torch.get_num_threads () = 1)

    /// A stage that reads channels in the order of `state`.
    let private step (place: PlacedStage) (output: Channels) (state: Axis list) : Step =
        let layer, stage = place.Layer, place.Stage
        let tensor = stage.Weight.Spec
        let isCore = tensor.Cores.Length = 1 && stage.Weight.Steps.IsEmpty
        let given = if isCore then tensor.Cores.Head.Axes else tensor.Output
        let shared = stage.PassThrough |> List.filter stage.Carried

        let kernel =
            layer.Roles.Kernel |> List.map fst |> List.filter (fun axis -> List.contains axis tensor.Output)

        // A stage that runs over no dimension is no transposed convolution, which would have the channels the other way round.
        let plain = AxisOrder.between layer.Spec given (shared @ stage.New @ stage.Summed @ kernel)

        let ordered =
            if layer.Geometry.Transposed && not stage.Dims.IsEmpty then
                AxisOrder.between layer.Spec given (shared @ stage.Summed @ stage.New @ kernel)
            else
                plain

        {
            Reorder = AxisOrder.channels layer.Spec layer.Images place.Before state stage.Before
            Cores = [| for core in tensor.Cores -> core.Name |]
            Plan = if isCore then None else Some stage.Weight
            Convolution = StageOperator.convolved place ordered
            Product = StageOperator.multiplied place plain
            Blocks =
                StageOperator.blocks place plain output
                |> Option.orElseWith (fun () -> StageOperator.window place |> Option.map (StageOperator.planes place plain))
            Key = stage.Key
        }

    let private prepared (layer: SizedLayer) (stages: Stage list) : StepSequence =
        let g, roles = layer.Geometry, layer.Roles
        let pad, padding = TorchConvolution.padder g

        /// The positions once some dimensions have been run over.
        let positions (finished: int list) =
            layer.Input
            |> List.mapi (fun i n ->
                let struct (a, b) = g.Padding[i]

                if List.contains i finished then ConvGeometry.along g i n
                elif pad.IsSome then n + a + b
                else n)

        let sizes = stages |> List.scan (fun all stage -> stage.Dims @ all) [] |> List.map positions
        let states = (roles.Group @ roles.Inputs) :: (stages |> List.map _.After)

        let places =
            List.zip stages (List.pairwise sizes)
            |> List.map (fun (stage, (before, after)) ->
                { Layer = layer; Stage = stage; Padding = padding; Before = before; After = after })

        let steps =
            [|
                for i, place in List.indexed places do
                    let output =
                        match List.tryItem (i + 1) places with
                        | Some next when next.Stage.Before = place.Stage.After && prefersLast next && (StageOperator.window next).IsNone ->
                            Channels.Last
                        | _ -> Channels.First

                    step place output states[i]
            |]

        let isWide = g.Kernel.Length = 2 && TorchConvolution.product sizes.Head >= wide

        {
            Steps = steps
            Pad = pad
            Last = AxisOrder.channels layer.Spec layer.Images (List.last sizes) (List.last states) (roles.Group @ roles.Outputs)
            IsWide = isWide
            // Where libtorch makes the first stage of many positions, channels lie side by side, and it makes the others too.
            IsBlocked = steps[0].Blocks.IsSome || not isWide && steps |> Array.exists _.Blocks.IsSome
            BiasShape = [| yield 1L; yield -1L; yield! Seq.replicate g.Kernel.Length 1L |]
        }

    /// The weight of a step in a form, by the name of the form: from the cache where that is not a view of a core.
    let private weights (sequence: StepSequence) (tensors: LayerWeights) (x: Tensor) =
        let lookup = tensors.Lookup
        let contract plans = Contraction.runMany plans x.dtype x.device lookup

        // Contracted together, since stages may share what they are made from.
        let all = lazy (contract (sequence.Steps |> Seq.choose _.Plan |> List.ofSeq) |> List.toArray)
        let slot i = sequence.Steps |> Seq.take i |> Seq.sumBy (fun step -> if step.Plan.IsSome then 1 else 0)

        fun (i: int) (name: string) (form: StageOperator) ->
            let step = sequence.Steps[i]

            // Made contiguous while it is a matrix, for which there is a fast transposition; as a convolution's weight it would be
            // copied slowly.
            let shaped (tensor: Tensor) : Tensor = form.Shaped(tensor.contiguous ())

            match tensors.Cache, step.Plan with
            | _, None when form.IsView -> form.Shaped(lookup step.Cores[0])
            | Some cache, plan ->
                cache.Take(
                    name + step.Key,
                    Array.map lookup step.Cores,
                    fun () ->
                        match plan with
                        | None -> form.Shaped(lookup step.Cores[0])
                        | Some plan -> shaped (List.head (contract [ plan ]))
                )
            | None, None -> form.Shaped(lookup step.Cores[0])
            | None, Some _ -> shaped all.Value[slot i]

    let private applied (sequence: StepSequence) (tensors: LayerWeights) (x: Tensor) : Tensor =
        let weight = weights sequence tensors x

        let advance (before: Tensor) (after: Tensor) =
            if not (obj.ReferenceEquals(before, x) || obj.ReferenceEquals(before, after)) then
                before.Dispose()

            after

        let moved (move: (Tensor -> Tensor) option) (y: Tensor) =
            match move with
            | Some move -> advance y (move y)
            | None -> y

        let mutable y = moved sequence.Pad x

        let isTaken = sequence.IsBlocked && Kernels.takes x

        if sequence.IsWide && not isTaken then
            y <- advance y (channelsLast y)

        let lies = sequence.Steps |> Array.exists _.Product.IsSome && y.is_contiguous ()

        for i in 0 .. sequence.Steps.Length - 1 do
            let step = sequence.Steps[i]
            y <- moved step.Reorder y
            let bias = if i = sequence.Steps.Length - 1 && sequence.Last.IsNone then tensors.Bias else null

            match step.Blocks, step.Product with
            | Some form, _ when isTaken -> y <- advance y (form.Apply (weight i "matrix;" form) bias y)
            | _, Some form when lies -> y <- advance y (form.Apply (weight i "matrix;" form) bias y)
            | _ -> y <- advance y (step.Convolution.Apply (weight i "weight;" step.Convolution) bias y)

        if sequence.Last.IsSome then
            y <- moved sequence.Last y

            match tensors.Bias with
            | null -> ()
            | bias -> y <- advance y (y.plus (bias.view sequence.BiasShape))

        if x.is_contiguous () && not (y.is_contiguous ()) then y.contiguous () else y

    /// Stage after stage, for images of a size.
    let run (layer: SizedLayer) (stages: Stage list) : LayerWeights -> Tensor -> Tensor = applied (prepared layer stages)
