using TensorNets.CSharp;

namespace TensorNets.Tool.Report;

/// <summary>The least S for each bound on the error of a layer's kernel, from the network that was made.</summary>
/// <param name="Name">The layer.</param>
/// <param name="Network">Its format and ranks.</param>
/// <param name="Points">‖K − T‖ / ‖K‖ and S of what was found for each bound, in rising order of the error, in the Frobenius norm.</param>
/// <param name="Now">Those of the layer as it was written.</param>
internal sealed record LayerFront(
    string Name, string Network, IReadOnlyList<(double Error, double Sensitivity)> Points, (double Error, double Sensitivity) Now)
{
    /// <summary>Bounds, as parts of the error that the layer has.</summary>
    private static readonly double[] Bounds = [1, 1.01, 1.03, 1.1, 1.2, 1.4];

    /// <summary>Traces the front of a layer.</summary>
    /// <param name="source">Where its dense kernel is.</param>
    /// <param name="planned">The layer in the plan.</param>
    /// <param name="made">What became of it.</param>
    /// <param name="sweeps">The most sweeps for each bound.</param>
    /// <exception cref="ToolException">A layer of several groups has as many kernels.</exception>
    internal static LayerFront Trace(LayerSource source, PlannedLayer planned, CompressedLayer made, int sweeps)
    {
        if (planned.Geometry.Groups > 1)
        {
            throw new ToolException($"the front of '{made.Path}' cannot be traced: it has several groups", "leave it out of --front");
        }

        using var scope = TorchSharp.torch.NewDisposeScope();
        var layer = source.Layers.Single(layer => layer.Path == made.Path);
        var weight = TensorNetErrorModule.raiseErrors(SourceLayerModule.weight(layer));
        using var network = made.Layer.Network();
        var kernel = ConvGeometryModule.kernelOfWeight(planned.Geometry, weight).reshape([.. SpecModule.shape(network.Spec)]);
        var error = made.KernelError;
        using var front = TensorNetwork.TraceFront(
            kernel, network, Bounds.Select(bound => bound * error).Where(bound => bound < 1), new FitOptions(MaxSweeps: sweeps));
        return new(
            made.Path,
            planned.Choice.ToString(),
            [.. front.Points.Select(point => (point.RelativeError, point.Sensitivity))],
            (error, Sensitivity.value(network)));
    }
}
