using Spectre.Console;

namespace TensorNets.Samples.Transfer;

/// <summary>The table of the demonstration, which is that of the README.</summary>
public static class DemonstrationTable
{
    /// <summary>A row for the dense network and each compressed one, in Markdown.</summary>
    public static Table Of(IReadOnlyList<Cell> cells)
    {
        var table = new Table().Border(TableBorder.Markdown);
        string[] head = ["network", "parameters", "MFLOP", "file, MB", "as it stands", "batch norm re-estimated", "mean relative S"];
        foreach (var title in head)
        {
            table.AddColumn(title, column => column.RightAligned().NoWrap());
        }

        foreach (var cell in cells)
        {
            table.AddRow(
                Method.RatioOf(cell.Method),
                FormattableString.Invariant($"{cell.Parameters:N0}"),
                FormattableString.Invariant($"{cell.Flops / 1e6:F1}"),
                FormattableString.Invariant($"{(cell.FileBytes > 0 ? cell.FileBytes : 4.0 * cell.Parameters) / 1e6:F1}"),
                FormattableString.Invariant($"{100 * cell.Accuracy:F1}"),
                FormattableString.Invariant($"{100 * cell.Renormed:F1}"),
                cell.Method is null ? "–" : FormattableString.Invariant($"{cell.Sensitivity:N0}"));
        }

        return table;
    }
}
