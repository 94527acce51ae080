namespace TensorNets

open System
open TorchSharp

/// Geometries of layers, and the shapes that follow from them.
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module ConvGeometry =
    /// <summary>The shape of a kernel tensor: (s, t) for a linear layer or an embedding, (s, d, t) for a convolution: input
    /// channels, kernel positions (row by row), output channels. With groups a group axis stands in front, and s and t are the channels of
    /// one group: (g, s, d, t).</summary>
    /// <example><code>ConvGeometry.kernelShape geometry // [ 4; 9; 5 ]</code></example>
    let kernelShape (g: ConvGeometry) : int list =
        Argument.notNull (nameof g) g
        GeometryChecks.sound g

        [
            if g.Groups > 1L then
                int g.Groups
            int (g.InChannels / g.Groups)
            if not g.Kernel.IsEmpty then
                int (GeometryChecks.positions g)
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

    /// <summary>The spatial size of the output for that of the input.</summary>
    /// <example><code>ConvGeometry.outputSize geometry [ 8L; 8L ] // [ 8L; 8L ]</code></example>
    let outputSize (g: ConvGeometry) (size: int64 list) : int64 list =
        Argument.notNull (nameof g) g
        Argument.notNull (nameof size) size
        GeometryChecks.sound g

        if size.Length <> g.Kernel.Length then
            invalidArg (nameof size) $"{size.Length} sizes for {g.Kernel.Length} spatial dimensions"

        size |> List.mapi (along g)

    /// The shape of the weight that TorchSharp's own layer holds.
    let internal weightShape (g: ConvGeometry) : int64 list =
        (if g.IsInputFirst then
             [ g.InChannels; g.OutChannels / g.Groups ]
         else
             [ g.OutChannels; g.InChannels / g.Groups ])
        @ g.Kernel

    /// <summary>The kernel tensor of a dense weight, in the shape of <c>kernelShape</c>. A view or a copy; differentiable.</summary>
    /// <example><code>ConvGeometry.kernelOfWeight geometry conv.weight // 4 × 9 × 5</code></example>
    let kernelOfWeight (g: ConvGeometry) (weight: Tensor) : Tensor =
        Argument.notNull (nameof g) g
        GeometryChecks.sound g
        GeometryChecks.laid "The weight" (weightShape g) weight
        use scope = torch.NewDisposeScope()
        let s, t, k = g.InChannels / g.Groups, g.OutChannels / g.Groups, GeometryChecks.positions g

        let kernel =
            if g.IsInputFirst then
                weight.reshape(g.Groups, s, t, k).permute(0L, 1L, 3L, 2L)
            else
                weight.reshape(g.Groups, t, s, k).permute(0L, 2L, 3L, 1L)

        kernel.reshape [| for n in kernelShape g -> int64 n |] |> scope.MoveToOuter

    /// <summary>The dense weight of a kernel tensor, as TorchSharp's own layers hold it: the inverse of <c>kernelOfWeight</c>.
    /// Differentiable.</summary>
    /// <example><code>ConvGeometry.weightOfKernel geometry target // 5 × 4 × 3 × 3</code></example>
    let weightOfKernel (g: ConvGeometry) (kernel: Tensor) : Tensor =
        Argument.notNull (nameof g) g
        GeometryChecks.sound g
        GeometryChecks.laid "The kernel" (kernelShape g |> List.map int64) kernel
        use scope = torch.NewDisposeScope()
        let s, t, k = g.InChannels / g.Groups, g.OutChannels / g.Groups, GeometryChecks.positions g
        let kernel = kernel.reshape (g.Groups, s, k, t)

        let ordered =
            if g.IsInputFirst then kernel.permute (0L, 1L, 3L, 2L) else kernel.permute (0L, 3L, 1L, 2L)

        ordered.reshape(List.toArray (weightShape g)).contiguous() |> scope.MoveToOuter

    /// The kernel tensor of a dense weight in the shape of a network's output, with groups that of one group or of all. An embedding's
    /// network may have more rows than there are tokens: those are zero. A view or a copy, in float32 of 16 bits.
    let internal kernelFor (shape: int64 list) (g: ConvGeometry) (weight: Tensor) : Tensor =
        let kernel = HalfPrecision.widened (kernelOfWeight g weight)
        let more = List.fold (*) 1L shape / g.OutChannels - g.InChannels

        let kernel =
            if g.IsEmbedding && more > 0L then
                torch.nn.functional.pad (kernel, [| 0L; 0L; 0L; more |], PaddingModes.Constant, 0.0)
            else
                kernel

        kernel.reshape (List.toArray shape)

    /// <summary>The kind of layer, as TorchSharp names it.</summary>
    /// <example><code>ConvGeometry.name geometry // "Conv2d"</code></example>
    let name (g: ConvGeometry) : string =
        Argument.notNull (nameof g) g
        g.Kind

    /// <summary>A convolution over n spatial dimensions, at stride 1, with a kernel of one position and no padding, to be changed with
    /// <c>with</c>; for n = 0 a linear layer.</summary>
    /// <example><code>{ ConvGeometry.plain 2 4L 5L with Kernel = [ 3L; 3L ] }</code></example>
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
            Embedding = None
        }

    /// <summary>An embedding: y[token] = T[token, :]. Its kernel is over (tokens, features), as its dense weight.</summary>
    /// <param name="vocabulary">The number of tokens, which count from 0.</param>
    /// <param name="width">Features of a row.</param>
    /// <param name="paddingIdx">The token whose row is zero and has no gradient, if there is one.</param>
    /// <example><code>ConvGeometry.embedding 30000L 512L (Some 0L)</code></example>
    let embedding (vocabulary: int64) (width: int64) (paddingIdx: int64 option) : ConvGeometry =
        { plain 0 vocabulary width with Embedding = Some { PaddingIdx = paddingIdx } }

    /// <summary>The geometry of a convolution at stride 1, without groups and padding, with the channels and kernel of a dense weight
    /// (out, in, kernel); of a matrix (out, in), that of a linear layer.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">A weight of fewer than two or more than five axes, or with one of size
    /// 0.</exception>
    /// <example><code>ConvGeometry.ofWeight conv.weight</code></example>
    let ofWeight (weight: Tensor) : ConvGeometry =
        Check.readable "The weight" weight |> TensorNetError.raiseAny
        let shape = Check.shapeOf weight

        if shape.Length < 2 || shape.Length > 5 then
            let expected = "two to five axes: (out, in, kernel along each dimension)"
            TensorNetError.raiseAny [ TensorNetError.Shape("The weight", shape, expected) ]

        let g = { plain (shape.Length - 2) shape[1] shape[0] with Kernel = shape[2..] }
        GeometryChecks.sound g
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
                Embedding = None
            }

        match GeometryChecks.errors geometry with
        | [] -> Ok geometry
        | errors -> Error errors

    let private ofEmbedding (dense: Modules.Embedding) (weight: Tensor) : Result<ConvGeometry, TensorNetError list> =
        let geometry = embedding weight.shape[0] weight.shape[1]

        match GeometryChecks.errors (geometry None) with
        | [] when weight.device_type = DeviceType.META -> Ok(geometry None)
        | [] -> EmbeddingProbe.paddingIdx dense weight |> Result.map geometry
        | errors -> Error errors

    /// The geometry, weight and bias of a dense layer at a path of a model. Errors: `ModuleType`, which names the path, for any module but
    /// a Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Linear or Embedding; `Unsupported`, naming each option.
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
        | :? Modules.Embedding as table ->
            // The registered parameter: the property makes a new handle at every call.
            let weight = nonNull (table.get_parameter "weight")

            match (if isMeta weight then [] else Check.readable "The weight" weight) with
            | [] -> ofEmbedding table weight |> Result.map (fun g -> g, weight, None)
            | errors -> Error errors
        | other ->
            Error
                [
                    TensorNetError.ModuleType(
                        path,
                        other.GetType().Name,
                        "a Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Linear or Embedding"
                    )
                ]

    /// As `ofDenseAt`, for a layer by itself.
    let internal ofDense (dense: torch.nn.Module) = ofDenseAt "" dense

    /// <summary>The geometry of a dense layer. Errors: <c>ModuleType</c> for a module that is no Conv1d, Conv2d, Conv3d, ConvTranspose1d,
    /// ConvTranspose2d, Linear or Embedding; <c>Unsupported</c>, naming each option.</summary>
    /// <remarks>TorchSharp does not show the options of an embedding: they are read from what a pass through it does to gradients, once for
    /// each layer; one that is frozen has none that differ.</remarks>
    /// <example><code>ConvGeometry.ofLayer conv |> orStop</code></example>
    let ofLayer (dense: torch.nn.Module) : Result<ConvGeometry, TensorNetError list> =
        ofDense dense |> Result.map (fun (geometry, _, _) -> geometry)
