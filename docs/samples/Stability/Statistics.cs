namespace TensorNets.Samples.Stability;

/// <summary>Numbers of one variant over the seeds of a run.</summary>
public static class Statistics
{
    /// <summary>The results of each variant, one for each seed, the variants in their order.</summary>
    public static IReadOnlyList<IReadOnlyList<VariantResult>> ByVariant(RunResult run) =>
        [.. run.Seeds[0].Variants.Select((_, i) => (IReadOnlyList<VariantResult>)[.. run.Seeds.Select(seed => seed.Variants[i])])];

    /// <summary>The mean.</summary>
    public static double Mean(IEnumerable<double> values) => values.Average();

    /// <summary>The standard deviation of a sample, 0 for a single value.</summary>
    public static double Deviation(IReadOnlyCollection<double> values)
    {
        var mean = values.Average();
        return values.Count < 2 ? 0 : Math.Sqrt(values.Sum(x => (x - mean) * (x - mean)) / (values.Count - 1));
    }

    /// <summary>The accuracy at a setting.</summary>
    public static double At(this IReadOnlyList<Reading> readings, double setting) =>
        readings.First(reading => reading.Setting == setting).Accuracy;

    /// <summary>
    /// Two standard errors of the difference of two accuracies near <paramref name="accuracy"/>, each measured on so many images as if
    /// independently. The variants see the same images, so the true uncertainty is smaller; below this nothing is claimed.
    /// </summary>
    public static double Doubt(double accuracy, int images) => 2 * Math.Sqrt(2 * accuracy * (1 - accuracy) / images);
}
