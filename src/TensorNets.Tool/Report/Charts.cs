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
        var ordered = layer.Candidates.Select((candidate, i) => (candidate, i)).Where(pair => double.IsFinite(pair.candidate.Error))
            .OrderBy(pair => pair.candidate.Parameters).ToList();
        var error = Math.Max(1e-9, ordered.Select(pair => pair.candidate.Error).DefaultIfEmpty(1).Max());
        return Figure(
            $"{layer.Path}: {layer.Choice}",
            (0, Math.Max(1, layer.Parameters), Text.Count(layer.Parameters)),
            (error, Text.Real(Math.Round(error, 3))),
            Unbeaten(ordered.Select(pair => pair.candidate)).Select(candidate => ((double)candidate.Parameters, candidate.Error)),
            ordered.Select(pair => new Dot(
                pair.candidate.Parameters,
                pair.candidate.Error,
                $"{pair.candidate}: {Text.Count(pair.candidate.Parameters)} parameters, error {Text.Real(pair.candidate.Error)}",
                pair.i == layer.Chosen)));
    }

    /// <summary>S of a layer against its error, from the least error that was found; where there is no bound, the layer alone.</summary>
    internal static string Front(LayerFront front)
    {
        var all = front.Points.Append(front.Now).ToList();
        var (least, most) = (all.Min(point => point.Error), all.Max(point => point.Error));
        var highest = all.Max(point => point.Sensitivity);
        Dot Of((double Error, double Sensitivity) point, bool isChoice) =>
            new(point.Error, point.Sensitivity, $"error {Text.Real(point.Error)}, S {Text.Real(point.Sensitivity)}", isChoice);
        return Figure(
            $"{front.Name}: {front.Network}",
            (least, Math.Max(most, Math.Max(least * 1.001, 1e-9)), Text.Real(most)),
            (highest, Text.Real(highest)),
            front.Points,
            front.Points.Select(point => Of(point, false)).Append(Of(front.Now, true)));
    }

    private sealed record Dot(double X, double Y, string Title, bool IsChoice);

    /// <summary>Points, large where they are the choice, and a line through some, over axes of which the left one begins at 0.</summary>
    private static string Figure(
        string caption,
        (double From, double To, string Text) across,
        (double To, string Text) up,
        IEnumerable<(double X, double Y)> line,
        IEnumerable<Dot> dots)
    {
        const double left = 64, right = 10, top = 10, bottom = 30, width = 320, height = 200;
        double X(double x) => left + (width - left - right) * (x - across.From) / (across.To - across.From);
        double Y(double y) => height - bottom - (height - top - bottom) * y / up.To;
        var drawn = new StringBuilder();
        drawn.Append($"<path class=\"axis\" fill=\"none\" d=\"M{left} {top}V{height - bottom}H{width - right}\" />");
        drawn.Append(Label(left - 4, top + 8, up.Text, "end")).Append(Label(left - 4, height - bottom, "0", "end"));
        drawn.Append(Label(width - right, height - 10, across.Text, "end"));
        drawn.Append(Label(left, height - 10, Text.Real(across.From), "start"));
        var points = line.Select(point => $"{Of(X(point.X))},{Of(Y(point.Y))}").ToList();
        if (points.Count > 1) drawn.Append($"<polyline class=\"path\" points=\"{string.Join(" ", points)}\" />");
        foreach (var dot in dots)
        {
            var (kind, radius) = dot.IsChoice ? ("choice", 6) : ("now", 3);
            drawn.Append(
                $"<circle class=\"{kind}\" cx=\"{Of(X(dot.X))}\" cy=\"{Of(Y(dot.Y))}\" r=\"{radius}\">"
                + $"<title>{HtmlReport.Escaped(dot.Title)}</title></circle>");
        }

        var name = HtmlReport.Escaped(caption);
        return $"<figure><figcaption>{name}</figcaption>"
            + $"<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{name}\">{drawn}</svg></figure>";
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
