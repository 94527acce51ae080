using System.Globalization;

namespace TensorNets.Tool.Output;

/// <summary>Numbers and networks as tables show them.</summary>
internal static class Text
{
    internal static string Shape(IEnumerable<long> sizes) => string.Join("×", sizes);

    /// <summary>The format and ranks of a layer; its spec where they are not known.</summary>
    internal static string Network(StoredLayer stored) => stored.Format == "" ? SpecModule.print(stored.Layer.Spec) : stored.Format;

    /// <summary>Four digits; nothing where the number is not known.</summary>
    internal static string Real(double value) => double.IsNaN(value) ? "" : value.ToString("G4", CultureInfo.InvariantCulture);

    internal static string Count(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    internal static string Percent(double part, double whole) =>
        whole <= 0 ? "" : (100 * part / whole).ToString("F1", CultureInfo.InvariantCulture);

    /// <summary>Bytes in the unit that leaves three digits or so.</summary>
    internal static string Bytes(long bytes) => bytes switch
    {
        < 10_000 => $"{bytes} B",
        < 10_000_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e3:F0} kB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F1} MB"),
    };

    /// <summary>A span in the unit that people would say it in.</summary>
    internal static string Time(TimeSpan span) => span.TotalSeconds switch
    {
        < 90 => string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds:F0} s"),
        < 5400 => string.Create(CultureInfo.InvariantCulture, $"{span.TotalMinutes:F0} min"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{span.TotalHours:F1} h"),
    };
}
