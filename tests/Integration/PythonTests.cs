using System.Globalization;
using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Files of compressed models and layers as Python reads them, by docs/samples/compressed.py and numpy.</summary>
internal static class PythonTests
{
    /// <summary>Entries of float32, whose products Python sums in float64.</summary>
    private const double Rounding = 1e-6;

    /// <summary>Prints of every tensor of a file its largest difference from what a compressed one comes to, beside its largest
    /// entry.</summary>
    private const string Comparison = """
        import sys
        import compressed
        found, (expected, _) = compressed.state(sys.argv[1]), compressed.read(sys.argv[2])
        assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
        for name, tensor in expected.items():
            assert found[name].shape == tensor.shape, (name, found[name].shape, tensor.shape)
            print(name, abs(found[name] - tensor.astype("f8")).max(), abs(tensor).max())
        """;

    internal static Test All => TestList("python", [
        TestCase("numpy reads every layer of a compressed model, of every kind and format, as the dense weight", WholeModel),
        TestCase("numpy reads a layer file", () => TempFolder.With(folder =>
        {
            using var layer = Model.Fresh(Geometries.Convolution(4, 6, [3, 2]), Formats.TensorChain(2, 3, 2));
            Model.Save(layer, Path.Combine(folder, "layer"));
            Compare(folder, "layer", [("weight", layer.Kernel()), ("bias", layer.Bias!)]);
        })),
        TestCase("the page shows the script that is run", () =>
        {
            var script = File.ReadAllText(Path.Combine(Python.Folder, "compressed.py"));
            var shown = CodeBlock.Of(Repository.Root, "docs/python.md")
                .Single(block => block.Language == "python" && block.Text.StartsWith("\"\"\""));
            Expect.Equal(script.ReplaceLineEndings("\n").TrimEnd(), shown.Text.TrimEnd());
        }),
    ]);

    private static FactorizedLayer Own(ConvGeometry geometry, string spec) => Model.Fresh(geometry, TensorNetwork.Parse(spec));

    private static FactorizedLayer Rounded(Format format, QuantizeSettings settings)
    {
        var layer = Model.Fresh(Geometries.Convolution(4, 6, [3, 3]), format);
        Model.Quantize(layer, settings);
        return layer;
    }

    /// <summary>Formats, hyperedges, kinds of layers, groups, axes of the kernel together and apart, dtypes, few bits, names of cores and
    /// axes.</summary>
    private static (string Name, FactorizedLayer Layer)[] Layers()
    {
        var conv = Geometries.Convolution(4, 6, [3, 3]);
        var grouped = Geometries.Convolution(4, 6, [3, 3], new ConvOptions(Groups: 2));
        var up = Geometries.TransposedConvolution(4, 6, [3, 2], new ConvOptions(Groups: 2));
        var (input, kernel, output) = (Formats.Mode(0), Formats.Mode(1), Formats.Mode(2));
        var tree = Formats.HierarchicalTucker(Formats.Split((2, Formats.Split((2, input), (3, kernel))), (2, output)));
        var repeated = string.Join(", ", [.. Enumerable.Repeat("ar", 15), .. Enumerable.Repeat("rb", 15)]);
        return
        [
            ("cp", Model.Fresh(conv, Formats.Cp(3))),
            ("tucker2", Model.Fresh(conv, Formats.Tucker2(2, 3))),
            ("tucker", Model.Fresh(conv, Formats.Tucker(2, 3, 4))),
            ("train", Model.Fresh(conv, Formats.TensorTrain(2, 3), bias: false)),
            ("chain", Model.Fresh(conv, Formats.TensorChain(2, 3, 2))),
            ("blocks", Model.Fresh(conv, Formats.BlockTerm(2, 2, 2, 2))),
            ("tree", Model.Fresh(conv, tree)),
            ("apart", Model.Fresh(conv, Formats.Cp(3), axes: KernelAxes.Separate)),
            ("groups", Model.Fresh(grouped, Formats.Tucker2(2, 2))),
            ("up", Model.Fresh(up, Formats.TensorTrain(2, 2))),
            ("line", Model.Fresh(Geometries.Convolution(3, 5, [4]), Formats.Cp(2))),
            ("volume", Model.Fresh(Geometries.Convolution(3, 4, [2, 3, 2]), Formats.TensorTrain(2, 2, 3, 2), axes: KernelAxes.Separate)),
            ("head", Model.Fresh(Geometries.Linear(12, 20), Formats.TensorTrainMatrix([3, 4], [5, 4], 3))),
            ("half", Model.Fresh(Geometries.Linear(6, 5), Formats.Cp(2), dtype: ScalarType.Float16)),
            ("brain", Model.Fresh(Geometries.Linear(6, 5), Formats.Cp(2), dtype: ScalarType.BFloat16)),
            ("named", Own(Geometries.Linear(6, 5), "G: in rank, (rank), größe rank -> in größe | in=6 rank=3 größe=5")),
            ("bits", Rounded(Formats.Cp(3), new QuantizeSettings(3))),
            ("entries", Rounded(Formats.TensorChain(2, 3, 2), new QuantizeSettings(5, Scales.NewPerGroup(7)))),
            ("whole", Rounded(Formats.Tucker2(2, 3), new QuantizeSettings(8, Scales.PerCore))),
            ("many", Own(Geometries.Linear(2, 2), repeated + " -> ab | a=2 b=2 r=2")),
        ];
    }

    private static void WholeModel() => TempFolder.With(folder =>
    {
        using var scope = NewDisposeScope();
        var layers = Layers();
        var norm = BatchNorm1d(3);
        var tied = ("tied", layers[0].Layer as Module<Tensor, Tensor>);
        using var model = Sequential([.. layers.Select(pair => (pair.Name, (Module<Tensor, Tensor>)pair.Layer)), tied, ("norm", norm)]);
        var root = randn(4, 4);
        layers[1].Layer.SetNorm(Norms.Weighted(root.matmul(root.T), 0));
        Model.SaveCompressed(model, Path.Combine(folder, "model"));

        var places = layers.Append(("tied", layers[0].Layer)).ToList();
        Compare(folder, "model", [
            .. places.Select(place => ($"{place.Item1}.weight", place.Item2.Kernel())),
            .. places.Where(place => place.Item2.Bias is not null).Select(place => ($"{place.Item1}.bias", (Tensor)place.Item2.Bias!)),
            .. norm.state_dict().Select(pair => ($"norm.{pair.Key}", pair.Value)),
        ]);
    });

    /// <summary>Holds what Python makes of a file in a folder against tensors by name.</summary>
    private static void Compare(string folder, string file, List<(string Name, Tensor Tensor)> expected)
    {
        Python.SkipWithout("numpy", "python3-numpy");
        SafeTensorFile.Save(Path.Combine(folder, "dense"), expected.ToDictionary(pair => pair.Name, pair => pair.Tensor));
        var lines = Python.Run(Comparison, Path.Combine(folder, file), Path.Combine(folder, "dense"))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Expect.Equal(expected.Count, lines.Length);

        foreach (var line in lines)
        {
            var words = line.Split(' ');
            double Number(int i) => double.Parse(words[i], CultureInfo.InvariantCulture);
            // The library's own kernel is rounded to the layer's dtype.
            var unit = expected.First(pair => pair.Name == words[0]).Tensor.dtype switch
            {
                ScalarType.Float16 => 1.0 / 1024,
                ScalarType.BFloat16 => 1.0 / 128,
                _ => Rounding,
            };
            Expect.True(Number(1) <= unit * Number(2), line);
        }
    }
}
