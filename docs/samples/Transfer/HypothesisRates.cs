namespace TensorNets.Samples.Transfer;

/// <summary>The largest rates that networks bear.</summary>
internal static class HypothesisRates
{
    /// <summary>The table: the largest of the rates tried at which, and below which, no seed diverges, for every way to train.</summary>
    internal static string Of(IReadOnlyList<HypothesisCell> cells)
    {
        var mainSteps = HypothesisTable.StepsOf(cells);
        var columns = (from kind in HypothesisKind.Of(cells)
                       from training in kind.Cells(cells).GroupBy(cell => HypothesisTraining.Of(cell.Settings))
                       orderby kind == HypothesisKind.Main descending, training.Key.Stepper, training.Key.Steps, training.Key.Frozen
                       select (Name: $"{kind.Name}{training.Key.Beside(mainSteps)}", Cells: training.ToList())).ToList();
        var rows = from key in HypothesisTable.Groups(cells).Select(one => one.Key)
                   select (IReadOnlyList<string>)
                   [
                       HypothesisTable.NameOf(key),
                       .. columns.Select(column => Borne(column.Cells.Where(cell => cell.Parametrization == key))),
                   ];
        return Markdown.Table(["3×3 kernels", .. columns.Select(column => column.Name)], rows);
    }

    private static string Borne(IEnumerable<HypothesisCell> cells)
    {
        var rates = cells.SelectMany(cell => cell.Rates).GroupBy(one => one.Rate).OrderBy(group => group.Key).ToList();
        var borne = rates.TakeWhile(group => group.All(one => !one.Diverged)).LastOrDefault();
        return borne is not null ? HypothesisTable.TextOf(borne.Key)
            : rates.Count > 0 ? $"below {HypothesisTable.TextOf(rates[0].Key)}"
            : HypothesisTable.None;
    }
}
