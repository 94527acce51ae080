namespace TensorNets.Samples.Transfer;

/// <summary>A layer of a compressed network.</summary>
/// <param name="Path">Where it stands.</param>
/// <param name="Format">Its format with ranks, as in the plan.</param>
/// <param name="Parameters">Its parameters.</param>
/// <param name="Error">‖K − T‖ / ‖K‖.</param>
/// <param name="Sensitivity">S in the plain norm; NaN: not measured.</param>
/// <param name="Bits">Bits of an entry; 0: not rounded.</param>
public sealed record CellLayer(string Path, string Format, long Parameters, double Error, double Sensitivity, int Bits = 0);

/// <summary>Everything measured of one network.</summary>
/// <param name="Seed">The seed of the dense network.</param>
/// <param name="Method">How it is compressed; null: dense.</param>
/// <param name="Settings">What the run was made with.</param>
/// <param name="Parameters">Parameters of the network.</param>
/// <param name="Flops">Multiplications and additions for an image.</param>
/// <param name="FileBytes">The size of its file; 0: none was written.</param>
/// <param name="Sensitivity">The mean of S / ‖T‖^(2 − 2/N) over its factorized layers, in the plain norm; NaN: it has none, or not
/// measured.</param>
/// <param name="Accuracy">The share of test images recognized, as it stands.</param>
/// <param name="Renormed">The same with batch norms re-estimated.</param>
/// <param name="Tuned">The same after a few steps of training; NaN: none were made.</param>
/// <param name="PlanSeconds">The time of the plan.</param>
/// <param name="CompressSeconds">The time of compressing.</param>
/// <param name="Layers">The factorized layers.</param>
/// <param name="KernelBytes">Bytes of the 3×3 convolutions, of integers and scales where there are such; 0: not measured.</param>
/// <param name="Machine">Processors, system, and day.</param>
public sealed record Cell(
    int Seed,
    Method? Method,
    Settings Settings,
    long Parameters,
    long Flops,
    long FileBytes,
    double Sensitivity,
    double Accuracy,
    double Renormed,
    double Tuned,
    double PlanSeconds,
    double CompressSeconds,
    IReadOnlyList<CellLayer> Layers,
    string Machine,
    long KernelBytes = 0);
