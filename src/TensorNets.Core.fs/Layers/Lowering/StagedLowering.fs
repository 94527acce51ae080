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
        /// The name under which a form's weight is kept.
        Key: string
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

    /// Whether a stage runs over many positions in groups, which the engine does faster with the channels of a position side by side; but
    /// not, on several threads, forward and backward (measured with two: a tenth of a training step).
    let private prefersLast (kept: bool) (g: ConvGeometry) (spec: Spec) (stage: Stage) (positions: int64 list) =
        g.Kernel.Length = 2
        && Spec.size stage.Kept spec > 1L
        && not stage.Dims.IsEmpty
        && TorchConvolution.product positions >= wide
        && (kept || torch.get_num_threads () = 1)

    /// A stage from images of some positions to others.
    let private step
        (g: ConvGeometry)
        (roles: AxisRoles)
        (spec: Spec)
        (images: int64)
        (padding: int64 list)
        (stage: Stage)
        (output: Channels)
        (state: Axis list)
        (before: int64 list)
        (after: int64 list)
        : Step =
        let tensor = stage.Weight.Spec
        let isCore = tensor.Cores.Length = 1 && stage.Weight.Steps.IsEmpty
        let lying = if isCore then tensor.Cores.Head.Axes else tensor.Output
        let shared = stage.Kept |> List.filter stage.Carried
        let kernel = roles.Kernel |> List.map fst |> List.filter (fun axis -> List.contains axis tensor.Output)

        // A stage that runs over no dimension is no transposed convolution, which would have the channels the other way round.
        let plain = AxisOrder.between spec lying (shared @ stage.New @ stage.Summed @ kernel)

        let ordered =
            if g.Transposed && not stage.Dims.IsEmpty then
                AxisOrder.between spec lying (shared @ stage.Summed @ stage.New @ kernel)
            else
                plain

        let groups = Spec.size stage.Kept spec
        let inside = Spec.size stage.Before spec * TorchConvolution.product before
        let thin = TorchConvolution.thin g stage.Dims images inside (groups * Spec.size stage.New spec)

        {
            Reorder = AxisOrder.channels spec images before state stage.Before
            Cores = [| for core in tensor.Cores -> core.Name |]
            Plan = if isCore then None else Some stage.Weight
            Convolution = StageOperator.convolved g spec stage ordered (TorchConvolution.convolution g stage.Dims padding groups thin)
            Product = StageOperator.multiplied g spec stage plain padding images before after
            Blocks =
                StageOperator.blocks spec stage plain output images before
                |> Option.orElseWith (fun () ->
                    StageOperator.window g spec stage padding images before
                    |> Option.map (StageOperator.planes spec stage plain))
            Key = stage.Key
        }

    /// Stage after stage, for images of a size: kept weights, cores by name, bias, input. `kept`: weights are kept, as while no gradient is
    /// needed.
    let run
        (kept: bool)
        (g: ConvGeometry)
        (roles: AxisRoles)
        (spec: Spec)
        (stages: Stage list)
        (images: int64)
        (input: int64 list)
        : WeightCache option -> (string -> Tensor) -> (Tensor | null) -> Tensor -> Tensor =
        let pad, padding = TorchConvolution.padder g
        let outputs = roles.Group @ roles.Outputs

        /// The positions once some dimensions have been run over.
        let positions (finished: int list) =
            input
            |> List.mapi (fun i n ->
                let struct (a, b) = g.Padding[i]

                if List.contains i finished then ConvGeometry.along g i n
                elif pad.IsSome then n + a + b
                else n)

        let sizes = stages |> List.scan (fun all stage -> stage.Dims @ all) [] |> List.map positions
        let states = (roles.Group @ roles.Inputs) :: List.map _.After stages

        let steps =
            [|
                for i, stage in List.indexed stages ->
                    let output =
                        match List.tryItem (i + 1) stages with
                        | Some next when
                            next.Before = stage.After
                            && prefersLast kept g spec next sizes[i + 1]
                            && (StageOperator.window g spec next padding images sizes[i + 1]).IsNone
                            ->
                            Channels.Last
                        | _ -> Channels.First

                    step g roles spec images padding stage output states[i] sizes[i] sizes[i + 1]
            |]

        let last = AxisOrder.channels spec images (List.last sizes) (List.last states) outputs
        let isWide = g.Kernel.Length = 2 && TorchConvolution.product sizes.Head >= wide
        let isMultiplied = steps |> Array.exists _.Product.IsSome

        // Where the engine makes the first stage of many positions, channels lie side by side, and it makes the others too.
        let isBlocked = steps[0].Blocks.IsSome || not isWide && steps |> Array.exists _.Blocks.IsSome

        // Contracted together, since stages may share what they are made from.
        let plans = steps |> Seq.choose _.Plan |> List.ofSeq
        let slots = steps |> Array.scan (fun n step -> if step.Plan.IsSome then n + 1 else n) 0
        let across = [| yield 1L; yield -1L; yield! Seq.replicate g.Kernel.Length 1L |]

        fun cache lookup bias x ->
            let contract plans = Contraction.runMany plans x.dtype x.device lookup
            let all = lazy (List.toArray (contract plans))

            /// The weight of a step in a form, from what is kept where that is not a view of a core.
            let weight (i: int) (name: string) (form: StageOperator) : Tensor =
                let step = steps[i]

                // Made contiguous while it is a matrix, for which there is a fast transposition; as a convolution's weight it would be
                // copied slowly.
                let shaped (tensor: Tensor) = form.Shaped(tensor.contiguous ())

                match cache, step.Plan with
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
                | None, Some _ -> shaped all.Value[slots[i]]

            let advance (before: Tensor) (after: Tensor) =
                if not (obj.ReferenceEquals(before, x) || obj.ReferenceEquals(before, after)) then
                    before.Dispose()

                after

            let moved (move: (Tensor -> Tensor) option) (y: Tensor) =
                match move with
                | Some move -> advance y (move y)
                | None -> y

            let mutable y = moved pad x

            let isTaken = isBlocked && Kernels.takes x

            if isWide && not isTaken then
                y <- advance y (channelsLast y)

            let lies = isMultiplied && y.is_contiguous ()

            for i in 0 .. steps.Length - 1 do
                let step = steps[i]
                y <- moved step.Reorder y
                let bias = if i = steps.Length - 1 && last.IsNone then bias else null

                match step.Blocks, step.Product with
                | Some form, _ when isTaken -> y <- advance y (form.Apply (weight i "matrix;" form) bias y)
                | _, Some form when lies -> y <- advance y (form.Apply (weight i "matrix;" form) bias y)
                | _ -> y <- advance y (step.Convolution.Apply (weight i "weight;" step.Convolution) bias y)

            if last.IsSome then
                y <- moved last y

                match bias with
                | null -> ()
                | bias -> y <- advance y (y.plus (bias.view across))

            if x.is_contiguous () && not (y.is_contiguous ()) then y.contiguous () else y
