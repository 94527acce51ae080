namespace TensorNets.CSharp;

/// <summary>What the whole of a compressed model may cost.</summary>
public static class Budgets
{
    /// <summary>Parameters of the whole model: this many times fewer.</summary>
    /// <param name="ratio">Above 1.</param>
    /// <returns>The budget.</returns>
    public static Budget ParameterRatio(double ratio) => Budget.NewParameterRatio(ratio);

    /// <summary>Parameters of the whole model at most.</summary>
    /// <param name="count">Parameters.</param>
    /// <returns>The budget.</returns>
    public static Budget Parameters(long count) => Budget.NewParameters(count);

    /// <summary>FLOPs of linear layers and convolutions: this many times fewer.</summary>
    /// <param name="ratio">Above 1.</param>
    /// <returns>The budget.</returns>
    public static Budget FlopRatio(double ratio) => Budget.NewFlopRatio(ratio);

    /// <summary>FLOPs of linear layers and convolutions at most.</summary>
    /// <param name="count">Multiplications and additions.</param>
    /// <returns>The budget.</returns>
    public static Budget Flops(long count) => Budget.NewFlops(count);

    /// <summary>Measured time of linear layers and convolutions: this many times less.</summary>
    /// <param name="ratio">Above 1.</param>
    /// <returns>The budget.</returns>
    public static Budget LatencyRatio(double ratio) => Budget.NewLatencyRatio(ratio);

    /// <summary>Measured time of linear layers and convolutions at most.</summary>
    /// <param name="milliseconds">For the input of the plan.</param>
    /// <returns>The budget.</returns>
    public static Budget Latency(double milliseconds) => Budget.NewLatency(milliseconds);

    /// <summary>Bytes of all parameters: this many times fewer. Formats, ranks and bits are chosen together; a number that is not rounded
    /// counts 4 bytes.</summary>
    /// <param name="ratio">Above 1.</param>
    /// <returns>The budget.</returns>
    public static Budget ByteRatio(double ratio) => Budget.NewByteRatio(ratio);

    /// <summary>Bytes of all parameters at most, as for <see cref="ByteRatio"/>.</summary>
    /// <param name="count">Bytes.</param>
    /// <returns>The budget.</returns>
    public static Budget Bytes(long count) => Budget.NewBytes(count);

    /// <summary>The error of each layer for itself, in the measure of the plan, at most.</summary>
    /// <param name="error">‖K − T‖ / ‖K‖, 0 or more.</param>
    /// <returns>The budget.</returns>
    public static Budget LayerError(double error) => Budget.NewLayerError(error);
}
