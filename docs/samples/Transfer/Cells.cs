namespace TensorNets.Samples.Transfer;

/// <summary>The cells of the study as files.</summary>
public static class Cells
{
    /// <summary>The file of a seed's network under a method; without one, of the dense network.</summary>
    public static string FileOf(string folder, int seed, Method? method) =>
        Path.Combine(folder, $"seed{seed}-{method?.ToString() ?? "dense"}.json");

    /// <summary>Writes a cell.</summary>
    public static void Save(string folder, Cell cell) => CellFiles.Save(FileOf(folder, cell.Seed, cell.Method), cell);

    /// <summary>Every cell of a folder, or of a file with a line for each.</summary>
    public static IReadOnlyList<Cell> Load(string place) => CellFiles.Load<Cell>(place, "seed*.json");

    /// <summary>Writes cells to one file, a line for each, without the folder that they were made in.</summary>
    public static void Collect(string file, IEnumerable<Cell> cells) =>
        CellFiles.Collect(file, cells.Select(cell => cell with { Settings = cell.Settings with { Output = new Settings().Output } }));

    /// <summary>The cell that was made with these settings, wherever and with however many threads; null: none.</summary>
    public static Cell? Find(Settings settings, int seed, Method? method) =>
        CellFiles.Found<Cell>(FileOf(settings.Output, seed, method)).FirstOrDefault(cell =>
            cell.Settings with { Output = settings.Output, Threads = settings.Threads } == settings);
}
