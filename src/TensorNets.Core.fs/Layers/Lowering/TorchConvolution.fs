namespace TensorNets

open TorchSharp

/// TorchSharp's convolutions over one to three spatial dimensions, with everything but their tensors worked out.
[<RequireQualifiedAccess>]
module internal TorchConvolution =
    /// Images with one spatial dimension are given a second one of size 1, in front.
    let private lifted (n: int) = n = 1

    /// The input with the positions around it that a convolution of the mode given cannot add by itself, and the padding left to the
    /// convolution.
    let padder (g: ConvGeometry) : (Tensor -> Tensor) option * int64 list =
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

    /// Whether a convolution over some of at most two dimensions has stride and dilation 1, and with that a kernel of several positions.
    let private isUnit (g: ConvGeometry) (dims: int list) =
        g.Kernel.Length <= 2
        && not g.Transposed
        && dims |> List.forall (fun i -> g.Stride[i] = 1L && g.Dilation[i] = 1L)

    let private isSpatial (g: ConvGeometry) (dims: int list) = isUnit g dims && dims |> List.exists (fun i -> g.Kernel[i] > 1L)

    /// Whether a convolution over some dimensions is one of a kernel for each channel, by their numbers of one group, at every position of
    /// a plane.
    let isPlane (g: ConvGeometry) (dims: int list) (s: int64) (t: int64) = g.Kernel.Length = 2 && s * t = 1L && isUnit g dims

    /// The planes of a convolution over some of two dimensions, of images of a size.
    let window (g: ConvGeometry) (dims: int list) (padding: int64 list) (size: int64 list) : ConvWindow =
        let along i none (values: int64 list) = if List.contains i dims then int values[i] else none

        {
            Height = int size[0]
            Width = int size[1]
            Rows = along 0 1 g.Kernel
            Columns = along 1 1 g.Kernel
            Above = along 0 0 padding
            Left = along 1 0 padding
        }

    /// What a kernel may be asked for to make a convolution over some dimensions of float32 images of a size.
    let kernelCall (g: ConvGeometry) (dims: int list) (images: int64) (work: ConvWork) (size: int64 list) : ConvCall voption =
        let s, t = int64 work.Summed, int64 work.Fresh

        if not (isSpatial g dims) || g.Kernel.Length < 2 then
            if work.Groups = 1.0 && work.Kernel = 1.0 then
                ValueSome(ConvCall.Pointwise(images, s, t, int64 work.Applied / max 1L images))
            else
                ValueNone
        else
            let pad, padding = padder g
            let padded = List.map2 (fun n (struct (a, b)) -> if pad.IsSome then n + a + b else n) size g.Padding
            let window = window g dims padding padded

            if isPlane g dims s t then ValueSome(ConvCall.Depthwise(images, int64 work.Groups, window))
            elif work.Groups > 1.0 then ValueNone
            else ValueSome(ConvCall.Dense(images, s, t, window))

    /// Multiplications up to which a plain matrix product is faster than the start of libtorch's convolution; of one image its vectorised
    /// code with a bias measures up to ten times slower.
    let private small (images: int64) =
        let struct (one, several) = Kernels.tuning.SmallPointwise
        if images = 1L then one else several

    /// A convolution over the spatial dimensions given, of groups, with everything but its tensors worked out: the others are left as they
    /// are. `thin`: the engine passes float32 1×1 convolutions of few images on to plain matrix products when it has one thread. A
    /// dilation, which a kernel of one position does not feel, keeps them in the vectorised code; measured up to twice as fast.
    let convolution
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

        let apply: Tensor -> (Tensor | null) -> Tensor -> Tensor =
            match g.Transposed && not dims.IsEmpty, n with
            | true, 3 -> fun w bias x -> torch.nn.functional.conv_transpose3d (x, w, bias, strides, padding, extra, dilation, groups)
            | true, _ -> fun w bias x -> torch.nn.functional.conv_transpose2d (x, w, bias, strides, padding, extra, dilation, groups)
            | false, 3 -> fun w bias x -> torch.nn.functional.conv3d (x, w, bias, strides, padding, dilation, groups)
            | false, _ ->
                fun w bias x ->
                    let dilation =
                        if thin && x.dtype = torch.float32 && x.device_type = DeviceType.CPU then [| 2L; 2L |] else dilation

                    torch.nn.functional.conv2d (x, w, bias, strides, padding, dilation, groups)

        let positions = dims |> List.fold (fun p i -> p * g.Kernel[i]) 1L

        if groups = 1L && positions > 1L then
            TensorNetError.raiseAny (ConvolutionCheck.mend ())

        let apply =
            if groups = 1L && isSpatial g dims then
                fun w bias x ->
                    Kernels.tryDense (int padding[0]) (int padding[1]) w bias x
                    |> ValueOption.defaultWith (fun () -> apply w bias x)
            else
                apply

        if lifted n then
            fun w bias x ->
                use x = x.unsqueeze 2L
                use y = apply w bias x
                y.squeeze 2L
        else
            apply

    /// The shape of a convolution's weight: rows and columns of channels, then the kernel along the dimensions given.
    let shapeOf (g: ConvGeometry) (dims: int list) (rows: int64) (columns: int64) =
        [|
            yield rows
            yield columns
            if lifted g.Kernel.Length then
                yield 1L
            for i in 0 .. g.Kernel.Length - 1 do
                yield (if List.contains i dims then g.Kernel[i] else 1L)
        |]

    let product (values: int64 seq) = Seq.fold (*) 1L values

    /// Whether a convolution is to be kept in the vectorised code, were it one of float32.
    let thin (g: ConvGeometry) (dims: int list) (images: int64) (inside: int64) (fresh: int64) =
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
