namespace TensorNets.CSharp;

/// <summary>How the singular value decompositions of a start are made (<see cref="FitOptions"/>).</summary>
public static class SvdStarts
{
    /// <summary>Each decomposition of what the ones before have left of the target (ST-HOSVD, TT-SVD, HT-SVD from the leaves), by the
    /// smaller Gram.</summary>
    public static SvdOptions Sequential => new(true, null);

    /// <summary>Randomised range finders wherever they need fewer products than the smaller Gram.</summary>
    /// <param name="oversampling">How many random vectors beyond the rank; at least 2.</param>
    /// <param name="powerIterations">How often a sketch is multiplied by A Aᵀ.</param>
    /// <param name="sequential">Each decomposition of what the ones before have left.</param>
    public static SvdOptions Randomised(int oversampling = 10, int powerIterations = 2, bool sequential = false) =>
        new(sequential, new Sketch(oversampling, powerIterations));
}
