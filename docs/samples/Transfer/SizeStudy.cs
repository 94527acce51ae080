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
        OfBytes(Ranks.Planned, Formats.CP, 16),
        OfBytes(Ranks.Planned, Formats.Dense, 12),
        new(Ranks.Planned, Formats.CP, Cost.Parameters, Errors.Calibrated, 8),
        OfBytes(Ranks.Planned, Formats.CP, 80),
    ];

    private static Method OfBytes(Ranks ranks, Formats formats, double ratio) => new(ranks, formats, Cost.Bytes, Errors.Calibrated, ratio);
}
