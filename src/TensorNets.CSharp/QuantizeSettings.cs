namespace TensorNets.CSharp;

/// <summary>How cores are rounded to few bits.</summary>
/// <param name="Bits">Bits of an entry, 2 to 8.</param>
/// <param name="Scales">Which entries share a scale; null: a slice of a bond, for CP a column of each core.</param>
/// <param name="Norm">The norm of errors, from <see cref="Norms"/>; null: Frobenius. Layers and plans take that of the layer.</param>
public sealed record QuantizeSettings(int Bits = 8, Scales? Scales = null, Norm? Norm = null)
{
    internal static QuantizeOptions Of(QuantizeSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        return settings.Options;
    }

    internal QuantizeOptions Options => new(Bits, Scales ?? TensorNets.Scales.PerSlice, Norm ?? TensorNets.Norm.Frobenius);
}
