namespace TensorNets

open TorchSharp

/// <summary>How a kernel network is applied to images.</summary>
[<RequireQualifiedAccess>]
type Lowering =
    /// One convolution per core: 1×1, spatial (grouped along bonds that all three cores carry), 1×1. For networks of three cores that each carry one
    /// open axis: CP, Tucker-2, tensor chain, tensor train.
    | Staged
    /// The kernel is rebuilt, then applied as one dense convolution. For any network.
    | Dense

/// <summary>Everything about a two-dimensional convolution but its numbers. Pairs are (height, width).</summary>
type ConvGeometry =
    {
        InChannels: int64
        OutChannels: int64
        Kernel: struct (int64 * int64)
        Stride: struct (int64 * int64)
        Dilation: struct (int64 * int64)
        /// Zeros added before and after, along the height.
        PaddingHeight: struct (int64 * int64)
        /// Zeros added before and after, along the width.
        PaddingWidth: struct (int64 * int64)
    }

[<RequireQualifiedAccess>]
module ConvGeometry =
    /// The shape (s, d, t) of a kernel tensor: input channels, kernel positions (height × width, row by row), output channels.
    let kernelShape (g: ConvGeometry) : int list =
        let struct (kh, kw) = g.Kernel
        [ int g.InChannels; int (kh * kw); int g.OutChannels ]

    /// Height and width of the output for a height and width of the input.
    let outputSize (g: ConvGeometry) (struct (height, width): struct (int64 * int64)) =
        let along size (struct (before, after)) kernel stride dilation =
            (size + before + after - dilation * (kernel - 1L) - 1L) / stride + 1L

        let struct (kh, kw) = g.Kernel
        let struct (sh, sw) = g.Stride
        let struct (dh, dw) = g.Dilation
        struct (along height g.PaddingHeight kh sh dh, along width g.PaddingWidth kw sw dw)

/// A kernel network prepared for images. Each stage lists the axes of one core's tensor in the order in which its convolution reads them.
type internal ConvPlan =
    { Geometry: ConvGeometry; Spec: Spec; Lowering: Lowering; Reconstruct: Plan; Stages: Stages option }

and internal Stages =
    {
        First: Core
        Middle: Core
        Last: Core
        /// Bonds of all three cores, of the first and the middle, of the middle and the last, of the first and the last.
        Everywhere: Axis list
        Entering: Axis list
        Leaving: Axis list
        Around: Axis list
    }

/// <summary>A kernel network applied to images: the same as the dense convolution with the reconstructed kernel.</summary>
[<RequireQualifiedAccess>]
module Convolution =
    /// <summary>The kernel tensor K[s, d, t] of a dense weight [t, s, height, width].</summary>
    let kernelOfWeight (weight: Tensor) : Tensor =
        weight.permute(1L, 2L, 3L, 0L).reshape(weight.shape[1], weight.shape[2] * weight.shape[3], weight.shape[0])

    /// <summary>The dense weight [t, s, height, width] of a kernel tensor K[s, d, t].</summary>
    let weightOfKernel (struct (height, width): struct (int64 * int64)) (kernel: Tensor) : Tensor =
        kernel.reshape(kernel.shape[0], height, width, kernel.shape[2]).permute(3L, 0L, 1L, 2L).contiguous()

    let private stagesOf (spec: Spec) : Stages option =
        let opened = Set.ofList spec.Output

        let holder axis =
            match Spec.carriers axis spec with
            | [ core ] -> Some core
            | _ -> None

        match spec.Cores.Length, List.map holder spec.Output with
        | 3, [ Some first; Some middle; Some last ] when List.distinct [ first; middle; last ] |> List.length = 3 ->
            let bonds carriers =
                Spec.bonds spec
                |> List.filter (fun axis ->
                    [ first; middle; last ]
                    |> List.forall (fun core -> List.contains axis core.Axes = List.contains core carriers))

            let lone =
                [ first; middle; last ]
                |> List.exists (fun core -> Spec.ownAxes core spec |> List.exists (fun axis -> not (opened.Contains axis)))

            if lone then
                None
            else
                Some
                    {
                        First = first
                        Middle = middle
                        Last = last
                        Everywhere = bonds [ first; middle; last ]
                        Entering = bonds [ first; middle ]
                        Leaving = bonds [ middle; last ]
                        Around = bonds [ first; last ]
                    }
        | _ -> None

    /// Whether a network can be applied stage by stage.
    let canStage (spec: Spec) = (stagesOf spec).IsSome

    /// The plan for a network over (s, d, t); its shape has been checked.
    let internal plan (lowering: Lowering option) (geometry: ConvGeometry) (spec: Spec) : Result<ConvPlan, TensorNetError list> =
        let stages = stagesOf spec

        match lowering, stages with
        | Some Lowering.Staged, None ->
            Error
                [
                    TensorNetError.Unsupported(
                        "lowering",
                        $"Staged for {spec}",
                        "Dense, or a network of three cores that each carry one open axis"
                    )
                ]
        | chosen, stages ->
            let fallback = if stages.IsSome then Lowering.Staged else Lowering.Dense

            Ok
                {
                    Geometry = geometry
                    Spec = spec
                    Lowering = defaultArg chosen fallback
                    Reconstruct = Plan.make Order.Auto spec
                    Stages = stages
                }

    let private size (spec: Spec) (axes: Axis list) = axes |> List.fold (fun n axis -> n * int64 (Spec.dim axis spec)) 1L

    /// Multiplications and additions for one image of the given height and width, without bias.
    let internal flops (plan: ConvPlan) (struct (height, width): struct (int64 * int64)) : float =
        let g = plan.Geometry
        let struct (oh, ow) = ConvGeometry.outputSize g (struct (height, width))
        let struct (kh, kw) = g.Kernel
        let inside, outside = float (height * width), float (oh * ow)

        match plan.Lowering, plan.Stages with
        | Lowering.Staged, Some st ->
            let n = size plan.Spec >> float
            let e, i, l, a = n st.Everywhere, n st.Entering, n st.Leaving, n st.Around

            2.0 * inside * float g.InChannels * e * i * a
            + 2.0 * outside * float (kh * kw) * e * i * l * a
            + 2.0 * outside * float g.OutChannels * e * l * a
        | _ -> plan.Reconstruct.Flops + 2.0 * outside * float (g.InChannels * g.OutChannels * kh * kw)

    let private arrange (core: Core) (axes: Axis list) (tensor: Tensor) : Tensor =
        tensor.permute [| for axis in axes -> int64 (List.findIndex ((=) axis) core.Axes) |]

    let private pair (struct (a, b)) : int64[] = [| a; b |]

    /// The input with what padding a convolution cannot do by itself, and the padding that is left to it.
    let private padded (g: ConvGeometry) (x: Tensor) =
        let struct (top, bottom) = g.PaddingHeight
        let struct (left, right) = g.PaddingWidth

        if top = bottom && left = right then
            x, [| top; left |]
        else
            torch.nn.functional.pad (x, [| left; right; top; bottom |], PaddingModes.Constant, 0.0), [| 0L; 0L |]

    let private spatial (g: ConvGeometry) (weight: Tensor) (bias: Tensor | null) (groups: int64) (x: Tensor) : Tensor =
        let x, padding = padded g x

        torch.nn.functional.conv2d (
            x,
            weight,
            bias = bias,
            strides = pair g.Stride,
            padding = padding,
            dilation = pair g.Dilation,
            groups = groups
        )

    let private staged (plan: ConvPlan) (st: Stages) (lookup: string -> Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        let g = plan.Geometry
        let struct (kh, kw) = g.Kernel
        let n = size plan.Spec
        let s, d, t = plan.Spec.Output[0], plan.Spec.Output[1], plan.Spec.Output[2]
        let around, groups = n st.Around, n st.Everywhere
        let entering, leaving = n st.Entering, n st.Leaving

        let first =
            arrange st.First (st.Around @ st.Everywhere @ st.Entering @ [ s ]) (lookup st.First.Name)
            |> _.reshape(around * groups * entering, g.InChannels, 1L, 1L)

        let middle =
            arrange st.Middle (st.Everywhere @ st.Leaving @ st.Entering @ [ d ]) (lookup st.Middle.Name)
            |> _.reshape(groups * leaving, entering, kh, kw)

        let last =
            arrange st.Last (t :: st.Around @ st.Everywhere @ st.Leaving) (lookup st.Last.Name)
            |> _.reshape(g.OutChannels, around * groups * leaving, 1L, 1L)

        // The bonds around the middle core are no business of its convolution: they go with the images.
        let batch = x.shape[0]
        let y = torch.nn.functional.conv2d (x, first)
        let y = y.reshape (batch * around, groups * entering, x.shape[2], x.shape[3])
        let y = spatial g middle null groups y
        let y = y.reshape (batch, around * groups * leaving, y.shape[2], y.shape[3])
        torch.nn.functional.conv2d (y, last, bias = bias)

    let internal apply (plan: ConvPlan) (lookup: string -> Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let batched = x.dim () = 4L
        let input = if batched then x else x.unsqueeze 0L

        let y =
            match plan.Lowering, plan.Stages with
            | Lowering.Staged, Some stages -> staged plan stages lookup bias input
            | _ ->
                let kernel = Contraction.runMany [ plan.Reconstruct ] x.dtype x.device lookup |> List.head

                spatial plan.Geometry (weightOfKernel plan.Geometry.Kernel kernel) bias 1L input

        (if batched then y else y.squeeze 0L) |> scope.MoveToOuter

    /// The geometry of a dense layer; options that are not supported are named.
    let internal geometryOf (conv: Modules.Conv2d) : Result<ConvGeometry, TensorNetError list> =
        let errors =
            [
                if conv.groups <> 1L then
                    TensorNetError.Unsupported("groups", string conv.groups, "1")
                if conv.padding_mode <> PaddingModes.Zeros then
                    TensorNetError.Unsupported("padding_mode", string conv.padding_mode, "Zeros")
            ]

        let padding = if isNull conv.padding then [| 0L; 0L |] else nonNull conv.padding

        let along i =
            // 'Same' keeps the size at stride 1: the odd zero, if there is one, goes behind.
            if conv.padding_type.HasValue then
                match conv.padding_type.Value with
                | Padding.Same ->
                    let total = conv.dilation[i] * (conv.kernel_size[i] - 1L)
                    struct (total / 2L, total - total / 2L)
                | _ -> struct (0L, 0L)
            else
                struct (padding[i], padding[i])

        if errors.IsEmpty then
            Ok
                {
                    InChannels = conv.in_channels
                    OutChannels = conv.out_channels
                    Kernel = struct (conv.kernel_size[0], conv.kernel_size[1])
                    Stride = struct (conv.stride[0], conv.stride[1])
                    Dilation = struct (conv.dilation[0], conv.dilation[1])
                    PaddingHeight = along 0
                    PaddingWidth = along 1
                }
        else
            Error errors
