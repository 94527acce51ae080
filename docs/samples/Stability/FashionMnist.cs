namespace TensorNets.Samples.Stability;

/// <summary>Fashion-MNIST and every dataset of the same four IDX files (MNIST, KMNIST): 10 classes of square grey images.</summary>
public static class FashionMnist
{
    /// <summary>Where the Debian package puts its files.</summary>
    public const string DefaultFolder = "/usr/share/datasets/fashion-mnist";

    /// <summary>One line that says how to get the dataset.</summary>
    public const string HowToGet =
        "Fashion-MNIST is not in " + DefaultFolder + ": 'apt-get install dataset-fashion-mnist' puts it there, or '--data FOLDER' names "
        + "a folder with the four IDX files.";

    private const string TrainImages = "train-images-idx3-ubyte";
    private const string TrainLabels = "train-labels-idx1-ubyte";
    private const string TestImages = "t10k-images-idx3-ubyte";
    private const string TestLabels = "t10k-labels-idx1-ubyte";

    /// <summary>Whether the dataset is where the Debian package puts it.</summary>
    public static bool Installed => Directory.Exists(DefaultFolder);

    /// <summary>The dataset in a folder (files plain or with <c>.gz</c>), by default the one of the Debian package.</summary>
    /// <exception cref="DatasetException">A file is missing, damaged, or does not fit the others.</exception>
    public static Dataset Load(string? folder = null)
    {
        var name = folder is null ? "Fashion-MNIST" : Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        folder ??= DefaultFolder;
        if (!Directory.Exists(folder))
        {
            var files = $"{TrainImages}, {TrainLabels}, {TestImages} and {TestLabels}, plain or .gz";
            throw new DatasetException(folder, "dataset folder", "no such folder", $"a folder with {files}");
        }

        var train = LoadPart(name, folder, TrainImages, TrainLabels);
        var test = LoadPart(name, folder, TestImages, TestLabels);
        if (test.Size != train.Size)
        {
            var expected = $"{train.Size}×{train.Size} as in the training images";
            throw new DatasetException(Find(folder, TestImages), "image size", $"{test.Size}×{test.Size}", expected);
        }

        return new Dataset(name, train, test);
    }

    /// <summary>
    /// The dataset in the folder, if one is named (which must then be right). Else the Debian package's, or, where that is not installed,
    /// the synthetic set after a line that says how to get the real one.
    /// </summary>
    public static Dataset LoadOrSynthetic(string? folder, int seed, Action<string> say)
    {
        if (folder is not null || Installed)
        {
            return Load(folder);
        }

        say(HowToGet + " A synthetic set stands in.");
        return Synthetic.Make(seed);
    }

    private static ImageSet LoadPart(string name, string folder, string imagesFile, string labelsFile)
    {
        var imagesPath = Find(folder, imagesFile);
        var labelsPath = Find(folder, labelsFile);
        var images = Idx.Read(imagesPath, 3);
        var labels = Idx.Read(labelsPath, 1);
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
