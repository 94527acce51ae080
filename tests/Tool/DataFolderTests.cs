using Expecto;
using Google.Protobuf;
using NumSharp;
using SkiaSharp;
using TensorNets.CSharp;
using TensorNets.Integration.OnnxFiles;
using TensorNets.Tool;
using TensorNets.Tool.Files;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TensorNets.Integration.Tool.CompressTests;
using static TorchSharp.torch;

namespace TensorNets.Integration.Tool;

/// <summary>Folders of inputs: what is read from each kind of file, and that no batch outlives the next.</summary>
internal static class DataFolderTests
{
    internal static Test All => TestList("data", [
        TestCase("images are resized to the graph's input, scaled, and in its order of axes", ReadsImages),
        TestCase("for whole numbers colours are bytes, or what a scale makes of them", ReadsWholeNumbers),
        TestCase("where sides are open, an image keeps its size or its proportions", KeepsSizes),
        TestCase("an image of the size that is wanted is not resampled", KeepsPixels),
        TestCase("arrays are samples or batches, of every type of numbers, cut to what the network takes", ReadsArrays),
        TestCase("several inputs have a folder each, or the beginning of a name", ReadsSeveral),
        TestSequenced(TestCase("one batch is in memory at a time", HoldsOneBatch)),
        TestCase("plan, compress and compare see the same inputs as arrays and as images", RunsOnFolders),
        TestCase("what is no input is refused in one line", Refuses),
    ]);

    private static readonly Colours Plain = new();

    private static GraphInput X(params long[] shape) => new("x", shape, ScalarType.Float32);

    /// <summary>The batches of a folder, to be disposed by the scope.</summary>
    private static List<Tensor> Of(string folder, GraphInput input, Colours? pixels = null) =>
        [.. new DataFolder(folder, [input], pixels ?? Plain).Read().Select(batch => batch["x"].clone())];

    /// <summary>An image of one colour, its left half; the right one is black.</summary>
    private static void Paint(string path, int width, int height, SKColor colour, SKEncodedImageFormat format = SKEncodedImageFormat.Png)
    {
        using var image = new SKBitmap(width, height);
        for (var y = 0; y < height; y++)
        {
            for (var x = 0; x < width; x++) image.SetPixel(x, y, x < width / 2 ? colour : SKColors.Black);
        }

        using var file = File.Create(path);
        image.Encode(file, format, 100);
    }

    /// <summary>Writes the whole numbers from one up.</summary>
    private static void Count(string path, int[] shape, NPTypeCode type = NPTypeCode.Int64, int from = 0)
    {
        using var numbers = np.arange(from, from + shape.Aggregate((product, size) => product * size));
        using var shaped = numbers.reshape(shape);
        using var typed = shaped.astype(type);
        np.save(path, typed);
    }

    private static void ReadsImages()
    {
        using var files = new Files();
        using var scope = NewDisposeScope();
        Paint(files.At("a.png"), 8, 4, new SKColor(255, 51, 0));
        var seen = Of(files.Folder, X(1, 3, 4, 8)).Single();
        Expect.SequenceEqual([1L, 3, 4, 8], seen.shape);
        float[] Left(Tensor image) => [.. image[0, .., 1, 1].data<float>()];
        Expect.True(Near([1, .2f, 0], Left(seen)) && Near([0, 0, 0], [.. seen[0, .., 1, 6].data<float>()]), $"{seen}");

        var scaled = Of(files.Folder, X(1, 3, 4, 8), new Colours(".5", ".25,.5,1", IsBgr: true)).Single();
        Expect.True(Near([-2, -.6f, .5f], Left(scaled)), $"{scaled}");
        var last = Of(files.Folder, X(1, 2, 4, 3)).Single();
        Expect.SequenceEqual([1L, 2, 4, 3], last.shape);
        Expect.True(Near([1, .2f, 0], [.. last[0, 0, 0].data<float>()]), $"{last}");
        var grey = Of(files.Folder, X(-1, 1, 4, 8)).Single();
        Expect.True(Near([.299f + .2f * .587f], Left(grey)), $"{grey}");
        Paint(files.At("b.jpg"), 8, 4, SKColors.White, SKEncodedImageFormat.Jpeg);
        Expect.Equal(2, Of(files.Folder, X(1, 3, 4, 8)).Count);
        Expect.SequenceEqual([2L, 3, 4, 8], Of(files.Folder, X(2, 3, 4, 8)).Single().shape);
    }

    private static void ReadsWholeNumbers()
    {
        using var files = new Files();
        using var scope = NewDisposeScope();
        Paint(files.At("a.png"), 8, 4, new SKColor(255, 51, 0));
        var bytes = X(1, 3, 4, 8) with { Type = ScalarType.Byte };
        byte[] Left(string mean = "", string scale = "") =>
            [.. Of(files.Folder, bytes, new Colours(mean, scale)).Single()[0, .., 1, 1].data<byte>()];
        Expect.SequenceEqual<byte>([255, 51, 0], Left());
        Expect.SequenceEqual<byte>([254, 50, 0], Left(mean: "1"));
        Expect.SequenceEqual<byte>([10, 2, 0], Left(scale: ".1"));
        Expect.SequenceEqual<byte>([255, 51, 0], Left(scale: ".00392156862745098"));
        var wide = Of(files.Folder, X(1, 3, 4, 8) with { Type = ScalarType.Int32 }, new Colours("128")).Single();
        Expect.SequenceEqual([127, -77, -128], wide[0, .., 1, 1].data<int>());
        var grey = Of(files.Folder, X(1, 1, 4, 8) with { Type = ScalarType.Byte }).Single();
        Expect.Equal((byte)Math.Round(.299 * 255 + .587 * 51), grey[0, 0, 1, 1].item<byte>());
    }

    private static void KeepsPixels()
    {
        using var files = new Files();
        using var scope = NewDisposeScope();
        using var image = new SKBitmap(7, 5);
        var random = new Random(1);
        foreach (var (x, y) in from x in Enumerable.Range(0, 7) from y in Enumerable.Range(0, 5) select (x, y))
        {
            image.SetPixel(x, y, new SKColor((byte)random.Next(256), (byte)random.Next(256), (byte)random.Next(256)));
        }

        image.SetPixel(0, 0, SKColors.Transparent);
        using (var file = File.Create(files.At("a.png"))) image.Encode(file, SKEncodedImageFormat.Png, 100);
        foreach (var input in new[] { X(1, 5, 7, 3), X(1, -1, -1, 3), X(1, -1, 7, 3) })
        {
            var read = Of(files.Folder, input with { Type = ScalarType.Byte }).Single();
            foreach (var (x, y) in from x in Enumerable.Range(0, 7) from y in Enumerable.Range(0, 5) select (x, y))
            {
                var colour = (x, y) == (0, 0) ? SKColors.Black : image.GetPixel(x, y);
                Expect.SequenceEqual([colour.Red, colour.Green, colour.Blue], read[0, y, x].data<byte>());
            }
        }
    }

    private static bool Near(float[] expected, float[] found) =>
        expected.Length == found.Length && expected.Zip(found).All(pair => Math.Abs(pair.First - pair.Second) < 1e-5);

    private static void KeepsSizes()
    {
        using var files = new Files();
        using var scope = NewDisposeScope();
        Paint(files.At("a.png"), 12, 6, SKColors.White);
        long[] Shape(params long[] input) => Of(files.Folder, X(input)).Single().shape;
        Expect.SequenceEqual([1L, 3, 6, 12], Shape(-1, 3, -1, -1));
        Expect.SequenceEqual([1L, 3, 3, 6], Shape(-1, 3, 3, -1));
        Expect.SequenceEqual([1L, 8, 16, 3], Shape(1, -1, 16, 3));
    }

    private static void ReadsArrays()
    {
        using var files = new Files();
        using var scope = NewDisposeScope();
        NPTypeCode[] types =
            [NPTypeCode.Single, NPTypeCode.Double, NPTypeCode.Half, NPTypeCode.Int64, NPTypeCode.Byte, NPTypeCode.Int16];
        foreach (var type in types)
        {
            Count(files.At("a.npy"), [2, 3], type);
            Expect.True(Of(files.Folder, X(-1, 3)).Single().Equals(arange(6).reshape(2, 3).to(ScalarType.Float32)), $"{type}");
        }

        Expect.SequenceEqual([1L, 2, 3], Of(files.Folder, X(-1, 2, 3)).Single().shape);
        Expect.SequenceEqual([1L, 1], Of(files.Folder, X(1, 3)).Select(batch => batch.shape[0]));
        Count(files.At("a.npy"), [35, 2]);
        var cut = Of(files.Folder, X(-1, 2));
        Expect.SequenceEqual([16L, 16, 3], cut.Select(batch => batch.shape[0]));
        Expect.True(cat(cut).Equals(arange(70).reshape(35, 2).to(ScalarType.Float32)), "rows are lost or mixed");
        // Of a network that takes four rows at once the three that remain are left out; of one that takes fewer, they are a batch.
        Expect.Equal(8, Of(files.Folder, X(4, 2)).Count);
        var fewer = X(4, 2) with { TakesFewer = true };
        Expect.SequenceEqual(cut.SelectMany(Rows), Of(files.Folder, fewer).SelectMany(Rows));
        File.Delete(files.At("a.npy"));
        for (var i = 0; i < 6; i++) Count(files.At($"{i}.npy"), [1, 2], from: i);
        Expect.SequenceEqual([4L, 2], Of(files.Folder, fewer).Select(batch => batch.shape[0]));
        Expect.SequenceEqual([4L], Of(files.Folder, X(4, 2)).Select(batch => batch.shape[0]));
        static IEnumerable<float> Rows(Tensor batch) => batch.data<float>();
    }

    private static void ReadsSeveral()
    {
        using var files = new Files();
        using var scope = NewDisposeScope();
        GraphInput[] inputs = [new("a", [-1, 2], ScalarType.Float32), new("b", [-1], ScalarType.Int64)];
        foreach (var place in new[] { "{0}/{1}.npy", "{0}_{1}.npy" })
        {
            var folder = Directory.CreateDirectory(files.At($"several{place.Length}")).FullName;
            for (var i = 0; i < 2; i++)
            {
                foreach (var (name, shape) in new[] { ("a", new[] { 2, 2 }), ("b", [2]) })
                {
                    var path = Path.Combine(folder, string.Format(null, place, name, i));
                    Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                    Count(path, shape, from: name == "a" ? i : 10 * i);
                }
            }

            var sums = new DataFolder(folder, inputs, Plain).Read()
                .Select(batch => batch["a"].sum().item<float>() + batch["b"].sum().item<long>()).ToList();
            Expect.SequenceEqual([7f, 31], sums);
        }
    }

    private static void HoldsOneBatch()
    {
        using var files = new Files();
        for (var i = 0; i < 5; i++) Count(files.At($"{i}.npy"), [10, 2]);
        foreach (var rows in new[] { -1L, 1, 4, 10 })
        {
            var before = NativeTensors.Count;
            foreach (var batch in new DataFolder(files.Folder, [X(rows, 2)], Plain).Read())
            {
                Expect.True(Tensor.TotalCount - before <= 2, $"{Tensor.TotalCount - before} tensors at {rows} rows");
            }

            Expect.True(NativeTensors.Count <= before, "a batch is left");
        }
    }

    /// <summary>Four images of 8 × 8 in a new folder.</summary>
    internal static string Images(string folder)
    {
        Directory.CreateDirectory(folder);
        for (var i = 0; i < 4; i++)
        {
            Paint(Path.Combine(folder, $"{i}.png"), 8, 8, new SKColor((byte)(60 * i), (byte)(200 - 40 * i), (byte)(17 * i * i)));
        }

        return folder;
    }

    private static void RunsOnFolders()
    {
        using var files = new Files();
        var dense = GraphTests.Graph(files);
        var (arrays, images) = (Directory.CreateDirectory(files.At("arrays")).FullName, Images(files.At("images")));
        var read = new DataFolder(images, [X(1, 3, 8, 8)], new Colours(".5", ".25")).Read();
        foreach (var (i, batch) in read.Index())
        {
            using var flat = np.array(batch["x"].data<float>().ToArray());
            using var shaped = flat.reshape(1, 3, 8, 8);
            np.save(Path.Combine(arrays, $"{i}.npy"), shaped);
        }

        string[] scaled = ["--data", images, "--mean", ".5", "--scale", ".25"];
        var plans = new[] { scaled, ["--data", arrays] }
            .Select(data => Said.Of(["plan", dense, "--ratio", "1.5", "--json", .. data]).Json()).ToList();
        Expect.Equal("calibrated", plans[0].Text("measure"));
        Expect.Equal(plans[0].GetProperty("layers").GetRawText(), plans[1].GetProperty("layers").GetRawText());
        var made = Compress(dense, files.At("small.onnx"), ["--ratio", "1.5", "--json", .. scaled]).Json();
        var found = Said.Of("compare", dense, files.At("small.onnx"), "--data", arrays, "--json").Json();
        Expect.Equal(made.GetProperty("verified").Real("outputError"), found.Real("outputError"));
    }

    private static void Refuses()
    {
        using var files = new Files();
        var (dense, data) = (GraphTests.Graph(files), Directory.CreateDirectory(files.At("data")).FullName);
        Said Plan(params string[] more) => Said.Of(["plan", dense, "--ratio", "1.5", "--data", data, .. more]);
        var file = Path.Combine(data, "a.npy");
        Count(file, [2, 3]);
        Plan().Refuses(ExitCode.Failed, "a.npy' has the size [2, 3]");
        File.WriteAllText(file, "This is no array.");
        Plan().Refuses(ExitCode.Failed, "numpy.save");
        File.Move(file, Path.ChangeExtension(file, ".png"));
        Plan().Refuses(ExitCode.Failed, "no image");
        Paint(Path.ChangeExtension(file, ".png"), 8, 8, SKColors.White);
        Plan("--mean", "1,2").Refuses(ExitCode.Usage, "--mean");
        Plan("--scale", "0").Refuses(ExitCode.Usage, "--scale");
        Plan("--input", "1,5,8,8").Refuses(ExitCode.Failed, "--input");
        Plan("--input", "3,3,8,8").Went();
        var three = new GraphBuilder().Input("x", [3, 3, 8, 8]).Output("y", [3, 4, 8, 8])
            .Weight("w", [4, 3, 1, 1]).Node("Conv", ["x", "w"], "y").Model;
        File.WriteAllBytes(files.At("three.onnx"), three.ToByteArray());
        Said.Of("plan", files.At("three.onnx"), "--ratio", "1.5", "--ends", "--data", data).Refuses(ExitCode.Failed, "fewer samples");
        Paint(Path.Combine(data, "b.png"), 6, 8, SKColors.White);
        Plan("--input", "2,3,0,0").Refuses(ExitCode.Failed, "b.png' has the size [1, 3, 8, 6], ");
        File.Delete(Path.Combine(data, "b.png"));
        Count(Path.Combine(data, "b.npy"), [2, 3, 8, 7]);
        Plan().Refuses(ExitCode.Failed, "b.npy' has the size [2, 3, 8, 7]");
        SafeTensorFile.Save(Path.Combine(data, "c.safetensors"), new Dictionary<string, Tensor> { ["x"] = ones(2, 3, 8, 6) });
        Plan().Refuses(ExitCode.Failed, "c.safetensors' has the size [2, 3, 8, 6]");
        File.Delete(Path.Combine(data, "c.safetensors"));
        var two = new GraphBuilder().Input("x", [-1, 3]).Input("z", [-1, 3]).Output("y", [-1, 3])
            .Weight("w", [3, 3]).Node("MatMul", ["x", "w"], "p").Node("Add", ["p", "z"], "y").Model;
        File.WriteAllBytes(files.At("two.onnx"), two.ToByteArray());
        Said.Of("plan", files.At("two.onnx"), "--ratio", "1.5", "--data", data).Refuses(ExitCode.Failed, "folder of its name");
    }
}
