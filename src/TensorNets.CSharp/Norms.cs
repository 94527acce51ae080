using static TorchSharp.torch;

namespace TensorNets.CSharp;

/// <summary>The norm in which errors and sensitivities are measured.</summary>
public static class Norms
{
    /// <summary>‖K − T‖, every entry alike.</summary>
    public static Norm Frobenius => Norm.Frobenius;

    /// <summary>‖(K − T) Σ^½‖, data-aware: Σ is the covariance (<see cref="Model.Covariance"/>) over one mode of the target, 0 for the
    /// input channels of a kernel.</summary>
    /// <param name="covariance">Σ, positive semidefinite.</param>
    /// <param name="mode">The mode of the target that Σ is of.</param>
    public static Norm Weighted(Tensor covariance, int mode = 0) => Weighted(covariance, [mode]);

    /// <summary>As above, over several modes of the target, the last one fastest.</summary>
    /// <param name="covariance">Σ, positive semidefinite.</param>
    /// <param name="modes">The modes of the target that Σ is of.</param>
    public static Norm Weighted(Tensor covariance, IReadOnlyList<int> modes) => Norm.NewWeighted([.. modes], covariance);

    /// <summary>(1 − ρ) Σ + ρ (tr Σ / n) I: inputs beyond those that Σ has seen count as well.</summary>
    /// <param name="covariance">Σ, positive semidefinite.</param>
    /// <param name="share">ρ, from 0 to 1.</param>
    /// <exception cref="TensorNetException">Σ is no covariance, or ρ is out of its range.</exception>
    public static Tensor Shrunk(Tensor covariance, double share) => NormModule.shrunk(share, covariance).OrThrow();
}
