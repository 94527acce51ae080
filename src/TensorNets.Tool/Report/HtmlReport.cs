using System.Globalization;
using System.Net;
using System.Reflection;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Report;

/// <summary>What became of a network as one HTML file that needs no other one and no network, in dark and light.</summary>
internal static class HtmlReport
{
    /// <summary>The page.</summary>
    /// <param name="result">What was made.</param>
    /// <param name="plan">The plan by which it was made.</param>
    /// <param name="fronts">Fronts of layers that were asked for.</param>
    /// <param name="command">The command line that makes it again.</param>
    internal static string Of(CompressResult result, CompressionPlan plan, IReadOnlyList<LayerFront> fronts, string command) => $"""
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>{Escaped(Path.GetFileName(result.Output))}: compressed by tensornets</title>
        <style>{Style}</style>
        </head>
        <body>
        <main>
        <h1>{Escaped(Path.GetFileName(result.Output))}</h1>
        <p class="lead">{Escaped(Path.GetFileName(result.File))} with {result.Layers.Count} of {plan.Layers.Count} layers factorized.</p>
        <section class="tiles">
        {Tile(
            "parameters",
            Text.Count(result.Parameters),
            $"{Text.Percent(result.Parameters, result.DenseParameters)} % of {Text.Count(result.DenseParameters)}")}
        {Tile("file", Text.Bytes(result.Bytes), $"of {Text.Bytes(result.DenseBytes)}")}
        {Tile(
            "largest error",
            Text.Real(result.Layers.Select(layer => layer.Error).DefaultIfEmpty(0).Max()),
            "‖K − T‖ / ‖K‖ of a layer")}
        {Tile("time", Text.Time(TimeSpan.FromSeconds(result.Seconds)), "of the run")}
        </section>
        <h2>Parameters by layer</h2>
        <p>Outlined: dense. Filled: now.</p>
        {Charts.Bars([.. plan.Layers.Select(layer => Bar(layer, result))])}
        <h2>Layers</h2>
        {LayerTable(result, plan)}
        {Failures(result)}
        <h2>Damage against cost</h2>
        <p>The candidates that the plan had for each factorized layer: relative error ({Escaped(Measure(plan))}) against parameters.
        The large point is the choice.</p>
        <section class="curves">
        {string.Join("\n", plan.Layers.Where(layer => layer.IsFactorized).Select(Charts.Curve))}
        </section>
        {Fronts(fronts)}
        <h2>To make it again</h2>
        <pre>{Escaped(command)}</pre>
        <p class="small">tensornets {Escaped(Version())}. S: the expected squared change of a kernel for each unit of white noise in its
        factors, before and after balance or correction.</p>
        </main>
        </body>
        </html>
        """;

    /// <summary>Text as it may stand in HTML.</summary>
    internal static string Escaped(string text) => WebUtility.HtmlEncode(text);

    private static string Tile(string name, string value, string more) =>
        $"<div class=\"tile\"><div class=\"name\">{name}</div><div class=\"value\">{Escaped(value)}</div>"
        + $"<div class=\"small\">{Escaped(more)}</div></div>";

    private static (string Name, long Dense, long Now) Bar(PlannedLayer layer, CompressResult result) =>
        (layer.Path, layer.Parameters, result.Layers.FirstOrDefault(made => made.Name == layer.Path)?.Parameters ?? layer.Parameters);

    private static string LayerTable(CompressResult result, CompressionPlan plan)
    {
        var made = result.Layers.ToDictionary(layer => layer.Name);
        var rows = plan.Layers.Select(layer => made.TryGetValue(layer.Path, out var now)
            ? Row(
                layer,
                now.Network,
                Text.Count(now.Parameters),
                Text.Real(now.PredictedError),
                Text.Real(now.Error),
                Text.Real(now.StartSensitivity),
                Text.Real(now.Sensitivity),
                Seconds(now))
            : Row(layer, $"dense: {layer.Kept}", "", "", "", "", "", ""));
        string[] numbers = ["dense", "now", "planned error", "error", "S before", "S", "seconds"];
        return $"""
            <div class="wide"><table>
            <tr><th>layer</th><th>shape</th><th>network</th>{NumberCells("th", numbers)}</tr>
            {string.Join("\n", rows)}
            </table></div>
            """;
    }

    private static string Row(PlannedLayer layer, string network, params string[] numbers) =>
        $"<tr><td>{Escaped(layer.Path)}</td><td>{Text.Shape(layer.Shape)}</td><td>{Escaped(network)}</td>"
        + $"{NumberCells("td", [Text.Count(layer.Parameters), .. numbers])}</tr>";

    private static string NumberCells(string tag, IEnumerable<string> texts) =>
        string.Concat(texts.Select(text => $"<{tag} class=\"number\">{Escaped(text)}</{tag}>"));

    private static string Seconds(MadeLayer layer) =>
        layer.IsResumed ? "resumed" : layer.Seconds.ToString("F1", CultureInfo.InvariantCulture);

    private static string Failures(CompressResult result) => result.Failed.Count == 0 ? "" : $"""
        <h2>Stayed dense though planned</h2>
        <ul>{string.Concat(result.Failed.Select(failed => $"<li>{Escaped(failed.Name)}: {Escaped(failed.Reason)}</li>"))}</ul>
        """;

    private static string Fronts(IReadOnlyList<LayerFront> fronts) => fronts.Count == 0 ? "" : $"""
        <h2>Sensitivity against error</h2>
        <p>The least S that was found for bounds on the error of a layer's kernel, both in the Frobenius norm. The large point is the layer
        as it was written: where it lies above the line, S can be lowered at its error.</p>
        <section class="curves">
        {string.Join("\n", fronts.Select(Charts.Front))}
        </section>
        """;

    private static string Measure(CompressionPlan plan) => plan.Measure switch
    {
        "kernel" => "of kernels",
        "calibrated" => "of the layers' outputs on calibration data",
        _ => "by the user's function",
    };

    private static string Version() =>
        typeof(HtmlReport).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "";

    private const string Style = """
        :root {
          color-scheme: light dark; --back: #ffffff; --ink: #1c2330; --soft: #5d6778; --line: #d9dee7; --panel: #f5f7fa; --dense: #9aa5b8;
          --now: #2463c9; --choice: #c2410c; }
        @media (prefers-color-scheme: dark) {
          :root {
            --back: #12161d; --ink: #e6eaf1; --soft: #9aa5b8; --line: #2c3442; --panel: #1a202a; --dense: #66728a; --now: #6ea8ff;
            --choice: #ff9b5e; } }
        body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
        main { max-width: 68rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
        h1 { margin: 0; font-size: 1.8rem; overflow-wrap: anywhere; } h2 { margin: 2.4rem 0 .4rem; font-size: 1.2rem; }
        .lead, .small, p { color: var(--soft); margin: .2rem 0 1rem; } .small { font-size: .85rem; margin: 0; }
        .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; }
        .tile { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
        .tile .name { color: var(--soft); font-size: .85rem; } .tile .value { font-size: 1.5rem; font-variant-numeric: tabular-nums; }
        .wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
        th, td { text-align: left; padding: .35rem .45rem; border-bottom: 1px solid var(--line); }
        th { color: var(--soft); font-weight: 600; }
        th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
        .curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
        figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; }
        figcaption { font-size: .85rem; overflow-wrap: anywhere; } svg { width: 100%; height: auto; display: block; }
        svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
        .axis { stroke: var(--line); } .dense { fill: none; stroke: var(--dense); }
        .now { fill: var(--now); } .path { fill: none; stroke: var(--now); opacity: .5; } .choice { fill: var(--choice); }
        pre {
          background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; white-space: pre-wrap;
          overflow-wrap: anywhere; }
        """;
}
