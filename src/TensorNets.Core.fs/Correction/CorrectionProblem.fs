namespace TensorNets

open TorchSharp

/// minimise S subject to ‖K − T‖ ≤ δ, over the cores of a spec.
[<NoEquality; NoComparison>]
type internal CorrectionProblem =
    {
        Options: SweepOptions
        Spec: Spec
        /// K, in float64.
        Target: Tensor
        /// ‖K‖.
        Norm: float
        /// δ.
        Bound: float
    }

[<RequireQualifiedAccess>]
module internal CorrectionProblem =
    /// The relative error in ‖K − T‖ that counts as meeting the bound.
    let feasibility = 1e-9

    /// Below this δ/‖K‖ a core is all but determined by the others, so that blocks stand still far from the least S.
    let jointBelow = 1e-3

    /// Whether an error meets the bound. NaN does not.
    let meets (problem: CorrectionProblem) (error: float) : bool = error <= problem.Bound * (1.0 + feasibility)

    /// Whether no core is fixed, which the joint methods cannot do.
    let hasAllFree (spec: Spec) : bool = (Spec.freeCores spec).Length = spec.Cores.Length

    /// Whether the bound is so low that only all cores together get on.
    let isTight (problem: CorrectionProblem) : bool = problem.Bound < jointBelow * problem.Norm

    /// ‖K − T‖ for cores in the order of the spec.
    let error (problem: CorrectionProblem) (cores: Tensor[]) : float =
        Fit.explicitError (Plan.make Order.Auto problem.Spec) problem.Target (CoreArray.Lookup problem.Spec cores)

    /// The problem with a part of its sweeps (`SweepOptions.part`).
    let part (before: int) (most: int) (problem: CorrectionProblem) : CorrectionProblem =
        { problem with Options = SweepOptions.part before most problem.Options }

    /// Why an iteration ends after n sweeps, whatever it has reached.
    let ending (problem: CorrectionProblem) (n: int) : Stop option = SweepOptions.ending problem.Options n

    /// Tells the listener of sweep n, with an error in the units of K.
    let report (problem: CorrectionProblem) (n: int) (error: float) (s: float) =
        SweepOptions.report problem.Options n (error / problem.Norm) s
