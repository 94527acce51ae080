using SkiaSharp;
using static TorchSharp.torch;

namespace TensorNets.Tool.Files;

/// <summary>Images as inputs of networks.</summary>
internal static class ImageFile
{
    /// <summary>The endings of files that are read.</summary>
    internal static readonly IReadOnlyList<string> Endings = [".png", ".jpg", ".jpeg"];

    /// <summary>The brightest that a colour is in a file.</summary>
    private const float Most = 255;

    /// <summary>Red, green and blue of what an eye sees as bright (ITU-R BT.601).</summary>
    private static readonly float[] Bright = [.299f, .587f, .114f];

    /// <summary>The image as a batch of one, in the size, the order of axes and the type of numbers that the input has; where one side is
    /// open, it follows the other one, and the image keeps its size where both are. Transparent parts are black.</summary>
    /// <exception cref="ToolException">It is no image, or the input takes none.</exception>
    internal static Tensor Read(string path, GraphInput input, Colours pixels)
    {
        var (channels, height, width, isLast) = Layout(path, input);
        if (Math.Max(pixels.Means().Length, pixels.Scales().Length) > channels)
        {
            throw new ToolException(
                $"--mean or --scale has more numbers than input '{input.Name}' has channels ({channels})", "give one number");
        }

        using var scope = NewDisposeScope();
        var colours = Pixels(path, ((int)width, (int)height)).narrow(2, 0, 3).to(ScalarType.Float32);
        if (!input.IsWhole || pixels.Scale != "") colours = colours / Most;
        if (channels == 1) colours = (colours * tensor(Bright)).sum(2, keepdim: true);
        else if (pixels.IsBgr) colours = colours.flip(2);
        var scaled = (colours - tensor(pixels.Means())) / tensor(pixels.Scales());
        var ordered = (isLast ? scaled : scaled.permute(2, 0, 1)).unsqueeze(0).contiguous();
        return (input.IsWhole ? Whole(ordered, input.Type!.Value) : ordered).MoveToOuterDisposeScope();
    }

    /// <summary>The nearest whole numbers that a type has.</summary>
    private static Tensor Whole(Tensor numbers, ScalarType type)
    {
        var rounded = numbers.round();
        return (type switch
        {
            ScalarType.Byte => rounded.clamp(byte.MinValue, byte.MaxValue),
            ScalarType.Int8 => rounded.clamp(sbyte.MinValue, sbyte.MaxValue),
            _ => rounded,
        }).to(type);
    }

    /// <summary>Red, green, blue and opacity as bytes: rows, columns, four of each. Only an image of another size is resampled.</summary>
    private static Tensor Pixels(string path, (int Width, int Height) wanted)
    {
        using var image = SKBitmap.Decode(path)
            ?? throw new ToolException($"'{path}' is no image that can be read", "take it out of --data");
        var size = Size((image.Width, image.Height), wanted);
        using var fitting = size == (image.Width, image.Height) ? image.Copy(SKColorType.Rgba8888) : image.Resize(
            new SKImageInfo(size.Width, size.Height, SKColorType.Rgba8888, SKAlphaType.Premul),
            new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear));
        return tensor(fitting.Bytes, [size.Height, size.Width, 4], dtype: ScalarType.Byte);
    }

    private static (long Channels, long Height, long Width, bool IsLast) Layout(string path, GraphInput input) => input.Shape switch
    {
        [_, (1 or 3) and var channels, var height, var width] => (channels, height, width, false),
        [_, var height, var width, (1 or 3) and var channels] => (channels, height, width, true),
        _ => throw new ToolException(
            $"'{path}' is an image, and input '{input.Name}' is {DataFolder.Shape(input.Shape)}",
            "say with --input how it takes images, as 1,3,224,224"),
    };

    private static (int Width, int Height) Size((int Width, int Height) image, (int Width, int Height) input) => input switch
    {
        ( > 0, > 0) => input,
        ( > 0, _) => (input.Width, Math.Max(1, (int)Math.Round((double)image.Height * input.Width / image.Width))),
        (_, > 0) => (Math.Max(1, (int)Math.Round((double)image.Width * input.Height / image.Height)), input.Height),
        _ => image,
    };
}
