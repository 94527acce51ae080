using System.Text.Json.Serialization;

namespace TensorNets.Samples.Transfer;

/// <summary>How the ranks of the layers are found.</summary>
public enum Ranks
{
    /// <summary>Every 3×3 layer the same number of times fewer parameters.</summary>
    Uniform,

    /// <summary>By a plan for the whole network, under what the uniform network costs.</summary>
    Planned,
}

/// <summary>The formats that layers take.</summary>
public enum Formats
{
    /// <summary>Tucker-2.</summary>
    Tucker2,

    /// <summary>CP, corrected.</summary>
    CP,

    /// <summary>A tensor chain, corrected.</summary>
    TensorChain,

    /// <summary>Two factors of the unfolded kernel, a 3×3 convolution and a 1×1 one: the same ratio for every layer, without a plan.</summary>
    Matrix,

    /// <summary>Dense kernels, which few bits alone make smaller.</summary>
    Dense,

    /// <summary>Whichever the plan finds best for a layer; what it may cost is what uniform Tucker-2 costs.</summary>
    Any,
}

/// <summary>What a plan keeps within what the uniform network has.</summary>
public enum Cost
{
    /// <summary>Parameters.</summary>
    Parameters,

    /// <summary>Multiplications and additions.</summary>
    Flops,

    /// <summary>Bytes of the 3×3 layers: bits are chosen with the ranks.</summary>
    Bytes,
}

/// <summary>What the errors of layers are errors of.</summary>
public enum Errors
{
    /// <summary>Of kernels.</summary>
    Kernel,

    /// <summary>Of the outputs on calibration images.</summary>
    Calibrated,
}

/// <summary>One way to compress the network.</summary>
/// <param name="Ratio">How many times fewer parameters the 3×3 layers have in the uniform network, or how many times fewer bytes.</param>
public sealed record Method(Ranks Ranks, Formats Formats, Cost Cost, Errors Errors, double Ratio)
{
    private const int BitsOfFloat = 32;

    /// <summary>How many times fewer parameters, for tables and pictures; of no method, the dense network.</summary>
    public static string RatioOf(Method? method) => method is null ? "dense" : FormattableString.Invariant($"{method.Ratio:G3}×");

    /// <summary>The bits of dense kernels without scales, all alike.</summary>
    [JsonIgnore]
    public int DenseBits => (int)(BitsOfFloat / Ratio);

    /// <summary>A name for files.</summary>
    public override string ToString() => FormattableString.Invariant($"{Ranks}-{Formats}-{Cost}-{Errors}-{Ratio}").ToLowerInvariant();
}
