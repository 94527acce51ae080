namespace TensorNets.Samples.Transfer;

/// <summary>The cells of the study of bytes as a Markdown table: means over the seeds and standard deviations.</summary>
public static class SizeTable
{
    private static readonly IReadOnlyList<string> Head =
    [
        "3×3 layers", "bits", "MB", "times fewer bytes", .. Markdown.AccuracyHeads,
    ];

    /// <summary>The methods of cells whose bytes were measured, with their cells; the dense network first, then by their bytes.</summary>
    public static IReadOnlyList<(Method? Method, IReadOnlyList<Cell> Cells)> Groups(IEnumerable<Cell> cells) =>
    [
        .. cells.Where(cell => cell.KernelBytes > 0).GroupBy(cell => cell.Method)
            .OrderBy(group => group.Key is not null).ThenByDescending(group => group.Average(cell => cell.KernelBytes))
            .Select(group => (group.Key, (IReadOnlyList<Cell>)[.. group.OrderBy(cell => cell.Seed)])),
    ];

    /// <summary>The name of a method, without its size.</summary>
    public static string NameOf(Method? method) => method switch
    {
        null => "dense, float",
        { Formats: Formats.Matrix } => "matrix, float",
        { Ranks: Ranks.Uniform } => "dense",
        { Formats: Formats.Dense } => "dense, bits planned",
        { Errors: Errors.Kernel } => $"{NameOf(method with { Errors = Errors.Calibrated })}, without data",
        { Cost: Cost.Bytes } => $"{NameOf(method.Formats)}, ranks and bits planned",
        _ => $"{NameOf(method.Formats)}, ranks planned, float",
    };

    internal static string NameOf(Formats formats) => formats switch
    {
        Formats.Tucker2 => "Tucker-2",
        Formats.TensorChain => "tensor chain",
        Formats.Matrix => "matrix",
        _ => $"{formats}",
    };

    /// <summary>The table.</summary>
    public static string Of(IReadOnlyList<Cell> cells)
    {
        var groups = Groups(cells);
        var dense = groups.Single(group => group.Method is null).Cells.ToDictionary(cell => cell.Seed);
        return Markdown.Table(
            Head,
            groups.Select(group => Columns(group.Method, [.. group.Cells.Where(cell => dense.ContainsKey(cell.Seed))], dense)));
    }

    /// <summary>How many times fewer bytes than those of the dense network, the mean over the seeds.</summary>
    public static double Fewer(IEnumerable<Cell> cells, Cell dense) => dense.KernelBytes / cells.Average(cell => cell.KernelBytes);

    private static IReadOnlyList<string> Columns(Method? method, IReadOnlyList<Cell> cells, Dictionary<int, Cell> dense) =>
    [
        NameOf(method),
        BitsOf(cells),
        Markdown.Text(cells.Average(cell => cell.KernelBytes) / 1e6, "F2"),
        Markdown.Text(Fewer(cells, dense.Values.First()), "F1"),
        .. Markdown.Accuracies(cells, dense),
    ];

    private static string BitsOf(IReadOnlyList<Cell> cells)
    {
        var layers = cells.SelectMany(cell => cell.Layers);
        var bits = layers.Where(layer => layer.Bits > 0).Select(layer => layer.Bits).Distinct().Order().ToList();
        return bits.Count == 0 ? "32" : bits.Count == 1 ? $"{bits[0]}" : $"{bits[0]} to {bits[^1]}";
    }
}
