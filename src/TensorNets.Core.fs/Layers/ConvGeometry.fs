namespace TensorNets

open System
open TorchSharp

/// <summary>Everything about a linear layer or a convolution but its numbers. Lists have one entry for each spatial dimension: none for a
/// linear layer, one to three for convolutions.</summary>
type ConvGeometry =
    {
        InChannels: int64
        OutChannels: int64
        Kernel: int64 list
        Stride: int64 list
        Dilation: int64 list
        /// Positions added before and after. Of a transposed convolution: positions of the output cut off on both sides.
        Padding: struct (int64 * int64) list
        /// What the added positions hold.
        PaddingMode: PaddingModes
        /// Input and output channels fall into this many groups that do not mix.
        Groups: int64
        /// Whether the convolution is transposed.
        Transposed: bool
        /// Positions added behind the output of a transposed convolution.
        OutputPadding: int64 list
    }

[<RequireQualifiedAccess>]
module ConvGeometry =
    /// The number of kernel positions, 1 for a linear layer.
    let internal positions (g: ConvGeometry) = List.fold (*) 1L g.Kernel

    /// Padding before and after in each dimension, as text.
    let internal paddingText (g: ConvGeometry) : string =
        let pairs = g.Padding |> List.map (fun (struct (before, after)) -> $"({before}, {after})")
        "[" + String.Join(", ", pairs) + "]"

    /// What a layer of numbers cannot be, all problems at once.
    let internal check (g: ConvGeometry) : TensorNetError list =
        let n = g.Kernel.Length
        let bad option found supported = TensorNetError.Unsupported(option, found, supported)
        let lists = [ "stride", g.Stride; "dilation", g.Dilation; "output_padding", g.OutputPadding ]
        let most = int64 Int32.MaxValue
        let product values = values |> List.fold (fun n (value: int64) -> n * bigint value) 1I

        [
            if n > 3 then
                bad "spatial dimensions" (string n) "0 (Linear), 1, 2 or 3"
            if g.Transposed && (n = 0 || n > 2) then
                bad "spatial dimensions of a transposed convolution" (string n) "1 or 2"
            for option, values in lists do
                if values.Length <> n then
                    bad option (TensorNetError.shapeText values) $"{n} numbers, one for each spatial dimension"
            if g.Padding.Length <> n then
                bad "padding" (paddingText g) $"{n} pairs, one for each spatial dimension"
            for option, values, least in
                [
                    "in_channels", [ g.InChannels ], 1L
                    "out_channels", [ g.OutChannels ], 1L
                    "groups", [ g.Groups ], 1L
                    "kernel_size", g.Kernel, 1L
                    "stride", g.Stride, 1L
                    "dilation", g.Dilation, 1L
                    "output_padding", g.OutputPadding, 0L
                    "padding", (g.Padding |> List.collect (fun (struct (a, b)) -> [ a; b ])), 0L
                ] do
                if values |> List.exists (fun value -> value < least) then
                    bad option (TensorNetError.shapeText values) $"at least {least}"
                elif values |> List.exists (fun value -> value > most) then
                    bad option (TensorNetError.shapeText values) $"at most {most}"
            // Positions are counted in 32 bits, entries of a weight in 64.
            if product g.Kernel > bigint most then
                bad "kernel_size" (TensorNetError.shapeText g.Kernel) $"at most {most} positions"
            elif product (g.InChannels :: g.OutChannels :: g.Kernel) > bigint Int64.MaxValue then
                bad
                    "the dense weight"
                    (TensorNetError.shapeText (g.InChannels :: g.OutChannels :: g.Kernel))
                    $"at most {Int64.MaxValue} entries"
            if g.Groups > 1L && (g.InChannels % g.Groups <> 0L || g.OutChannels % g.Groups <> 0L) then
                bad "groups" (string g.Groups) $"a divisor of both {g.InChannels} and {g.OutChannels} channels"
            if not (Enum.IsDefined g.PaddingMode) then
                bad "padding_mode" (string g.PaddingMode) "Zeros, Reflect, Replicate or Circular"
            if g.Transposed && g.PaddingMode <> PaddingModes.Zeros then
                bad "padding_mode of a transposed convolution" (string g.PaddingMode) "Zeros"
            if
                g.Transposed
                && g.OutputPadding.Length = n
                && g.Stride.Length = n
                && g.Dilation.Length = n
                && List.exists2 (fun extra i -> extra >= max g.Stride[i] g.Dilation[i]) g.OutputPadding [ 0 .. n - 1 ]
            then
                bad
                    "output_padding"
                    (TensorNetError.shapeText g.OutputPadding)
                    $"less than the larger of stride {TensorNetError.shapeText g.Stride} and dilation {TensorNetError.shapeText g.Dilation}"
            if not g.Transposed && g.OutputPadding |> List.exists ((<>) 0L) then
                bad "output_padding" (TensorNetError.shapeText g.OutputPadding) "0 unless the convolution is transposed"
        ]

    /// Throws where a geometry cannot be.
    let private sound (g: ConvGeometry) =
        match check g with
        | [] -> ()
        | errors -> TensorNetError.raiseErrors (Error errors)

    /// Throws where a tensor cannot be laid out as one of a shape, or of as many entries.
    let private laid (what: string) (shape: int64 list) (tensor: Tensor) =
        let errors = Check.readable what tensor

        if not errors.IsEmpty then
            TensorNetError.raiseErrors (Error errors)
        elif tensor.numel () <> List.fold (*) 1L shape then
            let expected = $"the entries of {TensorNetError.shapeText shape}"
            TensorNetError.raiseErrors (Error [ TensorNetError.Shape(what, Check.shapeOf tensor, expected) ])

    /// <summary>The shape of a kernel tensor: (s, t) for a linear layer, (s, d, t) for a convolution: input channels, kernel positions (row
    /// by row), output channels. With groups a group axis stands in front, and s and t are the channels of one group: (g, s, d,
    /// t).</summary>
    let kernelShape (g: ConvGeometry) : int list =
        sound g

        [
            if g.Groups > 1L then
                int g.Groups
            int (g.InChannels / g.Groups)
            if not g.Kernel.IsEmpty then
                int (positions g)
            int (g.OutChannels / g.Groups)
        ]

    /// The size of the output along one spatial dimension for that of the input.
    let internal along (g: ConvGeometry) (i: int) (size: int64) =
        let struct (before, after) = g.Padding[i]
        let reach = g.Dilation[i] * (g.Kernel[i] - 1L)

        if g.Transposed then
            (size - 1L) * g.Stride[i] - before - after + reach + g.OutputPadding[i] + 1L
        else
            (size + before + after - reach - 1L) / g.Stride[i] + 1L

    /// The spatial size of the output for that of the input.
    let outputSize (g: ConvGeometry) (size: int64 list) : int64 list =
        sound g

        if size.Length <> g.Kernel.Length then
            invalidArg (nameof size) $"{size.Length} sizes for {g.Kernel.Length} spatial dimensions"

        size |> List.mapi (along g)

    /// The shape of the weight that TorchSharp's own layer holds.
    let internal weightShape (g: ConvGeometry) : int64 list =
        (if g.Transposed then
             [ g.InChannels; g.OutChannels / g.Groups ]
         else
             [ g.OutChannels; g.InChannels / g.Groups ])
        @ g.Kernel

    /// <summary>The kernel tensor of a dense weight, in the shape of <c>kernelShape</c>. A view or a copy; differentiable.</summary>
    let kernelOfWeight (g: ConvGeometry) (weight: Tensor) : Tensor =
        sound g
        laid "The weight" (weightShape g) weight
        use scope = torch.NewDisposeScope()
        let s, t, k = g.InChannels / g.Groups, g.OutChannels / g.Groups, positions g

        let kernel =
            if g.Transposed then
                weight.reshape(g.Groups, s, t, k).permute(0L, 1L, 3L, 2L)
            else
                weight.reshape(g.Groups, t, s, k).permute(0L, 2L, 3L, 1L)

        kernel.reshape [| for n in kernelShape g -> int64 n |] |> scope.MoveToOuter

    /// <summary>The dense weight of a kernel tensor, as TorchSharp's own layers hold it: the inverse of <c>kernelOfWeight</c>.
    /// Differentiable.</summary>
    let weightOfKernel (g: ConvGeometry) (kernel: Tensor) : Tensor =
        sound g
        laid "The kernel" (kernelShape g |> List.map int64) kernel
        use scope = torch.NewDisposeScope()
        let s, t, k = g.InChannels / g.Groups, g.OutChannels / g.Groups, positions g
        let kernel = kernel.reshape (g.Groups, s, k, t)

        let ordered = if g.Transposed then kernel.permute (0L, 1L, 3L, 2L) else kernel.permute (0L, 3L, 1L, 2L)

        ordered.reshape(List.toArray (weightShape g)).contiguous() |> scope.MoveToOuter

    /// The kind of layer, as TorchSharp names it.
    let name (g: ConvGeometry) =
        match g.Kernel.Length with
        | 0 -> "Linear"
        | n -> if g.Transposed then $"ConvTranspose{n}d" else $"Conv{n}d"

    /// <summary>A convolution over n spatial dimensions, at stride 1, with a kernel of one position and no padding, to be changed with
    /// <c>with</c>; for n = 0 a linear layer.</summary>
    let plain (n: int) (inChannels: int64) (outChannels: int64) : ConvGeometry =
        if n < 0 || n > 3 then
            invalidArg (nameof n) $"{n} spatial dimensions; expected 0 (Linear), 1, 2 or 3."

        let all value = List.replicate n value

        {
            InChannels = inChannels
            OutChannels = outChannels
            Kernel = all 1L
            Stride = all 1L
            Dilation = all 1L
            Padding = List.replicate n (struct (0L, 0L))
            PaddingMode = PaddingModes.Zeros
            Groups = 1L
            Transposed = false
            OutputPadding = all 0L
        }

    /// <summary>The geometry of a convolution at stride 1, without groups and padding, with the channels and kernel of a dense weight
    /// (out, in, kernel); of a matrix (out, in), that of a linear layer.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">A weight of fewer than two or more than five axes, or with one of size
    /// 0.</exception>
    let ofWeight (weight: Tensor) : ConvGeometry =
        Check.readable "The weight" weight |> TensorNetError.raiseAny
        let shape = Check.shapeOf weight

        if shape.Length < 2 || shape.Length > 5 then
            let expected = "two to five axes: (out, in, kernel along each dimension)"
            TensorNetError.raiseAny [ TensorNetError.Shape("The weight", shape, expected) ]

        let g = { plain (shape.Length - 2) shape[1] shape[0] with Kernel = shape[2..] }
        sound g
        g

    let private ofConvolution (conv: Modules.Convolution) : Result<ConvGeometry, TensorNetError list> =
        let n = conv.kernel_size.Length

        let numbers (values: int64[] | null) =
            match values with
            | null -> List.replicate n 0L
            | values -> List.ofArray values

        let same (values: int64 list) i =
            // 'Same' keeps the size at stride 1: the odd position, if there is one, goes behind.
            let total = conv.dilation[i] * (values[i] - 1L)
            struct (total / 2L, total - total / 2L)

        let padding =
            if not conv.padding_type.HasValue then
                numbers conv.padding |> List.map (fun p -> struct (p, p))
            elif conv.padding_type.Value = Padding.Same then
                let pairs = List.init n (same (List.ofArray conv.kernel_size))
                // TorchSharp 0.107 hands these to its padding in the wrong order, unless the mode is zeros. What the layer does is what
                // counts.
                if conv.padding_mode = PaddingModes.Zeros then pairs else List.rev pairs
            else
                List.replicate n (struct (0L, 0L))

        // TorchSharp 0.107 takes the first number for all dimensions. Again, what the layer does is what counts.
        let extra =
            if conv.transposed then List.replicate n (numbers conv.output_padding).Head else List.replicate n 0L

        let geometry =
            {
                InChannels = conv.in_channels
                OutChannels = conv.out_channels
                Kernel = List.ofArray conv.kernel_size
                Stride = List.ofArray conv.stride
                Dilation = List.ofArray conv.dilation
                Padding = padding
                PaddingMode = conv.padding_mode
                Groups = conv.groups
                Transposed = conv.transposed
                OutputPadding = extra
            }

        match check geometry with
        | [] -> Ok geometry
        | errors -> Error errors

    /// The geometry, weight and bias of a dense layer at a path of a model. Errors: `ModuleType`, which names the path, for any module but a
    /// Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d or Linear; `Unsupported`, naming each option.
    let internal ofDenseAt (path: string) (dense: torch.nn.Module) : Result<ConvGeometry * Tensor * Tensor option, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(dense, nameof dense)
        let optional (bias: Modules.Parameter | null) = if isNull bias then None else Some(nonNull bias :> Tensor)

        // A layer on the meta device has a geometry and no numbers: whoever reads them says so.
        let isMeta (weight: Tensor) = not (isNull (box weight)) && not weight.IsInvalid && weight.device_type = DeviceType.META

        let withNumbers geometry (weight: Tensor) bias =
            match (if isMeta weight then [] else Check.readable "The weight" weight) with
            | [] -> geometry |> Result.map (fun g -> g, weight, optional bias)
            | errors -> Error errors

        match dense with
        | gone when not (Check.alive "The layer" gone).IsEmpty -> Error(Check.alive "The layer" gone)
        | :? Modules.Convolution as conv -> withNumbers (ofConvolution conv) conv.weight conv.bias
        | :? Modules.Linear as linear -> withNumbers (Ok(plain 0 linear.in_features linear.out_features)) linear.weight linear.bias
        | other ->
            Error
                [
                    TensorNetError.ModuleType(
                        path,
                        other.GetType().Name,
                        "a Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d or Linear"
                    )
                ]

    /// As `ofDenseAt`, for a layer by itself.
    let internal ofDense (dense: torch.nn.Module) = ofDenseAt "" dense

    /// <summary>The geometry of a dense layer. Errors: <c>ModuleType</c> for a module that is no Conv1d, Conv2d, Conv3d, ConvTranspose1d,
    /// ConvTranspose2d or Linear; <c>Unsupported</c>, naming each option.</summary>
    let ofLayer (dense: torch.nn.Module) : Result<ConvGeometry, TensorNetError list> =
        ofDense dense |> Result.map (fun (geometry, _, _) -> geometry)
