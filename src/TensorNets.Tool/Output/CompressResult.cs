using TensorNets.Tool.Files;

namespace TensorNets.Tool.Output;

/// <summary>A network that was compressed.</summary>
/// <param name="File">The dense file.</param>
/// <param name="Output">The compressed file; empty where none is written.</param>
/// <param name="DenseBytes">The size of the dense file.</param>
/// <param name="Bytes">The size of the compressed file.</param>
/// <param name="DenseParameters">Parameters of the dense network.</param>
/// <param name="Parameters">Parameters of the compressed one.</param>
/// <param name="Seconds">The time of the whole run.</param>
/// <param name="Layers">The factorized layers in the order of the plan.</param>
/// <param name="Failed">Layers that stayed dense though the plan would have factorized them.</param>
internal sealed record CompressResult(
    string File,
    string Output,
    long DenseBytes,
    long Bytes,
    long DenseParameters,
    long Parameters,
    double Seconds,
    IReadOnlyList<MadeLayer> Layers,
    IReadOnlyList<FailedLayer> Failed)
{
    /// <summary>The name and version of this object's form.</summary>
    public string Schema => "tensornets.compress/1";

    /// <summary>Linear layers and convolutions that the plan leaves dense.</summary>
    public int KeptDense { get; init; }

    /// <summary>How the written file runs, held against the dense one; null where nobody here can run it.</summary>
    public Verified? Verified { get; init; }

    internal static CompressResult Of(NetworkFile network, string output, CompressionPlan plan, CompressReport report)
    {
        var planned = plan.Layers.ToDictionary(layer => layer.Path);
        var made = report.Layers.Select(layer => MadeLayer.Of(planned[layer.Path], layer)).ToList();
        return new(
            network.Path,
            output,
            network.Bytes,
            output == "" ? 0 : new FileInfo(output).Length,
            plan.DenseParameters,
            plan.DenseParameters + made.Sum(layer => layer.Parameters - planned[layer.Name].Parameters),
            report.Time.TotalSeconds,
            made,
            [.. report.Failed.Select(failed => new FailedLayer(failed.Path, string.Join(" ", failed.Reasons)))])
        {
            KeptDense = plan.Layers.Count(layer => !layer.IsFactorized),
        };
    }

    /// <summary>Writes the result for people or for programs, and gives the exit code.</summary>
    internal int Tell(Terminal terminal, bool asJson)
    {
        terminal.Tell(this, asJson, Show);
        return Failed.Count == 0 ? ExitCode.Done : ExitCode.Incomplete;
    }

    private static void Show(Terminal terminal, CompressResult result)
    {
        terminal.Table(
            [
                Column.Text("layer"), Column.Text("network"), Column.Number("parameters"), Column.Number("kernel error"),
                Column.Number("planned"), Column.Number("S before"), Column.Number("S"), Column.Number("seconds"), Column.Long(""),
            ],
            result.Layers.Select(layer => (IReadOnlyList<string>)
            [
                layer.Name, layer.Network, Text.Count(layer.Parameters), Text.Real(layer.Error), Text.Real(layer.PredictedError),
                Text.Real(layer.StartSensitivity), Text.Real(layer.Sensitivity), Text.Real(Math.Round(layer.Seconds, 1)),
                layer.IsResumed ? "from the work folder" : "",
            ]));
        foreach (var failed in result.Failed) terminal.Line($"{failed.Name} stays dense: {failed.Reason}");
        if (result.KeptDense > 0) terminal.Line($"{result.KeptDense} layers are left dense, for the reasons that tensornets plan gives.");
        if (result.Output == "") return;
        terminal.Line(
            $"{result.Output}: {Text.Bytes(result.Bytes)} of {Text.Bytes(result.DenseBytes)}, {Text.Count(result.Parameters)} of "
            + $"{Text.Count(result.DenseParameters)} parameters ({Text.Percent(result.Parameters, result.DenseParameters)} %), "
            + Text.Time(TimeSpan.FromSeconds(result.Seconds)));
        if (result.Verified is { } verified) terminal.Line(verified.ToString());
    }
}

/// <summary>A layer that was factorized.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Network">The format and ranks.</param>
/// <param name="Parameters">Cores and bias.</param>
/// <param name="PredictedError">‖K − T‖ / ‖K‖ as the plan had it, in the plan's measure.</param>
/// <param name="Error">‖K − T‖ / ‖K‖ in the Frobenius norm.</param>
/// <param name="StartSensitivity">S that least squares gave, before balance or correction; null from the work folder.</param>
/// <param name="Sensitivity">S in the layer's norm.</param>
/// <param name="Seconds">The time it took.</param>
/// <param name="IsResumed">Whether it was read from the work folder.</param>
internal sealed record MadeLayer(
    string Name,
    string Network,
    long Parameters,
    double PredictedError,
    double Error,
    double StartSensitivity,
    double Sensitivity,
    double Seconds,
    bool IsResumed)
{
    internal static MadeLayer Of(PlannedLayer planned, CompressedLayer layer) => new(
        layer.Path,
        planned.Choice.ToString(),
        layer.Layer.ParameterCount,
        planned.Choice.Error,
        layer.KernelError,
        layer.StartSensitivity,
        layer.Sensitivity,
        layer.Time.TotalSeconds,
        layer.IsResumed);
}

/// <summary>A layer that stayed dense.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Reason">Why.</param>
internal sealed record FailedLayer(string Name, string Reason);
