using TensorNets.CSharp;

namespace TensorNets.Tool.Report;

/// <summary>The least S for each bound on the error of a layer's kernel, from the network that was made.</summary>
/// <param name="Name">The layer.</param>
/// <param name="Network">Its format and ranks.</param>
/// <param name="Points">‖K − T‖ / ‖K‖ and S of what was found for each bound, in rising order of the error, in the Frobenius norm; none of
/// a layer for which there is no bound, since its error is 0 or not below 1.</param>
/// <param name="Now">Those of the layer as it was written.</param>
internal sealed record LayerFront(
    string Name, string Network, IReadOnlyList<(double Error, double Sensitivity)> Points, (double Error, double Sensitivity) Now)
{
    /// <summary>Bounds, as parts of the error that the layer has.</summary>
    private static readonly double[] Bounds = [1, 1.01, 1.03, 1.1, 1.2, 1.4];

    /// <summary>Traces the front of a layer of one group.</summary>
    /// <param name="source">Where its dense kernel is.</param>
    /// <param name="planned">The layer in the plan.</param>
    /// <param name="made">What became of it; where it was released, it is read from its file in the work folder.</param>
    /// <param name="options">The most sweeps for each bound, and what ends them.</param>
    internal static LayerFront Trace(LayerSource source, PlannedLayer planned, CompressedLayer made, FitOptions options)
    {
        using var scope = TorchSharp.torch.NewDisposeScope();
        using var stored = made.File == "" ? null : Model.Load(made.File);
        using var network = (stored ?? made.Layer).Network();
        var error = made.KernelError;
        double[] bounds = [.. Bounds.Select(bound => bound * error).Where(bound => bound is > 0 and < 1)];
        using var front = bounds.Length == 0 ? null : TensorNetwork.TraceFront(
            Kernel(source, planned, network), network, bounds, options);
        return new(
            made.Path,
            planned.Choice.ToString(),
            front is null ? [] : [.. front.Points.Select(point => (point.RelativeError, point.Sensitivity))],
            (error, Sensitivity.value(network)));
    }

    private static TorchSharp.torch.Tensor Kernel(LayerSource source, PlannedLayer planned, Network network)
    {
        var layer = source.Layers.Single(layer => layer.Path == planned.Path);
        var weight = TensorNetErrorModule.raiseErrors(SourceLayerModule.weight(layer));
        return ConvGeometryModule.kernelFor(SpecModule.shape(network.Spec), planned.Geometry, weight);
    }
}
