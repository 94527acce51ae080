using Microsoft.FSharp.Core;
using TorchSharp;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

/// <summary>What a convolution may have beside channels and kernel size. Lists have one number for each spatial dimension.</summary>
/// <param name="Stride">Null: 1.</param>
/// <param name="Padding">Positions added before and after; of a transposed convolution, positions of the output cut off on both sides.
/// Null: 0.</param>
/// <param name="Dilation">Null: 1.</param>
/// <param name="Groups">Groups of channels that do not mix.</param>
/// <param name="PaddingMode">What added positions hold.</param>
/// <param name="OutputPadding">Positions added behind the output of a transposed convolution. Null: 0.</param>
/// <param name="PaddingAfter">Positions added after, where that is not what is added before. Null: as <c>Padding</c>.</param>
public sealed record ConvOptions(
    IReadOnlyList<long>? Stride = null,
    IReadOnlyList<long>? Padding = null,
    IReadOnlyList<long>? Dilation = null,
    long Groups = 1,
    PaddingModes PaddingMode = PaddingModes.Zeros,
    IReadOnlyList<long>? OutputPadding = null,
    IReadOnlyList<long>? PaddingAfter = null);

/// <summary>Layers without their numbers. What cannot be is refused where a layer is made of it.</summary>
public static class Geometries
{
    /// <summary>A linear layer: its kernel is over (in, out).</summary>
    /// <param name="inFeatures">Numbers that go in.</param>
    /// <param name="outFeatures">Numbers that come out.</param>
    public static ConvGeometry Linear(long inFeatures, long outFeatures) => ConvGeometryModule.plain(0, inFeatures, outFeatures);

    /// <summary>An embedding: its kernel is over (tokens, features), as its dense weight.</summary>
    /// <param name="vocabulary">The number of tokens, which count from 0.</param>
    /// <param name="width">Features of a row.</param>
    /// <param name="paddingIdx">The token whose row is zero and has no gradient; null: there is none.</param>
    public static ConvGeometry Embedding(long vocabulary, long width, long? paddingIdx = null) =>
        ConvGeometryModule.embedding(vocabulary, width, paddingIdx is { } token ? FSharpOption<long>.Some(token) : null);

    /// <summary>A convolution over one, two or three dimensions: its kernel is over (in, kernel positions, out), with groups over (groups,
    /// in of a group, kernel positions, out of a group).</summary>
    /// <param name="inChannels">Channels of the input.</param>
    /// <param name="outChannels">Channels of the output.</param>
    /// <param name="kernel">Its size along each spatial dimension.</param>
    /// <param name="options">Stride, padding and so on; null: the defaults.</param>
    public static ConvGeometry Convolution(long inChannels, long outChannels, IReadOnlyList<long> kernel, ConvOptions? options = null) =>
        Of(inChannels, outChannels, kernel, options ?? new ConvOptions(), false);

    /// <summary>A transposed convolution over one or two dimensions.</summary>
    /// <param name="inChannels">Channels of the input.</param>
    /// <param name="outChannels">Channels of the output.</param>
    /// <param name="kernel">Its size along each spatial dimension.</param>
    /// <param name="options">Stride, padding and so on; null: the defaults.</param>
    public static ConvGeometry TransposedConvolution(
        long inChannels, long outChannels, IReadOnlyList<long> kernel, ConvOptions? options = null) =>
        Of(inChannels, outChannels, kernel, options ?? new ConvOptions(), true);

    /// <summary>That of a dense layer: Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Linear or Embedding.</summary>
    /// <param name="dense">The layer.</param>
    /// <exception cref="TensorNetException">Another module, or an option that no factorized layer has.</exception>
    public static ConvGeometry Of(Module dense) => ConvGeometryModule.ofLayer(dense).OrThrow();

    private static ConvGeometry Of(long inChannels, long outChannels, IReadOnlyList<long> kernel, ConvOptions options, bool transposed)
    {
        IEnumerable<long> All(long value) => kernel.Select(_ => value);
        return new ConvGeometry(
            inChannels,
            outChannels,
            [.. kernel],
            [.. options.Stride ?? All(1)],
            [.. options.Dilation ?? All(1)],
            [.. (options.Padding ?? All(0)).Zip(options.PaddingAfter ?? options.Padding ?? All(0))],
            options.PaddingMode,
            options.Groups,
            transposed,
            [.. options.OutputPadding ?? All(0)],
            null);
    }
}
