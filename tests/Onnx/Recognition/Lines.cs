using System.Text.RegularExpressions;
using SkiaSharp;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles.Recognition;

/// <summary>A line of text as a network reads it.</summary>
/// <param name="Text">What stands there.</param>
/// <param name="Image">The line, 1 × 3 × 48 × its width, from −1 to 1.</param>
internal sealed record TextLine(string Text, Tensor Image);

/// <summary>Lines of known text, drawn in the fonts of this machine: words of the licences that every Debian has, small and large, dark and
/// pale, a little askew and grainy.</summary>
internal sealed partial class Lines
{
    private const int Height = 48;

    private static readonly string[] Texts = ["Apache-2.0", "GPL-3", "MPL-2.0"];

    private readonly string[] words;

    private Lines(string[] words, IReadOnlyList<string> fonts) => (this.words, Fonts) = (words, fonts);

    /// <summary>The files of the fonts.</summary>
    internal IReadOnlyList<string> Fonts { get; }

    /// <summary>The texts and fonts of this machine; null: it lacks them.</summary>
    internal static Lines? Here()
    {
        var texts = Texts.Select(name => Path.Combine("/usr/share/common-licenses", name)).Where(File.Exists).ToList();
        var fonts = Directory.Exists("/usr/share/fonts/truetype")
            ? Directory.GetFiles("/usr/share/fonts/truetype", "DejaVu*.ttf", SearchOption.AllDirectories)
                .Where(path => !path.Contains("Math")).Order(StringComparer.Ordinal).ToList()
            : [];
        if (texts.Count < Texts.Length || fonts.Count == 0) return null;
        return new([.. texts.SelectMany(path => Word().Matches(File.ReadAllText(path)).Select(match => match.Value))], fonts);
    }

    /// <summary>So many lines, the same for a seed and fonts; the caller owns their images.</summary>
    internal IReadOnlyList<TextLine> Draw(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => Draw(random))];
    }

    private TextLine Draw(Random random)
    {
        var (length, at) = (random.Next(14, 30), random.Next(words.Length - 30));
        var text = words[at];
        while (text.Length < length) text += $" {words[++at]}";
        using var typeface = SKTypeface.FromFile(Fonts[random.Next(Fonts.Count)]);
        using var font = new SKFont(typeface, random.Next(9, 34)) { Subpixel = true };
        var paper = (byte)random.Next(150, 256);
        using var paint = new SKPaint
        {
            Color = new SKColor((byte)random.Next(90), (byte)random.Next(90), (byte)random.Next(90)),
            IsAntialias = true,
        };
        var (margin, rise) = (font.Size * .3f, font.Metrics.Descent - font.Metrics.Ascent);
        var info = new SKImageInfo((int)(font.MeasureText(text) + (2 * margin)) + 1, (int)(rise + margin) + 1, SKColorType.Rgba8888);
        using var drawn = new SKBitmap(info);
        using var canvas = new SKCanvas(drawn);
        canvas.Clear(new SKColor(paper, paper, (byte)(paper - random.Next(40))));
        canvas.RotateDegrees((random.NextSingle() - .5f) * 60 / text.Length, info.Width / 2f, info.Height / 2f);
        canvas.DrawText(text, margin, (margin / 2) - font.Metrics.Ascent, font, paint);
        canvas.Flush();
        var size = new SKImageInfo(Math.Max(Height, info.Width * Height / info.Height), Height, SKColorType.Rgba8888);
        using var fitting = drawn.Resize(size, new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear));
        return new(text, Numbers(fitting, random));
    }

    /// <summary>Blue, green and red from −1 to 1, with grain.</summary>
    private static Tensor Numbers(SKBitmap image, Random random)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator((ulong)random.Next());
        var bytes = tensor(image.Bytes, [image.Height, image.Width, 4], dtype: ScalarType.Byte);
        var colours = bytes.narrow(2, 0, 3).flip(2).to(ScalarType.Float32) / 127.5f - 1;
        var grain = randn(colours.shape, dtype: ScalarType.Float32, generator: generator) * (.15 * random.NextDouble());
        return (colours + grain).clamp(-1, 1).permute(2, 0, 1).unsqueeze(0).contiguous().MoveToOuterDisposeScope();
    }

    [GeneratedRegex(@"(?<=\s)[A-Za-z0-9][A-Za-z0-9.,;:'()/-]*(?=\s)")]
    private static partial Regex Word();
}
