namespace TensorNets.Samples.Stability;

/// <summary>Fashion-MNIST and every dataset of the same four IDX files (MNIST, KMNIST): 10 classes of square grey images.</summary>
public static class FashionMnist
{
    /// <summary>Where the Debian package puts its files.</summary>
    public const string DefaultFolder = "/usr/share/datasets/fashion-mnist";

    /// <summary>One line that says how to get the whole dataset.</summary>
    public const string HowToGet =
        "the whole Fashion-MNIST is had by 'apt-get install dataset-fashion-mnist', or '--data FOLDER' names a folder with the four IDX files.";

    private const string TrainImages = "train-images-idx3-ubyte";
    private const string TrainLabels = "train-labels-idx1-ubyte";
    private const string TestImages = "t10k-images-idx3-ubyte";
    private const string TestLabels = "t10k-labels-idx1-ubyte";

    /// <summary>Whether the whole dataset is where the Debian package puts it.</summary>
    public static bool Installed => Directory.Exists(DefaultFolder);

    /// <summary>The dataset in the folder (files plain or with <c>.gz</c>). Where none is named: the Debian package's, or, where that is not
    /// installed, the <see cref="Subset"/>.</summary>
    /// <exception cref="DatasetException">A file is missing, damaged, or does not fit the others.</exception>
    public static Dataset Load(string? folder = null)
    {
        if (folder is null)
        {
            return Installed ? LoadFolder("Fashion-MNIST", DefaultFolder) : Subset();
        }

        return LoadFolder(Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))), folder);
    }

    /// <summary>The first 8,000 training and 2,000 test images of Fashion-MNIST, which this program carries with it.</summary>
    public static Dataset Subset() =>
        Load("Fashion-MNIST (subset)", file => file + ".gz", (file, dimensions) => Idx.Parse(file, Embedded(file), dimensions));

    /// <summary>What there is to say where a run asks for more images than the set has, or null.</summary>
    public static string? Shortage(Dataset dataset, int images, int testImages) =>
        images <= dataset.Train.Count && testImages <= dataset.Test.Count
            ? null
            : $"{dataset.Name} has {dataset.Train.Count} training and {dataset.Test.Count} test images, and the run takes those; " + HowToGet;

    private static Dataset LoadFolder(string name, string folder)
    {
        if (!Directory.Exists(folder))
        {
            var files = $"{TrainImages}, {TrainLabels}, {TestImages} and {TestLabels}, plain or .gz";
            throw new DatasetException(folder, "dataset folder", "no such folder", $"a folder with {files}");
        }

        return Load(name, file => Find(folder, file), Idx.Read);
    }

    private static byte[] Embedded(string file)
    {
        using var stream = typeof(FashionMnist).Assembly.GetManifestResourceStream(file)
            ?? throw new DatasetException(file, "embedded file", "none of that name", "an IDX file");
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }

    private static Dataset Load(string name, Func<string, string> find, Func<string, int, IdxArray> read)
    {
        var train = LoadPart(name, find(TrainImages), find(TrainLabels), read);
        var test = LoadPart(name, find(TestImages), find(TestLabels), read);
        if (test.Size != train.Size)
        {
            var expected = $"{train.Size}×{train.Size} as in the training images";
            throw new DatasetException(find(TestImages), "image size", $"{test.Size}×{test.Size}", expected);
        }

        return new Dataset(name, train, test);
    }

    private static ImageSet LoadPart(string name, string imagesPath, string labelsPath, Func<string, int, IdxArray> read)
    {
        var images = read(imagesPath, 3);
        var labels = read(labelsPath, 1);
        var (count, height, width) = (images.Dimensions[0], images.Dimensions[1], images.Dimensions[2]);
        if (height != width)
        {
            throw new DatasetException(imagesPath, "image size", $"{height}×{width}", "square images");
        }

        if (labels.Dimensions[0] != count)
        {
            var expected = $"{count}, one for each image of {Path.GetFileName(imagesPath)}";
            throw new DatasetException(labelsPath, "number of labels", $"{labels.Dimensions[0]}", expected);
        }

        var wrong = Array.FindIndex(labels.Values, label => label >= ImageSet.Classes);
        if (wrong >= 0)
        {
            throw new DatasetException(labelsPath, $"label {wrong}", $"{labels.Values[wrong]}", $"0 to {ImageSet.Classes - 1}");
        }

        return new ImageSet(name, height, images.Values, labels.Values);
    }

    private static string Find(string folder, string file)
    {
        var plain = Path.Combine(folder, file);
        return File.Exists(plain) ? plain : plain + ".gz";
    }
}
