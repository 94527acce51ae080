namespace TensorNets.Samples.Stability;

/// <summary>A stand-in for a real dataset: ten blurred random templates, each image one of them, shifted, scaled and with noise.</summary>
public static class Synthetic
{
    /// <summary>The name that every output carries when this set is used.</summary>
    public const string Name = "synthetic";

    private const int Size = 28;
    private const int Blurs = 3;
    private const int LargestShift = 3;

    /// <summary>Standard deviation of the noise, in grey levels of 255: enough that the classes overlap and no net reaches 100 %.</summary>
    private const double Noise = 70;

    /// <summary>The set for a seed; the same seed gives the same bytes.</summary>
    public static Dataset Make(int seed, int train = 8000, int test = 2000)
    {
        var random = new Random(seed);
        var templates = Enumerable.Range(0, ImageSet.Classes).Select(_ => Template(random)).ToArray();
        return new Dataset(Name, Draw(templates, train, random), Draw(templates, test, random));
    }

    private static double[] Template(Random random)
    {
        var image = new double[Size * Size];
        for (var i = 0; i < image.Length; i++)
        {
            image[i] = random.NextDouble();
        }

        for (var i = 0; i < Blurs; i++)
        {
            image = Blur(image);
        }

        var (low, high) = (image.Min(), image.Max());
        return Array.ConvertAll(image, x => (x - low) / (high - low));
    }

    private static double[] Blur(double[] image)
    {
        var blurred = new double[image.Length];
        for (var i = 0; i < image.Length; i++)
        {
            for (var d = -1; d <= 1; d++)
            {
                for (var e = -1; e <= 1; e++)
                {
                    blurred[i] += Shifted(image, i / Size, i % Size, d, e) / 9;
                }
            }
        }

        return blurred;
    }

    private static double Shifted(double[] image, int row, int column, int down, int right) =>
        image[((row + down + Size) % Size * Size) + ((column + right + Size) % Size)];

    private static ImageSet Draw(double[][] templates, int count, Random random)
    {
        var pixels = new byte[count * Size * Size];
        var labels = new byte[count];
        for (var n = 0; n < count; n++)
        {
            labels[n] = (byte)random.Next(ImageSet.Classes);
            var down = random.Next(-LargestShift, LargestShift + 1);
            var right = random.Next(-LargestShift, LargestShift + 1);
            var contrast = 100 + (100 * random.NextDouble());
            for (var i = 0; i < Size * Size; i++)
            {
                var value = (contrast * Shifted(templates[labels[n]], i / Size, i % Size, down, right)) + (Noise * Normal(random));
                pixels[(n * Size * Size) + i] = (byte)Math.Clamp(value, 0, 255);
            }
        }

        return new ImageSet(Name, Size, pixels, labels);
    }

    /// <summary>A standard normal number by Box and Muller's transform.</summary>
    private static double Normal(Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
