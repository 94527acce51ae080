namespace TensorNets.Tool.Output;

/// <summary>A plan, layer by layer.</summary>
/// <param name="File">The path as it was given.</param>
/// <param name="Options">The budget and the other options of the plan, as typed.</param>
/// <param name="Measure">In which measure errors are.</param>
/// <param name="DenseParameters">Parameters of the dense network.</param>
/// <param name="Parameters">Parameters once it is compressed.</param>
/// <param name="DenseBytes">Bytes of the dense network in float32.</param>
/// <param name="Bytes">Bytes once it is compressed; what is not rounded in float32.</param>
/// <param name="Damage">The sum of the predicted damages.</param>
/// <param name="Layers">The layers in the order of the network.</param>
internal sealed record PlanReport(
    string File,
    string Options,
    string Measure,
    long DenseParameters,
    long Parameters,
    long DenseBytes,
    long Bytes,
    double Damage,
    IReadOnlyList<PlanLine> Layers)
{
    /// <summary>The name and version of this object's form.</summary>
    public string Schema => "tensornets.plan/1";

    internal static PlanReport Of(string file, string options, CompressionPlan plan) =>
        new(
            file,
            options,
            plan.Measure,
            plan.DenseParameters,
            plan.Parameters,
            plan.DenseBytes,
            plan.Bytes,
            plan.Damage,
            [.. plan.Layers.Select(PlanLine.Of)]);
}

/// <summary>A layer in a plan.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Kind">What it is, such as Conv2d.</param>
/// <param name="Shape">The shape of its weight.</param>
/// <param name="DenseParameters">Weight and bias.</param>
/// <param name="DenseBytes">Bytes of the dense layer, 4 for each parameter.</param>
/// <param name="Choice">The format with its ranks; empty: it stays dense.</param>
/// <param name="Parameters">Parameters by the choice.</param>
/// <param name="Bits">Bits of an entry by the choice; 0: not rounded.</param>
/// <param name="Bytes">Bytes by the choice; 4 for each parameter that is not rounded.</param>
/// <param name="Error">The predicted ‖K − T‖ / ‖K‖.</param>
/// <param name="Kept">Why it stays dense.</param>
internal sealed record PlanLine(
    string Name,
    string Kind,
    IReadOnlyList<long> Shape,
    long DenseParameters,
    long DenseBytes,
    string Choice,
    long Parameters,
    int Bits,
    long Bytes,
    double Error,
    string Kept)
{
    internal static PlanLine Of(PlannedLayer layer) => new(
        layer.Path,
        layer.Kind,
        layer.Shape,
        layer.Parameters,
        layer.Bytes,
        layer.IsFactorized ? layer.Choice.ToString() : "",
        layer.IsFactorized ? layer.Choice.Parameters : layer.Parameters,
        layer.IsFactorized ? layer.Choice.Bits : 0,
        layer.IsFactorized ? layer.Choice.Bytes : layer.Bytes,
        layer.IsFactorized ? layer.Choice.Error : double.NaN,
        layer.Kept);
}
