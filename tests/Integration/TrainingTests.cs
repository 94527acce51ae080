using Expecto;
using TensorNets.Samples.Stability;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;


namespace TensorNets.Integration;
/// <summary>The sample's training, and the disturbances by which it measures layers.</summary>
internal static class TrainingTests
{
    /// <summary>
    /// A net of the sample's kind with few channels: 16, as libtorch's convolutions read memory that nobody wrote where the number of
    /// channels is no multiple of 16. Should the test that diverges have left a NaN there, the gradients of the next become NaN.
    /// </summary>
    private static readonly ResNetShape SmallShape = new([16, 16, 16, 16], 2, Samples.Stability.Norm.Batch);

    /// <summary>Float rounding of scale · level.</summary>
    private const float Rounding = 1.000001f;

    // One after the other: tensors are counted.
    internal static Test All => TestSequenced(TestList("training", [
        TestCase("100 training steps and an evaluation leave no tensor behind", () =>
        {
            using var samples = LabelledImages.First(FashionMnist.Subset().Train, 64);
            using var net = new ResNet(SmallShape, 1);
            Training.Run(net, samples, Steps(1), Penalty(net));
            Training.Accuracy(net, samples);
            var before = NativeTensors.Count;
            Training.Run(net, samples, Steps(100), Penalty(net));
            Training.Accuracy(net, samples);
            Expect.Equal(before, NativeTensors.Count);
        }),
        TestCase("training lowers the loss, without and with batch norm", () =>
        {
            foreach (var norm in new[] { Samples.Stability.Norm.None, Samples.Stability.Norm.Batch })
            {
                using var samples = LabelledImages.First(FashionMnist.Subset().Train, 256);
                using var net = new ResNet(SmallShape with { Norm = norm }, 1);
                var result = Training.Run(net, samples, Steps(60));
                Expect.True(!result.Diverged, "diverged");
                Expect.True(result.Losses.TakeLast(5).Average() < 0.7 * result.Losses.Take(5).Average(), string.Join(" ", result.Losses));
            }
        }),
        TestCase("the same seed gives the same losses, another seed others", () =>
        {
            using var samples = LabelledImages.First(FashionMnist.Subset().Train, 64);
            IReadOnlyList<double> Losses(int seed)
            {
                using var net = new ResNet(SmallShape, seed);
                return Training.Run(net, samples, new TrainingOptions(5, 0.05, seed) { BatchSize = 16 }).Losses;
            }

            var first = Losses(1);
            Expect.SequenceEqual(first, Losses(1));
            Expect.True(!first.SequenceEqual(Losses(2)), "another seed gave the same losses");
        }),
        TestCase("a learning rate far too large is reported as diverged", () =>
        {
            using var samples = LabelledImages.First(FashionMnist.Subset().Train, 64);
            using var net = new ResNet(SmallShape with { Norm = Samples.Stability.Norm.None }, 1);
            var result = Training.Run(net, samples, new TrainingOptions(50, 1e4, 1));
            Expect.True(result.Diverged, $"largest loss {result.LargestLoss}");
            Expect.True(result.Losses.Count < 50, "went on after diverging");
        }),
        TestCase("a snapshot brings back parameters and running means to the bit", () =>
        {
            using var samples = LabelledImages.First(FashionMnist.Subset().Train, 64);
            using var net = new ResNet(SmallShape, 1);
            var before = Bytes(net);
            using var snapshot = new Snapshot(net);
            Training.Run(net, samples, Steps(2));
            Expect.True(!before.SequenceEqual(Bytes(net)), "training changed nothing");
            snapshot.Restore();
            Expect.SequenceEqual(before, Bytes(net));
        }),
        TestCase("rounding to b bits leaves at most 2^b − 1 levels, symmetric, none further off than half a level", () =>
        {
            using var values = randn(2000);
            var largest = values.abs().max().item<float>();
            foreach (var bits in Perturbation.Bits)
            {
                using var rounded = Perturbation.Round(values, bits);
                var levels = rounded.data<float>().ToArray().Distinct().Order().ToArray();
                Expect.True(levels.Length <= (1 << bits) - 1, $"{bits} bits: {levels.Length} levels");
                Expect.True(levels.All(level => Math.Abs(level) <= largest * Rounding), $"{bits} bits: a level above the largest value");
                var half = largest / ((1 << (bits - 1)) - 1) / 2;
                Expect.True((rounded - values).abs().max().item<float>() <= half * Rounding, $"{bits} bits: off by more than {half}");
            }
        }),
        TestCase("a tensor of zeros stays as it is when rounded", () =>
        {
            using var rounded = Perturbation.Round(zeros(5), 3);
            Expect.True(rounded.eq(0).all().item<bool>(), "not zero");
        }),
        TestCase("noise has the share of the tensor's rms asked for, and the same seed gives the same noise", () =>
        {
            using var values = 3 * randn(20000);
            double Rms(Tensor t) => t.square().mean().sqrt().item<float>();
            double Noise(int seed) => Perturbation.Noisy([values], 0.2, 1, seed, () => Rms(values));
            using var generator = new Generator(7);
            using var noisy = Perturbation.AddNoise(values, 0.2, generator);
            var share = Rms(noisy - values) / Rms(values);
            Expect.True(Math.Abs(share - 0.2) < 0.005, $"share {share}");
            Expect.Equal(Noise(1), Noise(1));
            Expect.True(Noise(1) != Noise(2), "another seed gave the same noise");
        }),
        TestCase("after a disturbance every bit is as before, also when the measurement throws", () =>
        {
            using var values = randn(3, 4);
            var before = values.data<float>().ToArray();
            var count = NativeTensors.Count;
            var changed = Perturbation.Rounded([values], 3, () => values.data<float>().ToArray().SequenceEqual(before) ? 0 : 1);
            Expect.Equal(1.0, changed);
            Expect.Throws<InvalidOperationException>(() =>
                Perturbation.Noisy([values], 0.4, 3, 1, () => throw new InvalidOperationException()));
            Expect.SequenceEqual(before, values.data<float>().ToArray());
            Expect.Equal(count, NativeTensors.Count);
        }),
    ]));

    private static TrainingOptions Steps(int steps) => new(steps, 0.05, 1) { BatchSize = 32 };

    private static Func<Tensor> Penalty(ResNet net)
    {
        var weight = net.named_parameters().First(p => p.name == "layer1.1.conv2.weight").parameter;
        return () => weight.square().sum() * 1e-4;
    }

    private static byte[] Bytes(ResNet net) =>
        [.. net.parameters().Concat(net.buffers()).SelectMany(tensor => tensor.bytes.ToArray())];
}
