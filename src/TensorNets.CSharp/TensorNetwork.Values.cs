using static TorchSharp.torch;

namespace TensorNets.CSharp;

public static partial class TensorNetwork
{
    /// <summary>The tensor of a network. Differentiable.</summary>
    /// <param name="network">The network.</param>
    public static Tensor Reconstruct(Network network) => Contraction.reconstruct(network);

    /// <summary>The norm of the tensor, without forming it. Differentiable.</summary>
    /// <param name="network">The network.</param>
    /// <exception cref="TensorNetException">The dtype does not hold it.</exception>
    public static Tensor Norm(Network network) => Contraction.norm(network);

    /// <summary>log₁₀ of the norm of the tensor, however large or small it is. Differentiable.</summary>
    /// <param name="network">The network.</param>
    public static Tensor Log10Norm(Network network) => Contraction.log10Norm(network);

    /// <summary>S, a differentiable scalar: the expected squared change of the tensor per unit of white noise in the cores.</summary>
    /// <param name="network">The network.</param>
    /// <exception cref="TensorNetException">The dtype does not hold it.</exception>
    public static Tensor Sensitivity(Network network) => TensorNets.Sensitivity.total(network);

    /// <summary>S in a norm: the expected squared change of the tensor, measured in that norm, per unit of white noise in the cores.
    /// Differentiable.</summary>
    /// <param name="network">The network.</param>
    /// <param name="norm">The norm, from <see cref="Norms"/>.</param>
    /// <exception cref="TensorNetException">A norm that does not fit the network, or a dtype that does not hold S.</exception>
    public static Tensor Sensitivity(Network network, Norm norm) => TensorNets.Sensitivity.totalIn(norm, network).OrThrow();

    /// <summary>log₁₀ S, however large or small S is. Differentiable.</summary>
    /// <param name="network">The network.</param>
    public static Tensor Log10Sensitivity(Network network) => TensorNets.Sensitivity.log10(network);

    /// <summary>The network of least sensitivity with the same tensor.</summary>
    /// <param name="network">The network; it is not changed.</param>
    /// <exception cref="TensorNetException">A bond wider than its rank, for which <see cref="BalanceTruncated"/> is there, or cores that
    /// are not finite.</exception>
    public static Network Balance(Network network) => Gauge.balance(network).OrThrow();

    /// <summary>The network of least sensitivity in a norm with the same tensor.</summary>
    /// <param name="network">The network; it is not changed.</param>
    /// <param name="norm">The norm, from <see cref="Norms"/>.</param>
    /// <exception cref="TensorNetException">A bond wider than its rank, cores that are not finite, or a norm that does not fit.</exception>
    public static Network Balance(Network network, Norm norm) => Gauge.balanceIn(norm, network).OrThrow();

    /// <summary>As <see cref="Balance(Network)"/>, with every bond cut to its numerical rank first: for networks whose bonds are wider than
    /// that.</summary>
    /// <param name="network">The network; it is not changed.</param>
    /// <exception cref="TensorNetException">A bond that a loop makes deficient, or cores that are not finite.</exception>
    public static Network BalanceTruncated(Network network) => Gauge.balanceTruncated(network).OrThrow();

    /// <summary>The same tensor with every bond cut to its numerical rank.</summary>
    /// <param name="network">The network; it is not changed.</param>
    public static Network Truncate(Network network) => Gauge.truncate(network);
}
