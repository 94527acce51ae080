namespace TensorNets

open System
open TorchSharp

/// TorchSharp's own layers, from a geometry.
[<RequireQualifiedAccess>]
module internal DenseLayer =
    /// A geometry whose padding differs before and after can only be written as 'same'.
    let private isSame (g: ConvGeometry) = g.Padding |> List.exists (fun (struct (a, b)) -> a <> b)

    let private build (g: ConvGeometry) (bias: bool) (dtype: torch.ScalarType) (device: torch.Device) : torch.nn.Module<Tensor, Tensor> =
        let dtype = Nullable dtype
        let s, t, mode, groups = g.InChannels, g.OutChannels, g.PaddingMode, g.Groups
        let before = g.Padding |> List.map (fun (struct (a, _)) -> a)
        let pair (l: int64 list) : Nullable<struct (int64 * int64)> = Nullable(struct (l[0], l[1]))
        let triple (l: int64 list) : Nullable<struct (int64 * int64 * int64)> = Nullable(struct (l[0], l[1], l[2]))
        let k, stride, dilation, extra = g.Kernel, g.Stride, g.Dilation, g.OutputPadding

        match k.Length, g.Transposed, isSame g with
        | 0, _, _ -> torch.nn.Linear(s, t, bias, device, dtype)
        | 1, false, false -> torch.nn.Conv1d(s, t, k[0], stride[0], before[0], dilation[0], mode, groups, bias, device, dtype)
        | 1, false, true -> torch.nn.Conv1d(s, t, k[0], Padding.Same, stride[0], dilation[0], mode, groups, bias, device, dtype)
        | 1, true, _ -> torch.nn.ConvTranspose1d(s, t, k[0], stride[0], before[0], extra[0], dilation[0], mode, groups, bias, device, dtype)
        | 2, false, false ->
            torch.nn.Conv2d(s, t, struct (k[0], k[1]), pair stride, pair before, pair dilation, mode, groups, bias, device, dtype)
        | 2, false, true ->
            torch.nn.Conv2d(s, t, struct (k[0], k[1]), Padding.Same, pair stride, pair dilation, mode, groups, bias, device, dtype)
        | 2, true, _ ->
            torch.nn.ConvTranspose2d(
                s,
                t,
                struct (k[0], k[1]),
                pair stride,
                pair before,
                pair extra,
                pair dilation,
                mode,
                groups,
                bias,
                device,
                dtype
            )
        | _, _, false ->
            torch.nn.Conv3d(
                s,
                t,
                struct (k[0], k[1], k[2]),
                triple stride,
                triple before,
                triple dilation,
                mode,
                groups,
                bias,
                device,
                dtype
            )
        | _ ->
            torch.nn.Conv3d(
                s,
                t,
                struct (k[0], k[1], k[2]),
                Padding.Same,
                triple stride,
                triple dilation,
                mode,
                groups,
                bias,
                device,
                dtype
            )

    /// A layer of another kind than an embedding.
    let private ofNumbers (g: ConvGeometry) (bias: bool) (dtype: torch.ScalarType) (device: torch.Device) =
        let dense = build g bias dtype device

        match ConvGeometry.ofDense dense with
        | Ok(found, _, _) when { found with PaddingMode = g.PaddingMode } = g -> dense
        | _ ->
            dense.Dispose()

            let found =
                $"padding {GeometryChecks.paddingText g}, output_padding {TensorNetError.shapeText g.OutputPadding}"

            Error
                [
                    TensorNetError.Unsupported("geometry", found, "padding and output_padding that TorchSharp's own layer can have")
                ]
            |> TensorNetError.raiseErrors

    /// The dense layer of a geometry, with whatever numbers it starts from. Throws where TorchSharp has none: paddings that differ before
    /// and after and are not those of 'same', output paddings that differ between dimensions. An embedding takes what it is told: no pass
    /// through it has to show that.
    let make (g: ConvGeometry) (bias: bool) (dtype: torch.ScalarType) (device: torch.Device) : torch.nn.Module<Tensor, Tensor> =
        if g.IsEmbedding then
            let padding = Option.toNullable g.PaddingIdx
            torch.nn.Embedding(g.InChannels, g.OutChannels, padding_idx = padding, device = device, dtype = Nullable dtype)
        else
            ofNumbers g bias dtype device
