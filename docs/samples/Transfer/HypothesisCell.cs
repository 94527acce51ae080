using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>A 3×3 layer of a network.</summary>
/// <param name="Path">Where it stands.</param>
/// <param name="Parameters">Its parameters.</param>
/// <param name="Error">‖K − T‖ / ‖K‖.</param>
/// <param name="Sensitivity">S in the plain norm.</param>
public sealed record HypothesisLayer(string Path, long Parameters, double Error, double Sensitivity);

/// <summary>The network at some bits.</summary>
/// <param name="Bits">Bits of an entry; 32: not rounded.</param>
/// <param name="Scales">"core" or "slice": which entries share a scale; "none" where nothing is rounded.</param>
/// <param name="Bytes">Bytes of the 3×3 layers.</param>
/// <param name="Accuracy">The share of test images recognized, as it stands.</param>
/// <param name="Renormed">The same with batch norms re-estimated; NaN: not measured.</param>
public sealed record RoundedReading(int Bits, string Scales, long Bytes, double Accuracy, double Renormed);

/// <summary>A training of the network at a constant rate.</summary>
/// <param name="Rate">The rate.</param>
/// <param name="Loss">The mean loss of the last steps, without any penalty.</param>
/// <param name="Diverged">Whether it diverged.</param>
/// <param name="Accuracy">Accuracy afterwards with batch norms re-estimated; NaN where it diverged.</param>
/// <param name="Sensitivity">S of all layers together afterwards; NaN where it diverged.</param>
/// <param name="Rounded">Accuracy afterwards with the cores rounded, a scale for each slice, and batch norms re-estimated.</param>
public sealed record RateReading(
    double Rate, double Loss, bool Diverged, double Accuracy, double Sensitivity, IReadOnlyList<Reading> Rounded);

/// <summary>How far the output of a layer moves when its cores are rounded, a scale for each slice, as shares of the output.</summary>
/// <param name="Path">The layer.</param>
/// <param name="Bits">Bits of an entry.</param>
/// <param name="Plain">What S in the plain norm says, as a share of the kernel.</param>
/// <param name="Weighted">What S in the norm of the layer's inputs says.</param>
/// <param name="Measured">What is measured on images.</param>
public sealed record Prediction(string Path, int Bits, double Plain, double Weighted, double Measured);

/// <summary>Everything measured of one parametrization for one seed.</summary>
/// <param name="Seed">The seed of the dense network and of the noise that least squares start from.</param>
/// <param name="Parametrization">The cores.</param>
/// <param name="Settings">What the run was made with.</param>
/// <param name="Layers">The 3×3 layers.</param>
/// <param name="RelativeSensitivity">The mean of S / ‖T‖^(2 − 2/N) over them.</param>
/// <param name="PenaltyWeight">c of the penalty c·S in training; 0: none.</param>
/// <param name="Rounded">Before training, at some bits; empty where that is told by another cell.</param>
/// <param name="Rates">The trainings.</param>
/// <param name="Predictions">Changes of outputs; empty where that is told by another cell.</param>
/// <param name="MakingSeconds">The time until the network stood, all that it is made of with it; 0: it lay in a file.</param>
/// <param name="Seconds">The time of the cell.</param>
/// <param name="Machine">Processors, system, and day.</param>
public sealed record HypothesisCell(
    int Seed,
    Parametrization Parametrization,
    HypothesisSettings Settings,
    IReadOnlyList<HypothesisLayer> Layers,
    double RelativeSensitivity,
    double PenaltyWeight,
    IReadOnlyList<RoundedReading> Rounded,
    IReadOnlyList<RateReading> Rates,
    IReadOnlyList<Prediction> Predictions,
    double MakingSeconds,
    double Seconds,
    string Machine);
