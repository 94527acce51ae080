using TensorNets.CSharp;

namespace TensorNets.Tool.Output;

/// <summary>S of the factorized layers of a file.</summary>
/// <param name="File">The path as it was given.</param>
/// <param name="Layers">The layers in the order of the file.</param>
internal sealed record SensitivityReport(string File, IReadOnlyList<LayerSensitivity> Layers)
{
    /// <summary>The name and version of this object's form.</summary>
    public string Schema => "tensornets.sensitivity/1";
}

/// <summary>S of a factorized layer.</summary>
/// <param name="Name">Its path.</param>
/// <param name="Network">The format and ranks.</param>
/// <param name="Parameters">Cores and bias.</param>
/// <param name="Sensitivity">S in the layer's norm.</param>
/// <param name="Relative">S / ‖T‖^(2 − 2/N), N the number of cores.</param>
/// <param name="Balanced">The least S that a change of gauge gives, which leaves the kernel as it is; NaN where a bond of lower rank
/// than its dimension has no gauge.</param>
/// <param name="Error">‖K − T‖ / ‖K‖ when the layer was made.</param>
internal sealed record LayerSensitivity(
    string Name, string Network, long Parameters, double Sensitivity, double Relative, double Balanced, double Error)
{
    internal static LayerSensitivity Of(StoredLayer stored)
    {
        var reading = Model.Readings(stored.Layer)[0];
        using var network = stored.Layer.Network();
        return new(
            stored.Paths[0],
            Text.Network(stored),
            stored.Layer.ParameterCount,
            reading.Sensitivity,
            reading.Relative,
            TensorNetErrorModule.raiseErrors(Gauge.leastIn(stored.Layer.Norm, network)),
            stored.KernelError);
    }

    internal static LayerSensitivity Of(Onnx.ChainedLayer layer, long parameters) => new(
        layer.Path, layer.Network, parameters, layer.Sensitivity, layer.Relative, layer.Balanced, layer.Error);
}
