using System.Globalization;
using System.Text.Json;
using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>Cells of the study of hypotheses as JSON files of a folder, each written whole.</summary>
public static class HypothesisCells
{
    private const string Prefix = "hypotheses-seed";

    private static readonly JsonSerializerOptions Lines = new(Numbers.Format) { WriteIndented = false };

    /// <summary>The file of a cell.</summary>
    public static string FileOf(HypothesisSettings settings, int seed, Parametrization parametrization)
    {
        var rates = string.Join("-", settings.Rates.Select(rate => rate.ToString(CultureInfo.InvariantCulture)));
        var training = settings.IsMain ? "" : $"-{settings.Stepper}{(settings.Frozen ? "-frozen" : "-training")}-{rates}";
        return Path.Combine(settings.Run.Output, $"{Prefix}{seed}-{parametrization}{training}.json".ToLowerInvariant());
    }

    /// <summary>Writes a cell.</summary>
    public static void Save(HypothesisCell cell) =>
        Cells.WriteWhole(
            FileOf(cell.Settings, cell.Seed, cell.Parametrization), JsonSerializer.Serialize(cell, Numbers.Format) + "\n");

    /// <summary>Every cell of a folder, or of a file with a line for each.</summary>
    public static IReadOnlyList<HypothesisCell> Load(string place) =>
        File.Exists(place)
            ? [.. File.ReadLines(place).Select(line => Parse(place, line))]
            : [.. Directory.EnumerateFiles(place, $"{Prefix}*.json").Order().Select(file => Parse(file, File.ReadAllText(file)))];

    /// <summary>Writes cells to one file, a line for each, without the folder that they were made in.</summary>
    public static void Collect(string file, IEnumerable<HypothesisCell> cells) =>
        File.WriteAllLines(file, cells.OrderBy(cell => cell.Seed).ThenBy(cell => cell.Parametrization).Select(cell =>
            JsonSerializer.Serialize(cell with { Settings = Anywhere(cell.Settings, cell.Settings.Run.Threads) }, Lines)));

    /// <summary>The cell that was made with these settings, wherever and with however many threads; null: none.</summary>
    public static HypothesisCell? Find(HypothesisSettings settings, int seed, Parametrization parametrization)
    {
        var file = FileOf(settings, seed, parametrization);
        return File.Exists(file) && Parse(file, File.ReadAllText(file)) is var cell && Same(cell.Settings, settings) ? cell : null;
    }

    private static bool Same(HypothesisSettings one, HypothesisSettings other) =>
        JsonSerializer.Serialize(Anywhere(one, 1), Lines) == JsonSerializer.Serialize(Anywhere(other, 1), Lines);

    private static HypothesisSettings Anywhere(HypothesisSettings settings, int threads) =>
        settings with { Run = settings.Run with { Output = new Settings().Output, Threads = threads } };

    private static HypothesisCell Parse(string file, string text) =>
        JsonSerializer.Deserialize<HypothesisCell>(text, Numbers.Format)
        ?? throw new JsonException($"{file}: found null, expected a cell.");
}
