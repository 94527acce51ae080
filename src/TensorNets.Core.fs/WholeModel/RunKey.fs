namespace TensorNets

open System
open System.IO
open System.Security.Cryptography
open System.Text
open TorchSharp

/// The name under which a finished layer stands in a work folder: a hash of everything that its numbers depend on.
[<RequireQualifiedAccess>]
module internal RunKey =
    /// To be raised whenever the same inputs give other numbers.
    let private version = 3

    let private text (hash: Stream) (text: string) = hash.Write(ReadOnlySpan(Encoding.UTF8.GetBytes(text + ";")))

    let private tensor (hash: Stream) (tensor: Tensor) =
        text hash $"{tensor.dtype} {TensorNetError.shapeText (Check.shapeOf tensor)}"
        TensorBytes.write hash tensor

    /// The key of a layer of a plan: weight and bias, geometry, format, options, norm, version.
    let ofLayer (options: CompressOptions) (planned: PlannedLayer) (g: ConvGeometry) (weight: Tensor) (bias: Tensor option) (norm: Norm) =
        use algorithm = SHA256.Create()
        use hash = new CryptoStream(Stream.Null, algorithm, CryptoStreamMode.Write)
        let text = text hash

        let geometry =
            $"{g.InChannels} {g.OutChannels} {g.Groups} {g.Kernel} {g.Stride} {g.Dilation} {g.Padding} {g.PaddingMode} {g.Transposed}"

        text $"{version} {geometry} {planned.Choice}"

        if g.IsEmbedding then
            text (string g)

        text $"{options.Sweeps} {options.Tolerance:R} {options.Corrections} {options.Slack:R} {options.TimeLimit}"

        match options.Quantize with
        | Some quantize -> text $"{quantize.Bits} {quantize.Scales}"
        | None -> ()

        // Other kernels round otherwise.
        text (string (Kernels.isOn ()))
        text "weight"
        tensor hash weight

        match bias with
        | Some bias ->
            text "bias"
            tensor hash bias
        | None -> ()

        match norm with
        | Norm.Weighted(modes, covariance) ->
            text $"{modes}"
            tensor hash covariance
        | Norm.Frobenius -> ()

        hash.FlushFinalBlock()
        Convert.ToHexStringLower(nonNull algorithm.Hash)
