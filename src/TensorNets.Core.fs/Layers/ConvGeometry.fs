namespace TensorNets

open System
open TorchSharp

/// <summary>What makes a layer an embedding, which gives a row of its weight for each token.</summary>
type EmbeddingOptions =
    {
        /// The token whose row is zero and has no gradient, as `padding_idx` of TorchSharp's layer has none; None: there is no such token.
        PaddingIdx: int64 option
    }

/// <summary>Everything about a linear layer, a convolution or an embedding but its numbers. Lists have one entry for each spatial
/// dimension: none for a linear layer or an embedding, one to three for convolutions.</summary>
type ConvGeometry =
    {
        /// Channels of the input; features of a linear layer; of an embedding the tokens that it knows, its vocabulary.
        InChannels: int64
        /// Channels of the output; features of a linear layer or an embedding.
        OutChannels: int64
        /// The size of the kernel.
        Kernel: int64 list
        /// Positions of the input from one window to the next; of a transposed convolution, of the output.
        Stride: int64 list
        /// Positions of the input from one entry of the kernel to the next.
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
        /// Of an embedding what is particular to it; None of any other layer.
        Embedding: EmbeddingOptions option
    }

    /// Whether the layer is an embedding.
    member this.IsEmbedding = this.Embedding.IsSome

    /// Whether a dense weight has the input channels in front: (in, out, …) in place of (out, in, …).
    member internal this.IsInputFirst = this.Transposed || this.IsEmbedding

    /// The token whose row is zero.
    member internal this.PaddingIdx = this.Embedding |> Option.bind _.PaddingIdx

    /// The kind of layer, as TorchSharp names it.
    member internal this.Kind =
        match this.Kernel.Length, this.Transposed with
        | _ when this.IsEmbedding -> "Embedding"
        | 0, _ -> "Linear"
        | n, true -> $"ConvTranspose{n}d"
        | n, false -> $"Conv{n}d"

    /// The kind of layer and its channels, then what is not as in a layer without options: `Conv2d 64 -> 128, kernel [3, 3], stride [2,
    /// 2]`.
    override this.ToString() =
        let n = this.Kernel.Length
        let ones, none = List.replicate n 1L, List.replicate n (struct (0L, 0L))
        let pair (struct (before, after)) = if before = after then string before else $"{before}+{after}"

        String.concat
            ", "
            [
                $"{this.Kind} {this.InChannels} -> {this.OutChannels}"
                if n > 0 then
                    $"kernel {TensorNetError.shapeText this.Kernel}"
                if this.Stride <> ones then
                    $"stride {TensorNetError.shapeText this.Stride}"
                if this.Dilation <> ones then
                    $"dilation {TensorNetError.shapeText this.Dilation}"
                if this.Padding <> none then
                    $"padding [{String.Join(',', this.Padding |> List.map pair)}] ({this.PaddingMode})"
                if this.Groups <> 1L then
                    $"groups {this.Groups}"
                if this.OutputPadding |> List.exists ((<>) 0L) then
                    $"output_padding {TensorNetError.shapeText this.OutputPadding}"
                match this.PaddingIdx with
                | Some token -> $"padding_idx {token}"
                | None -> ()
            ]

/// What a geometry or a tensor for it cannot be.
[<RequireQualifiedAccess>]
module internal GeometryChecks =
    /// The number of kernel positions, 1 for a linear layer.
    let positions (g: ConvGeometry) = List.fold (*) 1L g.Kernel

    /// Padding before and after in each dimension, as text.
    let paddingText (g: ConvGeometry) : string =
        let pairs = g.Padding |> List.map (fun (struct (before, after)) -> $"({before}, {after})")
        "[" + String.Join(", ", pairs) + "]"

    /// What a layer of numbers cannot be, whatever its kind.
    let private ofNumbers (g: ConvGeometry) : TensorNetError list =
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

    /// What an embedding cannot be.
    let private embeddingErrors (g: ConvGeometry) : TensorNetError list =
        [
            if not g.Kernel.IsEmpty || g.Groups <> 1L || g.Transposed then
                let found =
                    $"kernel_size {TensorNetError.shapeText g.Kernel}, groups {g.Groups}, transposed {g.Transposed}"

                TensorNetError.Unsupported("An embedding", found, "no kernel, one group, not transposed")
            match g.PaddingIdx with
            | Some token when token < 0L || token >= g.InChannels ->
                TensorNetError.Unsupported("padding_idx", string token, $"a token from 0 to {g.InChannels - 1L}")
            | _ -> ()
        ]

    /// What a layer of numbers cannot be, all problems at once.
    let errors (g: ConvGeometry) : TensorNetError list = ofNumbers g @ (if g.IsEmbedding then embeddingErrors g else [])

    /// Throws where a geometry cannot be.
    let sound (g: ConvGeometry) = errors g |> TensorNetError.raiseAny

    /// Throws where a tensor cannot be laid out as one of a shape, or of as many entries.
    let laid (what: string) (shape: int64 list) (tensor: Tensor) =
        let errors = Check.readable what tensor

        if not errors.IsEmpty then
            TensorNetError.raiseErrors (Error errors)
        elif tensor.numel () <> List.fold (*) 1L shape then
            let expected = $"the entries of {TensorNetError.shapeText shape}"
            TensorNetError.raiseErrors (Error [ TensorNetError.Shape(what, Check.shapeOf tensor, expected) ])
