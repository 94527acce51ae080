using System.Globalization;

namespace TensorNets.Tool.Files;

/// <summary>How the colours of an image become numbers: (colour − mean) / scale. Colours are from 0 to 1; for an input of whole numbers
/// they are from 0 to 255, unless a scale is given.</summary>
/// <param name="Mean">As it is typed: one number, or one for each channel between commas; empty: 0.</param>
/// <param name="Scale">As it is typed, likewise; empty: 1.</param>
/// <param name="IsBgr">Whether blue comes first, rather than red.</param>
internal sealed record Colours(string Mean = "", string Scale = "", bool IsBgr = false)
{
    internal float[] Means() => Numbers(Mean) ?? [0];

    internal float[] Scales() => Numbers(Scale) ?? [1];

    /// <summary>One number, or three between commas; null where the text is neither.</summary>
    internal static float[]? Numbers(string text)
    {
        var numbers = text.Split(',').Select(part =>
            float.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number : float.NaN).ToArray();
        return numbers.Length is 1 or 3 && numbers.All(float.IsFinite) ? numbers : null;
    }
}
