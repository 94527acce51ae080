using System.Globalization;
using System.Text;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Report;

/// <summary>Pictures of a report as SVG that takes its colours from the page.</summary>
internal static class Charts
{
    private const double Width = 1000, RowHeight = 22, NameWidth = 240, NumberWidth = 130;

    /// <summary>A bar for each layer: outlined what it had, filled what it has.</summary>
    internal static string Bars(IReadOnlyList<(string Name, long Dense, long Now)> layers)
    {
        var most = Math.Max(1, layers.Select(layer => layer.Dense).DefaultIfEmpty(1).Max());
        var room = Width - NameWidth - NumberWidth;
        var drawn = new StringBuilder();
        foreach (var ((name, dense, now), i) in layers.Select((layer, i) => (layer, i)))
        {
            var y = i * RowHeight + 4;
            drawn.Append(Label(NameWidth - 8, y + 11, Short(name, 34), "end"));
            drawn.Append($"<rect class=\"now\" x=\"{NameWidth}\" y=\"{Of(y)}\" width=\"{Of(room * now / most)}\" height=\"14\" />");
            drawn.Append($"<rect class=\"dense\" x=\"{NameWidth}\" y=\"{Of(y)}\" width=\"{Of(room * dense / most)}\" height=\"14\" />");
            var numbers = now == dense ? Text.Count(dense) : $"{Text.Count(now)} of {Text.Count(dense)}";
            drawn.Append(Label(NameWidth + room * dense / most + 6, y + 11, numbers, "start"));
        }

        var height = Of(layers.Count * RowHeight + 8);
        return $"<svg viewBox=\"0 0 {Width} {height}\" role=\"img\" aria-label=\"Parameters by layer\">{drawn}</svg>";
    }

    /// <summary>The candidates of a layer: error against parameters, both from 0.</summary>
    internal static string Curve(PlannedLayer layer)
    {
        const double left = 40, right = 10, top = 10, bottom = 30, width = 320, height = 200;
        var ordered = layer.Candidates.Select((candidate, i) => (candidate, i)).Where(pair => double.IsFinite(pair.candidate.Error))
            .OrderBy(pair => pair.candidate.Parameters).ToList();
        var error = Math.Max(1e-9, ordered.Select(pair => pair.candidate.Error).DefaultIfEmpty(1).Max());
        double X(PlanCandidate candidate) => left + (width - left - right) * candidate.Parameters / Math.Max(1, layer.Parameters);
        double Y(PlanCandidate candidate) => height - bottom - (height - top - bottom) * candidate.Error / error;
        var drawn = new StringBuilder();
        drawn.Append($"<path class=\"axis\" fill=\"none\" d=\"M{left} {top}V{height - bottom}H{width - right}\" />");
        drawn.Append(Label(left - 4, top + 8, Text.Real(Math.Round(error, 3)), "end")).Append(Label(left - 4, height - bottom, "0", "end"));
        drawn.Append(Label(width - right, height - 10, Text.Count(layer.Parameters), "end")).Append(Label(left, height - 10, "0", "start"));
        var best = Unbeaten(ordered.Select(pair => pair.candidate));
        if (best.Count > 1)
        {
            var points = string.Join(" ", best.Select(candidate => $"{Of(X(candidate))},{Of(Y(candidate))}"));
            drawn.Append($"<polyline class=\"path\" points=\"{points}\" />");
        }

        foreach (var (candidate, i) in ordered)
        {
            var title = $"{candidate}: {Text.Count(candidate.Parameters)} parameters, error {Text.Real(candidate.Error)}";
            var (kind, radius) = i == layer.Chosen ? ("choice", 6) : ("now", 3);
            drawn.Append(
                $"<circle class=\"{kind}\" cx=\"{Of(X(candidate))}\" cy=\"{Of(Y(candidate))}\" r=\"{radius}\">"
                + $"<title>{HtmlReport.Escaped(title)}</title></circle>");
        }

        var caption = HtmlReport.Escaped($"{layer.Path}: {layer.Choice}");
        return $"<figure><figcaption>{caption}</figcaption>"
            + $"<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{caption}\">{drawn}</svg></figure>";
    }

    /// <summary>Those of which no cheaper one has a smaller error.</summary>
    private static List<PlanCandidate> Unbeaten(IEnumerable<PlanCandidate> byParameters)
    {
        var found = new List<PlanCandidate>();
        foreach (var candidate in byParameters)
        {
            if (found.Count == 0 || candidate.Error < found[^1].Error) found.Add(candidate);
        }

        return found;
    }

    private static string Label(double x, double y, string text, string anchor) =>
        $"<text x=\"{Of(x)}\" y=\"{Of(y)}\" text-anchor=\"{anchor}\">{HtmlReport.Escaped(text)}</text>";

    /// <summary>The end of a name tells more than its beginning.</summary>
    private static string Short(string name, int most) => name.Length <= most ? name : $"…{name[^(most - 1)..]}";

    private static string Of(double value) => value.ToString("F1", CultureInfo.InvariantCulture);
}
