using System.Globalization;

namespace TensorNets.Samples.Transfer;

/// <summary>Cells of the study of hypotheses as JSON files of a folder, each written whole.</summary>
public static class HypothesisCells
{
    private const string Prefix = "hypotheses-seed";

    /// <summary>The file of a cell.</summary>
    public static string FileOf(HypothesisSettings settings, int seed, Parametrization parametrization)
    {
        var rates = string.Join("-", settings.Rates.Select(rate => rate.ToString(CultureInfo.InvariantCulture)));
        var training = settings.IsMain
            ? ""
            : $"-{settings.Stepper}{(settings.Frozen ? "-frozen" : "-training")}-{settings.Run.TuneSteps}steps-{rates}";
        var bits = settings.BitsPredicted.Count > 0 ? "" : $"-bits{string.Join("-", settings.Bits)}";
        var kind = HypothesisKind.Of(settings).Suffix;
        return Path.Combine(settings.Run.Output, $"{Prefix}{seed}-{parametrization}{kind}{training}{bits}.json".ToLowerInvariant());
    }

    /// <summary>Writes a cell.</summary>
    public static void Save(HypothesisCell cell) => CellFiles.Save(FileOf(cell.Settings, cell.Seed, cell.Parametrization), cell);

    /// <summary>Every cell of a folder, or of a file with a line for each.</summary>
    public static IReadOnlyList<HypothesisCell> Load(string place) => CellFiles.Load<HypothesisCell>(place, $"{Prefix}*.json");

    /// <summary>Writes cells to one file, a line for each, without the folder that they were made in.</summary>
    public static void Collect(string file, IEnumerable<HypothesisCell> cells) =>
        CellFiles.Collect(file, cells.OrderBy(cell => cell.Seed).ThenBy(cell => cell.Parametrization).Select(cell =>
            cell with { Settings = Anywhere(cell.Settings, cell.Settings.Run.Threads) }));

    /// <summary>The cell that was made with these settings, wherever and with however many threads; null: none.</summary>
    public static HypothesisCell? Find(HypothesisSettings settings, int seed, Parametrization parametrization) =>
        CellFiles.Found<HypothesisCell>(FileOf(settings, seed, parametrization)).FirstOrDefault(cell =>
            CellFiles.Line(Anywhere(cell.Settings, 1)) == CellFiles.Line(Anywhere(settings, 1)));

    /// <summary>Cells of the same network and training put together, whether they were made at once or in pieces, such as some rates each.
    /// Of a reading that was made twice the first one stands, that of cells of which all is measured before others.</summary>
    public static IReadOnlyList<HypothesisCell> Joined(IEnumerable<HypothesisCell> cells) =>
    [
        .. cells.GroupBy(cell => (HypothesisKind.Of(cell.Settings), HypothesisTraining.Of(cell.Settings), cell.Seed, cell.Parametrization))
            .Select(group => group.OrderByDescending(cell => cell.Settings.IsMain).ToList())
            .Select(pieces => pieces[0] with
            {
                Rounded = [.. pieces.SelectMany(cell => cell.Rounded).DistinctBy(one => (one.Bits, one.Scales))],
                Rates = [.. pieces.SelectMany(cell => cell.Rates).DistinctBy(one => one.Rate).OrderBy(one => one.Rate)],
                Predictions = [.. pieces.SelectMany(cell => cell.Predictions).DistinctBy(one => (one.Path, one.Bits))],
            }),
    ];

    private static HypothesisSettings Anywhere(HypothesisSettings settings, int threads) =>
        settings with { Run = settings.Run with { Output = new Settings().Output, Threads = threads } };
}
