namespace TensorNets

open System
open TorchSharp

/// What is wrong with an input of a layer.
[<RequireQualifiedAccess>]
module internal InputChecks =
    /// The least size of an input along a spatial dimension, and why.
    let private leastAlong (g: ConvGeometry) (i: int) : int64 * string =
        let struct (before, after) = g.Padding[i]
        let reach = g.Dilation[i] * (g.Kernel[i] - 1L)
        let pad = max before after

        let forKernel =
            if g.Transposed then
                // An output of one position: of more, each input position adds a stride.
                let cut = before + after - reach - g.OutputPadding[i]
                1L + (max 0L (cut + g.Stride[i] - 1L)) / g.Stride[i]
            else
                max 1L (reach + 1L - before - after)

        match g.PaddingMode with
        | PaddingModes.Reflect when pad > 0L && pad + 1L > forKernel -> pad + 1L, $"reflecting {pad}"
        | PaddingModes.Circular when pad > forKernel -> pad, $"wrapping {pad} around"
        | _ when g.Transposed -> forKernel, $"cutting off {before + after}"
        | _ -> forKernel, $"a kernel that reaches over {reach + 1L} with {before + after} added"

    /// The least size of an input.
    let least (g: ConvGeometry) : int64[] = [| for i in 0 .. g.Kernel.Length - 1 -> fst (leastAlong g i) |]

    /// Whether a shape is one of an input; of tokens any is.
    let fits (g: ConvGeometry) (least: int64[]) (shape: int64[]) : bool =
        let n = least.Length
        let channels = shape.Length - n - 1

        let mutable fit =
            g.IsEmbedding || channels >= 0 && (n = 0 || channels <= 1) && shape[channels] = g.InChannels

        let mutable i = 0

        while fit && i < n do
            fit <- shape[channels + 1 + i] >= least[i]
            i <- i + 1

        fit

    /// What tokens of an embedding cannot be.
    let private tokenErrors (g: ConvGeometry) (weight: Tensor) (tokens: Tensor) : TensorNetError list =
        let unreadable = Check.readable "The tokens" tokens

        if not unreadable.IsEmpty then
            unreadable
        elif tokens.dtype <> torch.int64 && tokens.dtype <> torch.int32 then
            [ TensorNetError.DType("The tokens", string tokens.dtype, "Int64 or Int32") ]
        elif tokens.device_type <> weight.device_type then
            [
                TensorNetError.Unsupported("The device of the tokens", string tokens.device, $"that of the layer, {weight.device}")
            ]
        elif tokens.numel () > int64 Int32.MaxValue then
            [ TensorNetError.TooLarge("The tokens", float (tokens.numel ()), float Int32.MaxValue) ]
        elif tokens.numel () = 0L then
            []
        else
            use _ = torch.NewDisposeScope()
            let least, most = tokens.min().integer(), tokens.max().integer()

            if least < 0L || most >= g.InChannels then
                [
                    TensorNetError.Unsupported("The tokens", $"{least} to {most}", $"numbers from 0 to {g.InChannels - 1L}")
                ]
            else
                []

    /// Whether an input, neither null nor disposed, has no errors.
    let suits (g: ConvGeometry) (least: int64[]) (weight: Tensor) (x: Tensor) : bool =
        if g.IsEmbedding then
            (tokenErrors g weight x).IsEmpty
        else
            fits g least x.shape
            && x.dtype = weight.dtype
            && x.device_type = weight.device_type
            && not x.is_sparse

    let private misfits (g: ConvGeometry) (weight: Tensor) (x: Tensor) : TensorNetError list =
        let n = int64 g.Kernel.Length
        let channels = x.dim () - n - 1L

        let form =
            match n with
            | 0L -> "any axes, then features"
            | 1L -> "batch × channels × length, or without the batch"
            | 2L -> "batch × channels × height × width, or without the batch"
            | _ -> "batch × channels × depth × height × width, or without the batch"

        [
            if channels < 0L || n > 0L && channels > 1L then
                TensorNetError.Shape("The input", Check.shapeOf x, form)
            elif x.shape[int channels] <> g.InChannels then
                TensorNetError.Shape("The input", Check.shapeOf x, $"{g.InChannels} channels along axis {channels}")
            else
                for i in 0 .. int n - 1 do
                    let axis = int channels + 1 + i
                    let least, why = leastAlong g i

                    if x.shape[axis] < least then
                        TensorNetError.Shape("The input", Check.shapeOf x, $"at least {least} along axis {axis}: {why}")
            if x.dtype <> weight.dtype then
                TensorNetError.DType("The input", string x.dtype, string weight.dtype)
            if x.device_type <> weight.device_type then
                TensorNetError.Unsupported("The device of the input", string x.device, $"that of the layer, {weight.device}")
        ]

    /// Everything: rank, channels, sizes, and the dtype and device of the weight.
    let errors (g: ConvGeometry) (weight: Tensor) (x: Tensor) : TensorNetError list =
        match (if isNull (box x) || x.IsInvalid then Check.readable "The input" x else []) with
        | [] when g.IsEmbedding -> tokenErrors g weight x
        | [] when x.is_sparse -> Check.readable "The input" x
        | [] -> misfits g weight x
        | errors -> errors
