using System.Buffers.Binary;
using System.IO.Compression;
using System.Security.Cryptography;
using Expecto;
using TensorNets.Samples.Stability;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>Reading the sample's images: good files come back as they were, and every fault is named with what was found and
/// expected.</summary>
internal static class DatasetTests
{
    private const string Images = "train-images-idx3-ubyte";
    private const string Labels = "train-labels-idx1-ubyte";

    internal static Test All => TestList("dataset", [
        TestCase("a folder of good files comes back as written, plain or compressed", () =>
        {
            foreach (var zip in new[] { false, true })
            {
                using var folder = new Folder(zip);
                var set = FashionMnist.Load(folder.Path).Train;
                Expect.Equal(3, set.Count);
                Expect.Equal(4, set.Size);
                Expect.SequenceEqual(Folder.Pixels, set.Pixels);
                Expect.SequenceEqual<byte>([0, 9, 4], set.Labels);
            }
        }),
        TestCase("a missing folder names the folder and the files expected in it", () =>
            Fails(() => FashionMnist.Load("/no/such/folder"), "/no/such/folder", "no such folder", Images)),
        TestCase("a missing file is named", () =>
            Faulty(folder => folder.Delete(Labels), Labels, "no such file", "IDX file")),
        TestCase("a wrong magic number is named beside the right one", () =>
            Faulty(folder => folder.Write(Images, [0, 0, 0x0D, 3, 0, 0, 0, 3]), Images, "0x00000D03", "0x00000803")),
        TestCase("labels in the place of images are told by their magic number", () =>
            Faulty(folder => folder.Write(Images, Folder.Idx([3], [0, 9, 4])), Images, "0x00000801", "0x00000803")),
        TestCase("an empty file and a cut header give the bytes found and expected", () =>
        {
            Faulty(folder => folder.Write(Images, []), Images, "found 0 bytes", "expected 16 bytes");
            Faulty(folder => folder.Write(Images, [0, 0, 8, 3, 0, 0]), Images, "found 6 bytes", "expected 16 bytes");
        }),
        TestCase("truncated values give the bytes found and expected", () =>
            Faulty(folder => folder.Write(Images, Folder.Idx([3, 4, 4], Folder.Pixels)[..^5]), Images, "found 43 bytes", "48 bytes (3×4×4)")),
        TestCase("bytes after the values are an error", () =>
            Faulty(folder => folder.Write(Images, [.. Folder.Idx([3, 4, 4], Folder.Pixels), 1, 2]), Images, "50 bytes", "48 bytes (3×4×4)")),
        TestCase("a dimension of zero or beyond all memory is an error", () =>
        {
            Faulty(folder => folder.Write(Images, Folder.Idx([0, 4, 4], [])), Images, "dimension 0", "found 0", "at least 1");
            Faulty(folder => folder.Write(Images, Folder.Idx([int.MaxValue, 4, 4], [])), Images, "found 2147483647", "at most");
            Faulty(folder => folder.Write(Images, Folder.Idx([-1, 4, 4], [])), Images, "found 4294967295", "at most");
        }),
        TestCase("a number of labels that differs from that of the images gives both", () =>
            Faulty(folder => folder.Write(Labels, Folder.Idx([2], [0, 9])), Labels, "found 2", "expected 3", Images)),
        TestCase("a label out of range is named with its place", () =>
            Faulty(folder => folder.Write(Labels, Folder.Idx([3], [0, 10, 4])), Labels, "label 1", "found 10", "0 to 9")),
        TestCase("images that are not square are an error", () =>
            Faulty(folder => folder.Write(Images, Folder.Idx([3, 4, 2], new byte[24])), Images, "4×2", "square")),
        TestCase("test images of another size than the training images are an error", () =>
            Faulty(folder => folder.Write("t10k-images-idx3-ubyte", Folder.Idx([3, 2, 2], new byte[12])), "t10k-images", "2×2", "4×4")),
        TestCase("a compressed file that is cut, extended or no gzip file is an error", () =>
        {
            using var good = new Folder(zip: true);
            var bytes = File.ReadAllBytes(good.File(Images));
            foreach (var bad in new byte[][] { bytes[..^12], bytes[..^2], [.. bytes, 7, 7, 7, 7], [.. bytes.Select(b => (byte)~b)] })
            {
                File.WriteAllBytes(good.File(Images), bad);
                Fails(() => FashionMnist.Load(good.Path), Images, "found", "expected");
            }
        }),
        TestCase("the embedded subset has the 8,000 and 2,000 images of its list of hashes, of all classes", () =>
        {
            var subset = FashionMnist.Subset();
            Expect.Equal((8000, 28), (subset.Train.Count, subset.Train.Size));
            Expect.Equal((2000, 28), (subset.Test.Count, subset.Test.Size));
            foreach (var (part, name) in new[] { (subset.Train, "train"), (subset.Test, "t10k") })
            {
                Expect.Equal(10, part.Labels.Distinct().Count());
                Hashes($"{name}-images-idx3-ubyte", Folder.Idx([part.Count, 28, 28], part.Pixels));
                Hashes($"{name}-labels-idx1-ubyte", Folder.Idx([part.Count], part.Labels));
            }
        }),
        TestCase("the installed Fashion-MNIST has 60,000 and 10,000 images in ten classes of equal size, and begins with the subset", () =>
        {
            if (!FashionMnist.Installed) Expect.Skip(FashionMnist.HowToGet);
            var (data, subset) = (FashionMnist.Load(), FashionMnist.Subset());
            Expect.Equal("Fashion-MNIST", data.Name);
            Expect.Equal(28, data.Train.Size);
            foreach (var (part, each, first) in new[] { (data.Train, 6000, subset.Train), (data.Test, 1000, subset.Test) })
            {
                Expect.SequenceEqual(Enumerable.Repeat(each, 10), part.Labels.CountBy(l => l).OrderBy(c => c.Key).Select(c => c.Value));
                Expect.True(part.Pixels.AsSpan().StartsWith(first.Pixels), "the subset has other images");
                Expect.True(part.Labels.AsSpan().StartsWith(first.Labels), "the subset has other labels");
            }
        }),
        TestCase("a run that asks for more images than there are is told so, and how to get them", () =>
        {
            var subset = FashionMnist.Subset();
            Expect.True(FashionMnist.Shortage(subset, 8000, 2000) is null, "the default run lacks images");
            foreach (var (images, testImages) in new[] { (8001, 2000), (8000, 2001) })
            {
                var said = FashionMnist.Shortage(subset, images, testImages);
                Expect.True(said?.Contains("8000 training and 2000 test images") == true && said.Contains("--data"), said ?? "nothing");
            }
        }),
    ]);

    private static void Hashes(string name, byte[] content)
    {
        var hash = Convert.ToHexStringLower(SHA256.HashData(content));
        Expect.True(File.ReadAllLines(SubsetFile("SHA256SUMS")).Contains($"{hash}  {name}"), $"{name} has the hash {hash}");
    }

    private static string SubsetFile(string name) => Repository.At("data", "fashion-mnist", name);

    private static void Faulty(Action<Folder> damage, params string[] named)
    {
        using var folder = new Folder(zip: false);
        damage(folder);
        Fails(() => FashionMnist.Load(folder.Path), named);
    }

    private static void Fails(Action load, params string[] named)
    {
        var message = Expect.Throws<DatasetException>(load).Message;
        foreach (var part in named)
        {
            Expect.True(message.Contains(part, StringComparison.Ordinal), $"'{part}' is not in: {message}");
        }
    }

    /// <summary>A folder with four good files of three images of 4×4, gone afterwards.</summary>
    private sealed class Folder : IDisposable
    {
        private readonly bool _zip;

        public Folder(bool zip)
        {
            _zip = zip;
            foreach (var part in new[] { "train", "t10k" })
            {
                Write($"{part}-images-idx3-ubyte", Idx([3, 4, 4], Pixels));
                Write($"{part}-labels-idx1-ubyte", Idx([3], [0, 9, 4]));
            }
        }

        public static byte[] Pixels => [.. Enumerable.Range(0, 48).Select(i => (byte)(5 * i))];

        public string Path { get; } = Directory.CreateTempSubdirectory("tensornets").FullName;

        public static byte[] Idx(int[] dimensions, byte[] values)
        {
            var header = new byte[4 + (4 * dimensions.Length)];
            (header[2], header[3]) = (8, (byte)dimensions.Length);
            for (var i = 0; i < dimensions.Length; i++)
            {
                BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4 + (4 * i)), dimensions[i]);
            }

            return [.. header, .. values];
        }

        public string File(string name) => System.IO.Path.Combine(Path, _zip ? name + ".gz" : name);

        public void Delete(string name) => System.IO.File.Delete(File(name));

        public void Write(string name, byte[] content)
        {
            using Stream file = System.IO.File.Create(File(name));
            using var stream = _zip ? new GZipStream(file, CompressionLevel.Optimal) : file;
            stream.Write(content);
        }

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
