#:project ../../../src/TensorNets.CSharp
#:package TorchSharp-cpu@0.107.0

// Two copies of a compressed network are trained, one with the sensitivity in its loss.
using TensorNets.CSharp;
using TorchSharp;
using static TorchSharp.torch;

Native.Quiet();
random.manual_seed(1);
set_num_threads(1);

// Images of three classes: stripes down, stripes across, and neither, in noise.
var wave = sin(arange(12, ScalarType.Float32) * 1.5).reshape(1, 12);
var patterns = stack([wave.expand(12, 12), wave.t().expand(12, 12), zeros(12, 12)]);
var labels = randint(0, 3, 512);
var images = patterns[labels].unsqueeze(1) + 1.5 * randn(512, 1, 12, 12);

foreach (var weight in new[] { 0.0, 1e-3 })
{
    random.manual_seed(2);
    using var net = nn.Sequential(
        ("stem", nn.Conv2d(1, 16, 3, padding: 1)), ("relu1", nn.ReLU()),
        ("conv", nn.Conv2d(16, 16, 3, padding: 1)), ("relu2", nn.ReLU()),
        ("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("head", nn.Linear(16, 3)));
    Model.Compress(net, "conv", Formats.Cp(16));
    using var optimizer = optim.Adam(net.parameters(), 1e-2);

    for (var step = 0; step < 150; step++)
    {
        using var scope = NewDisposeScope();
        optimizer.zero_grad();
        var loss = nn.functional.cross_entropy(net.call(images), labels);
        if (weight > 0) loss += weight * Model.RelativeSensitivity(net);
        loss.backward();
        optimizer.step();
    }

    var accuracy = 100 * net.call(images).argmax(1).eq(labels).to(ScalarType.Float64).mean().item<double>();
    // To the nearest ten: training on another processor ends a little elsewhere.
    var sensitivity = 10 * Math.Round(Model.RelativeSensitivity(net).item<float>() / 10);
    Console.WriteLine($"{(weight > 0 ? "with" : "without")} the penalty: {accuracy:F1} % right, relative S about {sensitivity}");
}
