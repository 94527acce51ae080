using Expecto;
using Spectre.Console;
using TensorNets.Samples.Stability;
using TorchSharp;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>The sample as a whole, on a few images.</summary>
internal static class SampleTests
{
    internal static Test All => TestSequenced(TestList("sample", [
        TestCase("the net has torchvision's names", () =>
        {
            using var net = new ResNet(ResNetShape.Default(), 1);
            var names = net.named_modules().Select(child => child.name).ToHashSet();
            foreach (var name in new[] { "conv1", "bn1", "layer1.0.conv1", "layer1.1.conv2", "layer2.0.downsample.0", "layer4.1.bn2", "fc" })
            {
                Expect.True(names.Contains(name), $"no {name} in {string.Join(" ", names)}");
            }
        }),
        TestCase("the net's float32 gives what float64 gives, on whatever processor", () =>
        {
            using var samples = LabelledImages.First(FashionMnist.Subset().Train, 8);
            using var scope = torch.NewDisposeScope();
            using var noGradients = torch.no_grad();
            using var net = new ResNet(ResNetShape.Default(), 1);
            net.eval();
            var single = net.call(samples.Images).to(torch.ScalarType.Float64);
            net.to(torch.ScalarType.Float64);
            var exact = net.call(samples.Images.to(torch.ScalarType.Float64));
            var error = ((single - exact).norm() / exact.norm()).item<double>();
            Expect.True(error < 1e-4, $"relative error {error}");
        }),
        TestCase("a quick run writes tables, picture and numbers, the same numbers each time", () => TempFolder.With(folder =>
        {
            var options = Options.Quick with { Output = folder, Steps = 3, FineTuneSteps = 2, Images = 128, TestImages = 20, Threads = 1 };
            var (code, text) = Run(options);
            Expect.Equal(0, code);
            Expect.True(text.Contains("3 bits") && text.Contains("diverged"), text);
            Expect.True(new FileInfo(Path.Combine(folder, "stability.png")).Length > 10_000, "no picture");
            var numbers = File.ReadAllText(Path.Combine(folder, "stability.json"));
            var run = Numbers.Load(Path.Combine(folder, "stability.json"));
            Expect.Equal(5, run.Seeds[0].Variants.Count);
            Expect.Equal(0.0, run.Seeds[0].Variants[0].KernelError);
            Run(options);
            Expect.Equal(numbers, File.ReadAllText(Path.Combine(folder, "stability.json")));
        })),
        TestCase("a named dataset that is missing ends the program with 1, and no other takes its place", () =>
            Expect.Equal(1, Run(Options.Quick with { Data = "/no/such/folder", Threads = 1 }).Code)),
        TestCase("lists and counts on the command line are read, and what is neither is refused", () =>
        {
            Options? found = null;
            var command = CommandLine.Create(options =>
            {
                found = options;
                return 0;
            });
            Expect.Equal(0, command.Parse("--seeds 3 --learning-rates 0.5,0.1 --format tc --rank 7").Invoke());
            Expect.SequenceEqual([1, 2, 3], found!.Seeds);
            Expect.SequenceEqual([0.1, 0.5], found.LearningRates);
            Expect.Equal(FactorFormat.TC, found.Format);
            Expect.Equal(7, found.Rank);
            Expect.Equal(0, command.Parse("--seeds 4,9").Invoke());
            Expect.SequenceEqual([4, 9], found.Seeds);
            foreach (var bad in new[] { "--seeds 0", "--seeds x", "--learning-rates -1", "--learning-rates nan", "--rank 0", "--format svd" })
            {
                Expect.True(command.Parse(bad).Errors.Count > 0, $"'{bad}' was accepted");
            }
        }),
    ]));

    private static (int Code, string Text) Run(Options options)
    {
        using var text = new StringWriter();
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, Out = new AnsiConsoleOutput(text) });
        return (Application.Run(options, console), text.ToString());
    }
}
