namespace TensorNets.Samples.Stability;

/// <summary>Square grey images as bytes with their labels, and the name under which results on them are reported.</summary>
public sealed record ImageSet(string Name, int Size, byte[] Pixels, byte[] Labels)
{
    /// <summary>The number of classes; labels are 0 … 9.</summary>
    public const int Classes = 10;

    /// <summary>The number of images.</summary>
    public int Count => Labels.Length;
}

/// <summary>Training and test images of one origin.</summary>
public sealed record Dataset(string Name, ImageSet Train, ImageSet Test);
