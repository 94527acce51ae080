namespace TensorNets.Samples.Transfer;

/// <summary>What cells of the study of hypotheses are of; those of one kind are held against each other.</summary>
/// <param name="Backbone">The network.</param>
/// <param name="Kernels">The format of its 3×3 kernels.</param>
public sealed record HypothesisKind(Backbone Backbone, Formats Kernels)
{
    /// <summary>The kind that all hypotheses are asked of.</summary>
    public static HypothesisKind Main { get; } = new(Backbone.ResNet18, Formats.CP);

    /// <summary>A name for titles.</summary>
    public string Name => Backbone == Backbone.Plain ? $"{SizeTable.NameOf(Kernels)}, no batch norms" : SizeTable.NameOf(Kernels);

    /// <summary>What is added to the names of files.</summary>
    public string Suffix =>
        (Kernels == Formats.CP ? "" : $"-{Kernels}".ToLowerInvariant()) + (Backbone == Backbone.ResNet18 ? "" : $"-{Backbone}".ToLowerInvariant());

    /// <summary>The kind of a cell.</summary>
    public static HypothesisKind Of(HypothesisSettings settings) => new(settings.Run.Backbone, settings.Kernels);

    /// <summary>The kinds that cells have.</summary>
    public static IReadOnlyList<HypothesisKind> Of(IEnumerable<HypothesisCell> cells) =>
        [.. cells.Select(cell => Of(cell.Settings)).Distinct().OrderBy(kind => (kind.Backbone, kind.Kernels))];

    /// <summary>The cells of this kind, and the dense ones of the network, which have no format.</summary>
    public IReadOnlyList<HypothesisCell> Cells(IEnumerable<HypothesisCell> all) =>
    [
        .. all.Where(cell => Of(cell.Settings) == this
            || (cell.Parametrization == Parametrization.Dense && cell.Settings.IsMain && cell.Settings.Run.Backbone == Backbone)),
    ];
}
