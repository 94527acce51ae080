using TensorNets.Samples.Stability;

namespace TensorNets.Samples.Transfer;

/// <summary>How the networks of some cells are trained; those trained alike stand in one table.</summary>
/// <param name="Stepper">Who makes the steps.</param>
/// <param name="Frozen">Whether batch norms keep their means and variances.</param>
/// <param name="Steps">The steps of a training.</param>
public sealed record HypothesisTraining(Stepper Stepper, bool Frozen, int Steps)
{
    /// <summary>The training of a cell.</summary>
    public static HypothesisTraining Of(HypothesisSettings settings) => new(settings.Stepper, settings.Frozen, settings.Run.TuneSteps);

    /// <summary>What differs from the main training, to stand behind a name; nothing where nothing does.</summary>
    /// <param name="mainSteps">The steps of the main training; null: there is none.</param>
    public string Beside(int? mainSteps) =>
        (Stepper == Stepper.Sgd ? "" : $", {Stepper}") + (Frozen ? ", batch norms frozen" : "") + (Steps == mainSteps ? "" : $", {Steps} steps");
}
