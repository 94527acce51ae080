namespace TensorNets.Samples.Transfer;

/// <summary>Networks for the 3×3 kernels that differ by their cores; in the order in which they are worth measuring.</summary>
public enum Parametrization
{
    /// <summary>The dense kernels.</summary>
    Dense,

    /// <summary>Least squares from noise, balanced: the same kernels as <see cref="Random"/>.</summary>
    Balanced,

    /// <summary>The least sensitive network found at the error of <see cref="Random"/>.</summary>
    Corrected,

    /// <summary>Least squares from noise, the cores as they come.</summary>
    Random,

    /// <summary>The same kernels as <see cref="Random"/>, every column of length 1 but those of the last core; of CP alone.</summary>
    UnitColumns,

    /// <summary>A network corrected for rounding to few bits; it may have another error.</summary>
    ToldBits,

    /// <summary><see cref="Corrected"/> with the sensitivity in the loss: differs in training alone.</summary>
    Penalty,

    /// <summary>Least squares from singular value decompositions, the cores as they come.</summary>
    Svd,
}
