using System.Text.Json;
using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>Cells as JSON files of a folder, each written whole.</summary>
public static class Cells
{
    /// <summary>The file of a seed's network under a method; without one, of the dense network.</summary>
    public static string FileOf(string folder, int seed, Method? method) =>
        Path.Combine(folder, $"seed{seed}-{method?.ToString() ?? "dense"}.json");

    /// <summary>Writes a cell.</summary>
    public static void Save(string folder, Cell cell) =>
        WriteWhole(FileOf(folder, cell.Seed, cell.Method), JsonSerializer.Serialize(cell, Numbers.Format) + "\n");

    /// <summary>Writes a file beside its place, then moves it there: a run that is ended leaves no half of one, and workers that write
    /// the same file do not meet.</summary>
    public static void WriteWhole(string file, string text)
    {
        var part = $"{file}.{Guid.NewGuid():N}.part";
        File.WriteAllText(part, text);
        File.Move(part, file, overwrite: true);
    }

    /// <summary>Every cell of a folder, or of a file with a line for each.</summary>
    public static IReadOnlyList<Cell> Load(string place) =>
        File.Exists(place)
            ? [.. File.ReadLines(place).Select(line => Parse(place, line))]
            : [.. Directory.EnumerateFiles(place, "seed*.json").Order().Select(Read)];

    /// <summary>Writes cells to one file, a line for each, without the folder that they were made in.</summary>
    public static void Collect(string file, IEnumerable<Cell> cells)
    {
        var lines = new JsonSerializerOptions(Numbers.Format) { WriteIndented = false };
        File.WriteAllLines(file, cells.Select(cell =>
            JsonSerializer.Serialize(cell with { Settings = cell.Settings with { Output = new Settings().Output } }, lines)));
    }

    /// <summary>The cell that was made with these settings, wherever and with however many threads; null: none.</summary>
    public static Cell? Find(Settings settings, int seed, Method? method)
    {
        var file = FileOf(settings.Output, seed, method);
        return File.Exists(file) && Read(file) is var cell
            && cell.Settings with { Output = settings.Output, Threads = settings.Threads } == settings ? cell : null;
    }

    private static Cell Read(string file) => Parse(file, File.ReadAllText(file));

    private static Cell Parse(string file, string text) =>
        JsonSerializer.Deserialize<Cell>(text, Numbers.Format) ?? throw new JsonException($"{file}: found null, expected a cell.");
}
