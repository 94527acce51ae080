using System.Text.Json;
using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>Cells of a study as JSON files of a folder, each written whole, or as lines of one file.</summary>
public static class CellFiles
{
    private static readonly JsonSerializerOptions Lines = new(Numbers.Format) { WriteIndented = false };

    /// <summary>Writes a cell.</summary>
    public static void Save<T>(string file, T cell) => WriteWhole(file, JsonSerializer.Serialize(cell, Numbers.Format) + "\n");

    /// <summary>Writes a file beside its place, then moves it there: a run that is ended leaves no half of one, and workers that write
    /// the same file do not meet.</summary>
    public static void WriteWhole(string file, string text)
    {
        var part = $"{file}.{Guid.NewGuid():N}.part";
        File.WriteAllText(part, text);
        File.Move(part, file, overwrite: true);
    }

    /// <summary>Every cell of the files of a folder by a pattern, or of a file with a line for each.</summary>
    public static IReadOnlyList<T> Load<T>(string place, string pattern) =>
        File.Exists(place)
            ? [.. File.ReadLines(place).Select(line => Parse<T>(place, line))]
            : [.. Directory.EnumerateFiles(place, pattern).Order().Select(file => Parse<T>(file, File.ReadAllText(file)))];

    /// <summary>The cell of a file, as a list of one; of no file, an empty one.</summary>
    public static IReadOnlyList<T> Found<T>(string file) => File.Exists(file) ? [Parse<T>(file, File.ReadAllText(file))] : [];

    /// <summary>Writes cells to one file, a line for each.</summary>
    public static void Collect<T>(string file, IEnumerable<T> cells) => File.WriteAllLines(file, cells.Select(Line));

    /// <summary>A cell or its settings in one line.</summary>
    public static string Line<T>(T value) => JsonSerializer.Serialize(value, Lines);

    private static T Parse<T>(string file, string text) =>
        JsonSerializer.Deserialize<T>(text, Numbers.Format) ?? throw new JsonException($"{file}: found null, expected a cell.");
}
