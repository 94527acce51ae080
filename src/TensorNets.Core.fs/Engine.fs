namespace TensorNets

open TorchSharp

/// TorchSharp's convolutions over one to three spatial dimensions, and the forms in which they are fast.
[<RequireQualifiedAccess>]
module internal Engine =
    /// Images with one spatial dimension are given a second one of size 1, in front.
    let private lifted (n: int) = n = 1

    /// The input with the positions around it that a convolution of the mode given cannot add by itself, and the padding left to the convolution.
    let private padder (g: ConvGeometry) : (Tensor -> Tensor) option * int64 list =
        let zeros = g.PaddingMode = PaddingModes.Zeros || g.PaddingMode = PaddingModes.Constant
        let even = g.Padding |> List.forall (fun (struct (a, b)) -> a = b)
        let none = g.Padding |> List.forall (fun (struct (a, b)) -> a = 0L && b = 0L)

        if g.Transposed || zeros && even || none then
            None, g.Padding |> List.map (fun (struct (a, _)) -> a)
        else
            let pads = g.Padding |> List.rev |> List.collect (fun (struct (a, b)) -> [ a; b ]) |> List.toArray

            let mode = if zeros then PaddingModes.Constant else g.PaddingMode
            Some(fun x -> torch.nn.functional.pad (x, pads, mode, 0.0)), List.replicate g.Kernel.Length 0L

    let padded (g: ConvGeometry) (x: Tensor) : Tensor * int64 list =
        match padder g with
        | Some pad, padding -> pad x, padding
        | None, padding -> x, padding

    /// Up to so many multiplications a plain matrix product is faster than the convolution engine's start: of several images, and of one, for which the
    /// vectorised code with a bias measures up to ten times slower.
    let private small (images: int64) = if images = 1L then 8_000_000L else 4_000_000L

    /// A convolution over the spatial dimensions given, of groups, with everything but its tensors worked out: the others are left as they are.
    /// `thin`: the engine passes float32 1×1 convolutions of few images on to plain matrix products when it has one thread. A dilation, which a kernel of
    /// one position does not feel, keeps them in the vectorised code; measured up to twice as fast.
    let private convolution
        (g: ConvGeometry)
        (dims: int list)
        (padding: int64 list)
        (groups: int64)
        (thin: bool)
        : Tensor -> (Tensor | null) -> Tensor -> Tensor =
        let n = g.Kernel.Length

        let used values other =
            [|
                if lifted n then
                    yield other
                for i in 0 .. n - 1 do
                    yield (if List.contains i dims then List.item i values else other)
            |]

        let strides, padding = used g.Stride 1L, used padding 0L
        let dilation, extra = used g.Dilation 1L, used g.OutputPadding 0L
        let thinned = if thin then [| 2L; 2L |] else dilation

        let apply: Tensor -> (Tensor | null) -> Tensor -> Tensor =
            match g.Transposed && not dims.IsEmpty, n with
            | true, 3 ->
                fun w bias x ->
                    torch.nn.functional.conv_transpose3d (
                        x,
                        w,
                        bias = bias,
                        strides = strides,
                        padding = padding,
                        output_padding = extra,
                        dilation = dilation,
                        groups = groups
                    )
            | true, _ ->
                fun w bias x ->
                    torch.nn.functional.conv_transpose2d (
                        x,
                        w,
                        bias = bias,
                        strides = strides,
                        padding = padding,
                        output_padding = extra,
                        dilation = dilation,
                        groups = groups
                    )
            | false, 3 ->
                fun w bias x ->
                    torch.nn.functional.conv3d (
                        x,
                        w,
                        bias = bias,
                        strides = strides,
                        padding = padding,
                        dilation = dilation,
                        groups = groups
                    )
            | false, _ ->
                fun w bias x ->
                    let dilation =
                        if thin && x.dtype = torch.float32 && x.device_type = DeviceType.CPU then thinned else dilation

                    torch.nn.functional.conv2d (
                        x,
                        w,
                        bias = bias,
                        strides = strides,
                        padding = padding,
                        dilation = dilation,
                        groups = groups
                    )

        if lifted n then
            fun w bias x ->
                use x = x.unsqueeze 2L
                use y = apply w bias x
                y.squeeze 2L
        else
            apply

    /// The shape of a convolution's weight: rows and columns of channels, then the kernel along the dimensions given.
    let private shapeOf (g: ConvGeometry) (dims: int list) (rows: int64) (columns: int64) =
        [|
            yield rows
            yield columns
            if lifted g.Kernel.Length then
                yield 1L
            for i in 0 .. g.Kernel.Length - 1 do
                yield (if List.contains i dims then g.Kernel[i] else 1L)
        |]

    let private product (values: int64 seq) = Seq.fold (*) 1L values

    /// Whether a convolution is to be kept in the vectorised code, were it one of float32.
    let private thin (g: ConvGeometry) (dims: int list) (images: int64) (inside: int64) (fresh: int64) =
        g.Kernel.Length = 2
        && dims |> List.forall (fun i -> g.Kernel[i] = 1L)
        && images * inside * fresh > small images

    /// The layer with a dense weight, for images of a size: weight, bias, input.
    let dense (g: ConvGeometry) (images: int64) (size: int64 list) : Tensor -> (Tensor | null) -> Tensor -> Tensor =
        if g.Kernel.IsEmpty then
            fun weight bias x -> torch.nn.functional.linear (x, weight, bias)
        else
            let dims = [ 0 .. g.Kernel.Length - 1 ]
            let pad, padding = padder g
            let thin = thin g dims images (g.InChannels * product size) g.OutChannels
            let convolve = convolution g dims padding g.Groups thin

            let shape =
                if g.Transposed then
                    shapeOf g dims g.InChannels (g.OutChannels / g.Groups)
                else
                    shapeOf g dims g.OutChannels (g.InChannels / g.Groups)

            let shaped = if lifted g.Kernel.Length then (fun (w: Tensor) -> w.view shape) else id

            match pad with
            | None -> fun weight bias x -> convolve (shaped weight) bias x
            | Some pad -> fun weight bias x -> convolve (shaped weight) bias (pad x)

    /// From this many positions on, stages keep the channels of a position side by side in memory (measured: 56×56 gains, 14×14 loses).
    let private wide = 1024L

    let private channelsLast (x: Tensor) : Tensor =
        if x.dtype = torch.float32 then
            use last = x.permute (0L, 2L, 3L, 1L)
            use moved = last.contiguous ()
            moved.permute (0L, 3L, 1L, 2L)
        else
            x

    let private size (spec: Spec) axes = axes |> List.fold (fun n axis -> n * int64 (Spec.dim axis spec)) 1L

    /// How a tensor comes into another order of its axes, by views.
    [<RequireQualifiedAccess; NoEquality; NoComparison>]
    type private Arrangement =
        /// As it lies.
        | Lying
        /// As the transpose of a matrix of so many columns, which is copied fast, and multiplied without a copy.
        | Turned of int64 * (Tensor -> Tensor)
        | Permuted of (Tensor -> Tensor)

        /// A handle of its own.
        member this.Apply(tensor: Tensor) : Tensor =
            match this with
            | Lying -> tensor.alias ()
            | Turned(_, view)
            | Permuted view -> view tensor

        /// The tensor in a shape.
        member this.Shaped(shape: int64[]) : Tensor -> Tensor =
            match this with
            | Lying -> fun tensor -> tensor.reshape shape
            | Turned(_, view)
            | Permuted view ->
                fun tensor ->
                    use turned = view tensor
                    turned.reshape shape

        /// Whether a matrix of so many rows is a view of it.
        member this.IsMatrix(rows: int64) =
            match this with
            | Lying -> true
            | Turned(columns, _) -> columns = rows
            | Permuted _ -> false

    let private arranged (spec: Spec) (from: Axis list) (target: Axis list) : Arrangement =
        let dim axis = int64 (Spec.dim axis spec)
        let long = List.filter (fun axis -> dim axis > 1L)
        let lying, wanted = long from, long target

        if lying = wanted then
            Arrangement.Lying
        else
            let front, back = List.splitAt (List.findIndex ((=) wanted.Head) lying) lying

            if back @ front = wanted then
                let rows, columns = product (Seq.map dim front), product (Seq.map dim back)

                Arrangement.Turned(
                    columns,
                    if from.Length = 2 then
                        fun tensor -> tensor.t ()
                    else
                        fun tensor ->
                            use matrix = tensor.reshape (rows, columns)
                            matrix.t ()
                )
            else
                let order = [| for axis in target -> int64 (List.findIndex ((=) axis) from) |]
                Arrangement.Permuted(fun tensor -> tensor.permute order)

    /// The channels brought to another order of their axes, or None where they are in it.
    let private reordered
        (spec: Spec)
        (images: int64)
        (spatial: int64 list)
        (from: Axis list)
        (target: Axis list)
        : (Tensor -> Tensor) option =
        if from = target then
            None
        else
            let n = from.Length
            let dims = [| for axis in from -> int64 (Spec.dim axis spec) |]
            let split = [| yield images; yield! dims; yield! spatial |]
            let joined = [| yield images; yield product dims; yield! spatial |]

            let order =
                [|
                    yield 0L
                    for axis in target do
                        yield 1L + int64 (List.findIndex ((=) axis) from)
                    for i in 0 .. spatial.Length - 1 do
                        yield int64 (1 + n + i)
                |]

            Some(fun x ->
                use parts = x.reshape split
                use turned = parts.permute order
                turned.reshape joined)

    /// Up to so many multiplications, a matrix product that reads a core as it lies is faster than a convolution that copies it first: of one image, of more.
    let private few = 8_000_000L

    let private fewer = 600_000L

    /// Up to so many positions of one image, its windows are written side by side and multiplied, as the engine would do itself.
    let private unfolded = 64L

    /// A stage for images of a size, with everything but its tensors worked out.
    [<NoEquality; NoComparison>]
    type private Step =
        {
            Reorder: (Tensor -> Tensor) option
            /// The cores' names.
            Cores: string[]
            /// Several cores' contraction.
            Plan: Plan option
            /// The tensor as a matrix, if the images are multiplied by it.
            Matrix: (Tensor -> Tensor) option
            MatrixKey: string option
            /// The product of matrix, bias and image.
            Multiply: Tensor -> (Tensor | null) -> Tensor -> Tensor
            /// The tensor as a convolution's weight.
            Weight: Tensor -> Tensor
            WeightKey: string option
            Convolve: Tensor -> (Tensor | null) -> Tensor -> Tensor
        }

    /// The tensor of a stage as a convolution's weight, repeated along axes that pass by, and whether that is a view.
    let private weightOf (g: ConvGeometry) (spec: Spec) (stage: Stage) (from: Axis list) (ordered: Axis list) : (Tensor -> Tensor) * bool =
        let summed, fresh = size spec stage.Summed, size spec stage.New
        let rows, columns = if g.Transposed && not stage.Dims.IsEmpty then summed, fresh else fresh, summed
        let arrangement = arranged spec from ordered
        let ones = [| for axis in stage.Kept -> if stage.Carried axis then int64 (Spec.dim axis spec) else 1L |]
        let full = [| for axis in stage.Kept -> int64 (Spec.dim axis spec) |]
        let shape = shapeOf g stage.Dims (product full * rows) columns
        let kernel = product shape[2..]

        let shaped =
            if ones = full then
                arrangement.Shaped shape
            else
                let lone = Array.append ones [| rows; columns; kernel |]
                let wide = Array.append full [| rows; columns; kernel |]

                fun tensor ->
                    use turned = arrangement.Apply tensor
                    use lone = turned.reshape lone
                    use wide = lone.expand wide
                    wide.reshape shape

        shaped, arrangement.IsLying && ones = full

    /// A stage as a product of matrices, where that is faster: the tensor as a matrix, whether that is a view, and the product.
    let private multiplied
        (g: ConvGeometry)
        (spec: Spec)
        (stage: Stage)
        (from: Axis list)
        (ordered: Axis list)
        (padding: int64 list)
        (images: int64)
        (before: int64 list)
        (after: int64 list)
        =
        let summed, fresh = size spec stage.Summed, size spec stage.New
        let multiplications = images * summed * product before * fresh
        let kernel = stage.Dims |> List.map (fun i -> g.Kernel[i])
        let pointwise = stage.Dims.IsEmpty && multiplications <= (if images = 1L then few else fewer)

        let windows =
            images = 1L
            && g.Kernel.Length = 2
            && stage.Dims = [ 0; 1 ]
            && not g.Transposed
            && product before <= unfolded

        if size spec stage.Kept = 1L && (pointwise || windows) then
            let arrangement = arranged spec from ordered
            let matrix = arrangement.Shaped [| fresh; summed * product kernel |]
            let out = [| yield images; yield fresh; yield! after |]

            let columns: Tensor -> Tensor =
                if windows then
                    let pair (values: int64 list) = struct (values[0], values[1])
                    let kernel, dilation = pair g.Kernel, pair g.Dilation
                    let padding, stride = pair padding, pair g.Stride

                    fun x ->
                        use all = torch.nn.functional.unfold (x, kernel, dilation, padding, stride)
                        all.squeeze 0L
                else
                    let flat =
                        [|
                            if images <> 1L then
                                yield images
                            yield summed
                            yield product before
                        |]

                    fun x -> x.reshape flat

            let multiply (matrix: Tensor) (bias: Tensor | null) (x: Tensor) =
                use columns = columns x

                use y =
                    match bias with
                    | null -> matrix.matmul columns
                    | bias ->
                        use bias = bias.unsqueeze 1L

                        if images = 1L then
                            bias.addmm (matrix, columns)
                        else
                            use y = matrix.matmul columns
                            y.plus bias

                y.reshape out

            Some(matrix, arrangement.IsMatrix fresh, multiply)
        else
            None

    /// Stage after stage, for images of a size: kept weights, cores by name, bias, input.
    let staged
        (g: ConvGeometry)
        (roles: Roles)
        (spec: Spec)
        (stages: Stage list)
        (images: int64)
        (input: int64 list)
        : WeightCache option -> (string -> Tensor) -> (Tensor | null) -> Tensor -> Tensor =
        let pad, padding = padder g
        let outputs = roles.Group @ roles.Outputs

        /// The positions once some dimensions have been run over.
        let positions (finished: int list) =
            input
            |> List.mapi (fun i n ->
                let struct (a, b) = g.Padding[i]

                if List.contains i finished then ConvGeometry.along g i n
                elif pad.IsSome then n + a + b
                else n)

        let finished = stages |> List.scan (fun all stage -> stage.Dims @ all) []
        let states = (roles.Group @ roles.Inputs) :: List.map _.After stages

        let steps =
            [|
                for i, stage in List.indexed stages do
                    let before, after = positions finished[i], positions finished[i + 1]
                    let cores = [| for core in stage.Weight.Spec.Cores -> core.Name |]
                    let one = cores.Length = 1 && stage.Weight.Steps.IsEmpty
                    let from = if one then stage.Weight.Spec.Cores.Head.Axes else stage.Weight.Spec.Output
                    let shared = stage.Kept |> List.filter stage.Carried

                    let kernel =
                        roles.Kernel
                        |> List.map fst
                        |> List.filter (fun axis -> List.contains axis stage.Weight.Spec.Output)

                    // A stage that runs over no dimension is no transposed convolution, which would have the channels the other way round.
                    let plain = shared @ stage.New @ stage.Summed @ kernel

                    let ordered =
                        if g.Transposed && not stage.Dims.IsEmpty then shared @ stage.Summed @ stage.New @ kernel else plain

                    let weight, isView = weightOf g spec stage from ordered
                    let product' = multiplied g spec stage from plain padding images before after
                    let groups = size spec stage.Kept
                    let inside = size spec stage.Before * product before
                    let thin = thin g stage.Dims images inside (groups * size spec stage.New)

                    {
                        Reorder = reordered spec images before states[i] stage.Before
                        Cores = cores
                        Plan = if one then None else Some stage.Weight
                        Matrix = product' |> Option.map (fun (matrix, _, _) -> matrix)
                        MatrixKey =
                            match product' with
                            | Some(_, isView, _) when one && isView -> None
                            | _ -> Some("matrix;" + stage.Key)
                        Multiply =
                            match product' with
                            | Some(_, _, multiply) -> multiply
                            | None -> fun _ _ x -> x
                        Weight = weight
                        WeightKey = if one && isView then None else Some("weight;" + stage.Key)
                        Convolve = convolution g stage.Dims padding groups thin
                    }
            |]

        let last = reordered spec images (positions (List.last finished)) (List.last states) outputs
        let isWide = g.Kernel.Length = 2 && product (positions []) >= wide
        let isMultiplied = steps |> Array.exists _.Matrix.IsSome

        let contracted =
            stages |> List.map _.Weight |> List.indexed |> List.filter (fun (i, _) -> steps[i].Plan.IsSome)

        let joint = List.map snd contracted

        let slots =
            [|
                for i in 0 .. steps.Length - 1 -> contracted |> List.tryFindIndex (fun (j, _) -> i = j) |> Option.defaultValue -1
            |]

        let across = [| yield 1L; yield -1L; yield! Seq.replicate g.Kernel.Length 1L |]

        fun cache lookup bias x ->
            let run plans = Contraction.runMany plans x.dtype x.device lookup
            let mutable all: Tensor[] | null = null

            let mutable y = x

            let advance (before: Tensor) (after: Tensor) =
                if not (obj.ReferenceEquals(before, x) || obj.ReferenceEquals(before, after)) then
                    before.Dispose()

                after

            match pad with
            | Some pad -> y <- pad y
            | None -> ()

            if isWide then
                y <- advance y (channelsLast y)

            let lies = isMultiplied && y.is_contiguous ()

            for i in 0 .. steps.Length - 1 do
                let step = steps[i]

                match step.Reorder with
                | Some reorder -> y <- advance y (reorder y)
                | None -> ()

                let bias = if i = steps.Length - 1 && last.IsNone then bias else null

                let form, key =
                    match step.Matrix with
                    | Some matrix when lies -> matrix, step.MatrixKey
                    | _ -> step.Weight, step.WeightKey

                let tensor =
                    match cache, key with
                    | Some cache, Some key ->
                        let make () =
                            match step.Plan with
                            | None -> form (lookup step.Cores[0])
                            | Some plan -> form ((List.head (run [ plan ])).contiguous())

                        cache.Take(key, Array.map lookup step.Cores, make)
                    | _ ->
                        match step.Plan with
                        | None -> form (lookup step.Cores[0])
                        | Some _ ->
                            let all =
                                match all with
                                | null ->
                                    let made = List.toArray (run joint)
                                    all <- made
                                    made
                                | made -> made

                            // Made contiguous while it is a matrix, for which there is a fast transposition; as a convolution's weight it would be copied slowly.
                            form (all[slots[i]].contiguous())

                y <- advance y ((if lies && step.Matrix.IsSome then step.Multiply else step.Convolve) tensor bias y)

            match last with
            | None -> ()
            | Some last ->
                y <- advance y (last y)

                match bias with
                | null -> ()
                | bias -> y <- advance y (y.plus (bias.view across))

            if x.is_contiguous () && not (y.is_contiguous ()) then y.contiguous () else y
