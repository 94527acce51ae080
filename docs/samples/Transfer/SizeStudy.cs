namespace TensorNets.Samples.Transfer;

/// <summary>The study of bytes: what the 3×3 layers can do without, in networks of few bits and in dense kernels of few bits.</summary>
public static class SizeStudy
{
    /// <summary>How many times fewer bytes are asked for first.</summary>
    private static readonly IReadOnlyList<double> Asked = [30, 50];

    /// <summary>The methods, those that most is asked of first.</summary>
    public static IReadOnlyList<Method> Methods { get; } =
    [
        .. Asked.Select(ratio => OfBytes(Ranks.Planned, Formats.CP, ratio)),
        .. new[] { 4.0, 8, 10.6, 16 }.Select(ratio => OfBytes(Ranks.Uniform, Formats.Dense, ratio)),
        .. Asked.Select(ratio => OfBytes(Ranks.Planned, Formats.Tucker2, ratio)),
        .. new[] { Formats.CP, Formats.Tucker2 }.Select(OfFloats),
        OfFloats(Formats.Matrix) with { Ranks = Ranks.Uniform },
        OfBytes(Ranks.Planned, Formats.CP, Asked[0]) with { Errors = Errors.Kernel },
        OfBytes(Ranks.Planned, Formats.CP, 16),
        OfBytes(Ranks.Planned, Formats.Dense, 12),
        OfBytes(Ranks.Planned, Formats.CP, 80),
    ];

    /// <summary>The bytes of dense kernels at 4 bits, spent on floats.</summary>
    private static Method OfFloats(Formats formats) => new(Ranks.Planned, formats, Cost.Parameters, Errors.Calibrated, 8);

    private static Method OfBytes(Ranks ranks, Formats formats, double ratio) => new(ranks, formats, Cost.Bytes, Errors.Calibrated, ratio);
}
