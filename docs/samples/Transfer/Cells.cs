using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace TensorNets.Samples.Transfer;

/// <summary>Cells as JSON files of a folder, each written whole.</summary>
public static class Cells
{
    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter() },
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>The file of a seed's network under a method; without one, of the dense network.</summary>
    public static string FileOf(string folder, int seed, Method? method) =>
        Path.Combine(folder, $"seed{seed}-{method?.ToString() ?? "dense"}.json");

    /// <summary>Writes a cell beside its place, then moves it there: a run that is ended leaves no half of one.</summary>
    public static void Save(string folder, Cell cell)
    {
        var file = FileOf(folder, cell.Seed, cell.Method);
        File.WriteAllText(file + ".part", JsonSerializer.Serialize(cell, Json) + "\n");
        File.Move(file + ".part", file, overwrite: true);
    }

    /// <summary>Every cell of a folder.</summary>
    public static IReadOnlyList<Cell> Load(string folder) =>
        [.. Directory.EnumerateFiles(folder, "seed*.json").Order().Select(file =>
            JsonSerializer.Deserialize<Cell>(File.ReadAllText(file), Json)
            ?? throw new JsonException($"{file}: found null, expected a cell."))];
}
