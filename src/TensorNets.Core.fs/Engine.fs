namespace TensorNets

open TorchSharp

/// TorchSharp's convolutions over one to three spatial dimensions, and the forms in which they are fast.
[<RequireQualifiedAccess>]
module internal Engine =
    /// Images with one spatial dimension are given a second one of size 1, in front.
    let private lifted (n: int) = n = 1

    /// The input with the positions around it that a convolution of the mode given cannot add by itself, and the padding left to the convolution.
    let padded (g: ConvGeometry) (x: Tensor) : Tensor * int64 list =
        let zeros = g.PaddingMode = PaddingModes.Zeros || g.PaddingMode = PaddingModes.Constant
        let even = g.Padding |> List.forall (fun (struct (a, b)) -> a = b)
        let none = g.Padding |> List.forall (fun (struct (a, b)) -> a = 0L && b = 0L)

        if g.Transposed || zeros && even || none then
            x, g.Padding |> List.map (fun (struct (a, _)) -> a)
        else
            let pads = g.Padding |> List.rev |> List.collect (fun (struct (a, b)) -> [ a; b ]) |> List.toArray

            let mode = if zeros then PaddingModes.Constant else g.PaddingMode
            torch.nn.functional.pad (x, pads, mode, 0.0), List.replicate g.Kernel.Length 0L

    /// Below this many multiplications a plain matrix product is faster than the convolution engine's start.
    let private small = 4_000_000L

    /// The engine passes float32 1×1 convolutions of few images on to plain matrix products when it has one thread. A dilation, which a kernel of one
    /// position does not feel, keeps them in the vectorised code; measured up to twice as fast.
    let private dilations (x: Tensor) (weight: Tensor) (dims: int) (dilation: int64[]) =
        let pointwise = Seq.forall (fun i -> weight.shape[i] = 1L) (seq { 2 .. int (weight.dim ()) - 1 })

        if
            pointwise
            && dims = 2
            && x.dtype = torch.float32
            && x.device_type = DeviceType.CPU
            && x.numel () * weight.shape[0] > small
        then
            [| 2L; 2L |]
        else
            dilation

    /// One convolution over the spatial dimensions given, of groups; the others are left as they are. Padding and bias are those given.
    let convolve
        (g: ConvGeometry)
        (dims: int list)
        (padding: int64 list)
        (groups: int64)
        (weight: Tensor)
        (bias: Tensor | null)
        (x: Tensor)
        : Tensor =
        let n = g.Kernel.Length
        let used values other = [| for i in 0 .. n - 1 -> if List.contains i dims then List.item i values else other |]
        let kernel = used g.Kernel 1L
        let w = weight.reshape [| yield weight.shape[0]; yield weight.shape[1]; yield! kernel |]
        let lift (values: int64[]) other = if lifted n then [| yield other; yield! values |] else values
        let w = if lifted n then w.unsqueeze 2L else w
        let input = if lifted n then x.unsqueeze 2L else x
        let strides = lift (used g.Stride 1L) 1L
        let padding = lift (used padding 0L) 0L
        let dilation = lift (used g.Dilation 1L) 1L
        let extra = lift (used g.OutputPadding 0L) 0L

        let y =
            match g.Transposed && not dims.IsEmpty, n with
            | true, 3 ->
                torch.nn.functional.conv_transpose3d (
                    input,
                    w,
                    bias = bias,
                    strides = strides,
                    padding = padding,
                    output_padding = extra,
                    dilation = dilation,
                    groups = groups
                )
            | true, _ ->
                torch.nn.functional.conv_transpose2d (
                    input,
                    w,
                    bias = bias,
                    strides = strides,
                    padding = padding,
                    output_padding = extra,
                    dilation = dilation,
                    groups = groups
                )
            | false, 3 ->
                torch.nn.functional.conv3d (
                    input,
                    w,
                    bias = bias,
                    strides = strides,
                    padding = padding,
                    dilation = dilation,
                    groups = groups
                )
            | false, _ ->
                torch.nn.functional.conv2d (
                    input,
                    w,
                    bias = bias,
                    strides = strides,
                    padding = padding,
                    dilation = dilations input w 2 dilation,
                    groups = groups
                )

        if lifted n then y.squeeze 2L else y

    /// The layer with a dense weight.
    let dense (g: ConvGeometry) (weight: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        if g.Kernel.IsEmpty then
            torch.nn.functional.linear (x, weight, bias)
        else
            let x, padding = padded g x
            convolve g [ 0 .. g.Kernel.Length - 1 ] padding g.Groups weight bias x

    /// From this many positions on, stages keep the channels of a position side by side in memory (measured: 56×56 gains, 14×14 loses).
    let private wide = 1024L

    let channelsLast (x: Tensor) : Tensor =
        if x.dim () = 4L && x.dtype = torch.float32 && x.shape[2] * x.shape[3] >= wide then
            x.permute(0L, 2L, 3L, 1L).contiguous().permute(0L, 3L, 1L, 2L)
        else
            x

    let private size (spec: Spec) axes = axes |> List.fold (fun n axis -> n * int64 (Spec.dim axis spec)) 1L

    /// The channels brought to another order of their axes.
    let private reordered (spec: Spec) (from: Axis list) (target: Axis list) (x: Tensor) =
        if from = target then
            x
        else
            let spatial = x.shape[2..]
            let dims = [| for axis in from -> int64 (Spec.dim axis spec) |]
            let order = [| for axis in target -> 1L + int64 (List.findIndex ((=) axis) from) |]
            let n = int64 from.Length

            x
                .reshape([| yield x.shape[0]; yield! dims; yield! spatial |])
                .permute([| yield 0L; yield! order; yield! Seq.init spatial.Length (fun i -> 1L + n + int64 i) |])
                .reshape(x.shape)

    /// The weight of a stage: repeated along axes that pass by, two axes of channels, and the kernel.
    let private weightOf (g: ConvGeometry) (spec: Spec) (stage: Stage) (tensor: Tensor) =
        let kept axes = size spec axes
        let summed, fresh = size spec stage.Summed, size spec stage.New
        let rows, columns = if g.Transposed && not stage.Dims.IsEmpty then summed, fresh else fresh, summed
        let kernel = tensor.numel () / (kept (stage.Kept |> List.filter stage.Carried) * summed * fresh)

        let inner =
            if g.Transposed && stage.Dims.IsEmpty then
                // Its stage is no transposed convolution, which would have the channels the other way round.
                tensor.reshape(-1L, summed, fresh, kernel).transpose(1L, 2L)
            else
                tensor.reshape (-1L, rows, columns, kernel)

        let ones = [| for axis in stage.Kept -> if stage.Carried axis then int64 (Spec.dim axis spec) else 1L |]
        let full = [| for axis in stage.Kept -> int64 (Spec.dim axis spec) |]

        let spread =
            if ones = full then
                inner
            else
                inner.reshape(Array.append ones [| rows; columns; kernel |]).expand(Array.append full [| rows; columns; kernel |])

        spread.reshape (kept stage.Kept * rows, columns, kernel)

    /// Up to so many multiplications for one image, a matrix product that reads a core as it lies is faster than a convolution that copies it first.
    let private few = 8_000_000L

    /// A stage of one image at one kernel position: a product of matrices.
    let private product (g: ConvGeometry) (spec: Spec) (stage: Stage) (tensor: Tensor) (bias: Tensor | null) (x: Tensor) =
        let summed, fresh = size spec stage.Summed, size spec stage.New

        let matrix = if g.Transposed then tensor.reshape(summed, fresh).t() else tensor.reshape (fresh, summed)

        let y = matrix.matmul (x.reshape (summed, -1L))
        let y = if isNull bias then y else y.plus ((nonNull bias).unsqueeze 1L)
        y.reshape (Array.append [| 1L; fresh |] x.shape[2..])

    /// Stage after stage.
    let staged
        (g: ConvGeometry)
        (roles: Roles)
        (spec: Spec)
        (stages: Stage list)
        (cache: WeightCache option)
        (lookup: string -> Tensor)
        (bias: Tensor | null)
        (x: Tensor)
        =
        let run plans = Contraction.runMany plans x.dtype x.device lookup
        let all = lazy (stages |> List.map _.Weight |> run |> List.toArray)

        let own i (stage: Stage) = if cache.IsNone then all.Value[i] else run [ stage.Weight ] |> List.exactlyOne

        /// The tensor of a stage in a form that takes more than a view of a core.
        let kept i (stage: Stage) (form: string) (shaped: Tensor -> Tensor) =
            match cache with
            | None -> shaped (own i stage)
            | Some cache ->
                let cores = [ for core in stage.Weight.Spec.Cores -> lookup core.Name ]
                cache.Take(form + stage.Key, cores, (fun () -> shaped (own i stage)))

        let first, padding = padded g x
        let mutable y = channelsLast first
        let mutable axes = roles.Group @ roles.Inputs
        let outputs = roles.Group @ roles.Outputs

        for i, stage in List.indexed stages do
            y <- reordered spec axes stage.Before y
            let isLast = i = stages.Length - 1 && stage.After = outputs
            let bias = if isLast then bias else null

            y <-
                match stage.Dims, size spec stage.Kept, y.shape[0] * y.numel () * size spec stage.New with
                | [], 1L, products when y.shape[0] = 1L && products <= few && y.is_contiguous () ->
                    let matrix =
                        match stage.Weight.Spec.Cores with
                        | [ _ ] -> own i stage
                        | _ -> kept i stage "matrix;" id

                    product g spec stage matrix bias y
                | dims, groups, _ ->
                    // Made contiguous while it is a matrix, for which there is a fast transposition; as a convolution's weight it would be copied slowly.
                    let weight = kept i stage "weight;" (fun tensor -> weightOf g spec stage (tensor.contiguous ()))
                    convolve g dims padding groups weight bias y

            axes <- stage.After

        if axes <> outputs then
            y <- reordered spec axes outputs y

            if not (isNull bias) then
                y <- y.plus ((nonNull bias).view [| yield 1L; yield -1L; yield! Seq.replicate g.Kernel.Length 1L |])

        if x.is_contiguous () then y.contiguous () else y
