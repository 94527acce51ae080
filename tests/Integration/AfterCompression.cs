using System.Runtime.CompilerServices;
using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using TorchSharp.Modules;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>What was there before a layer was replaced: optimizers, schedules, hooks, passes on other threads, the layer's other
/// paths.</summary>
public static class AfterCompression
{
    private static readonly FitOptions Quick = new(MaxSweeps: 2);

    private sealed class Net : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> first = Conv2d(4, 4, 3, padding: 1);
        private readonly Module<Tensor, Tensor> second = Conv2d(4, 4, 3, padding: 1);
        private readonly Module<Tensor, Tensor> head = Linear(5, 3);
        public Net() : base(nameof(Net)) => RegisterComponents();
        public override Tensor forward(Tensor x) { using var y = first.call(x); using var z = second.call(y); return head.call(z); }
    }

    private static Tensor Input(ulong seed = 1)
    {
        using var generator = new Generator(seed);
        return randn([2, 4, 5, 5], generator: generator);
    }

    private static readonly (string Name, Func<IEnumerable<Parameter>, optim.Optimizer> Make)[] Optimizers =
    [
        ("SGD", p => optim.SGD(p, 0.01)),
        ("SGD with momentum", p => optim.SGD(p, 0.01, momentum: 0.9, weight_decay: 0.1)),
        ("Adam", p => optim.Adam(p, 0.01, amsgrad: true)),
        ("AdamW", p => optim.AdamW(p, 0.01)),
        ("Adagrad", p => optim.Adagrad(p, 0.01)),
        ("Adadelta", p => optim.Adadelta(p, 0.01)),
        ("Adamax", p => optim.Adamax(p, 0.01)),
        ("ASGD", p => optim.ASGD(p, 0.01)),
        ("NAdam", p => optim.NAdam(p, 0.01)),
        ("RAdam", p => optim.RAdam(p, 0.01)),
        ("RMSProp", p => optim.RMSProp(p, 0.01, momentum: 0.5, centered: true)),
        ("Rprop", p => optim.Rprop(p, 0.01)),
    ];

    private static void Step(Module<Tensor, Tensor> net, optim.Optimizer optimizer, ulong seed = 1)
    {
        using var scope = NewDisposeScope();
        net.zero_grad();
        net.call(Input(seed)).square().mean().backward();
        optimizer.step();
    }

    private static byte[][] Bits(IEnumerable<Tensor> tensors) => [.. tensors.Select(t => t.detach().bytes.ToArray())];

    private static void Same(byte[][] expected, byte[][] found, string what) =>
        Expect.True(expected.Length == found.Length && expected.Zip(found).All(pair => pair.First.SequenceEqual(pair.Second)), what);

    private static void Follows((string Name, Func<IEnumerable<Parameter>, optim.Optimizer> Make) kind, bool listed)
    {
        using var scope = NewDisposeScope();
        using var net = new Net();
        using var optimizer = kind.Make(listed ? net.parameters().ToArray() : net.parameters());
        Step(net, optimizer);
        Step(net, optimizer, 2);
        var count = optimizer.parameters().Count();
        var layer = Model.Compress(net, "second", Formats.Cp(3), null, Quick);
        if (listed)
        {
            var untouched = Bits(layer.parameters());
            Step(net, optimizer, 3);
            Same(untouched, Bits(layer.parameters()), $"{kind.Name}: the optimizer does not know the cores");
        }

        var options = optimizer.ParamGroups.Select(g => (g.LearningRate, g.InitialLearningRate)).ToArray();
        Expect.Equal(layer.parameters().Count(), Model.Follow(optimizer, net));
        Expect.SequenceEqual(options, optimizer.ParamGroups.Select(g => (g.LearningRate, g.InitialLearningRate)));
        Expect.Equal(count + layer.Factors.Count - 1, optimizer.parameters().Count());
        Expect.True(net.parameters().All(p => optimizer.parameters().Contains(p)), $"{kind.Name}: it holds what the model holds");
        Expect.Equal(0, Model.Follow(optimizer, net));

        // As one made anew moves a copy.
        using var copy = Model.Copy(layer);
        using var anew = kind.Make(copy.parameters());
        net.zero_grad();
        net.call(Input(4)).square().mean().backward();
        foreach (var (own, other) in layer.parameters().Zip(copy.parameters()))
        {
            other.grad = own.grad!.clone();
        }

        optimizer.step();
        anew.step();
        Same(Bits(copy.parameters()), Bits(layer.parameters()), $"{kind.Name}: as one made anew");
        ((OptimizerHelper)optimizer).state_dict();
    }

    private static Test OptimizerLaws => TestList("optimizers made before",
    [
        .. Optimizers.SelectMany(kind => new[] { true, false }.Select(listed => TestCase(
            $"{kind.Name} of {(listed ? "a list" : "parameters()")}: having followed it trains the new layer as one made anew does", () => Follows(kind, listed)))),
        TestCase("parameters enter the groups of those whose place they take; frozen ones and those of layers not held stay out", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            var (first, second) = (Model.Find<Conv2d>(net, "first"), Model.Find<Conv2d>(net, "second"));
            second.bias!.requires_grad = false;
            using var optimizer = optim.SGD(new SGD.ParamGroup[] { new([second.weight], lr: 0.5), new([second.bias!, Model.Find<Linear>(net, "head").weight], lr: 0.25) }, 0.1);
            var schedule = optim.lr_scheduler.StepLR(optimizer, 1, 0.5);
            Model.ReplaceAll(net, (path, _) => path != "head", Formats.Cp(3), null, Quick);
            Expect.Equal(3, Model.Follow(optimizer, net));
            var groups = optimizer.ParamGroups.Cast<ParamGroup>().ToArray();
            Expect.True(groups[0].Parameters.SequenceEqual(Model.Find<FactorizedConv2d>(net, "second").Factors), "the cores in the first group");
            Expect.Equal(1, groups[1].Parameters.Count());
            Expect.Equal(0.5, groups[0].LearningRate);
            Step(net, optimizer);
            schedule.step();
            Expect.Equal(0.25, groups[0].LearningRate);
        }),
        TestCase("any module that was exchanged is followed, back again too", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            using var optimizer = optim.Adam(net.parameters());
            Step(net, optimizer);
            var dense = Model.Find<Conv2d>(net, "first");
            using var gain = new Gain();
            Model.Exchange(net, "first", gain);
            Expect.Equal(1, Model.Follow(optimizer, dense, gain));
            Step(net, optimizer);
            Model.Exchange(net, "first", dense);
            Model.Follow(optimizer, gain, dense);
            var before = Bits(dense.parameters().Take(1));
            Step(net, optimizer);
            Expect.True(!before[0].SequenceEqual(Bits(dense.parameters())[0]), "the weight is trained again");
        }),
        TestCase("an optimizer follows a model that was compressed by a plan", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            using var optimizer = optim.Adam(net.parameters());
            Step(net, optimizer);
            var settings = new PlanSettings(KeepFirst: false, KeepLast: false, Workers: 1);
            var plan = Model.Plan(net, [2, 4, 5, 5], Budgets.LayerError(.9), settings);
            var report = Model.Compress(net, plan, new CompressSettings(Workers: 1));
            Expect.True(report.Layers.Count >= 2, $"{plan}");
            var cores = report.Layers.SelectMany(made => made.Layer.Factors).ToArray();
            Expect.Equal(report.Layers.Sum(made => made.Layer.parameters().Count()), Model.Follow(optimizer, net));
            var before = Bits(cores);
            Step(net, optimizer, 2);
            Expect.True(before.Zip(Bits(cores)).All(pair => !pair.First.SequenceEqual(pair.Second)), "every core is trained");
        }),
        TestCase("a plan by the loss of the model asks it for every candidate and leaves the model as it was", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            net.eval();
            var x = randn(2, 4, 5, 5);
            var expected = net.call(x).detach();
            var before = Bits(net.parameters());
            var calls = 0;

            double Loss(Module<Tensor, Tensor> model)
            {
                calls++;
                using var inner = NewDisposeScope();
                return model.call(x).sub(expected).square().mean().ToDouble();
            }

            var settings = new PlanSettings(KeepFirst: false, KeepLast: false, Workers: 1, Evaluate: Loss);
            var plan = Model.Plan(net, [2, 4, 5, 5], Budgets.ParameterRatio(1.2), settings);
            Expect.Equal("function", plan.Measure);
            Expect.Equal(1 + plan.Layers.Sum(layer => layer.Candidates.Count), calls);
            Expect.True(plan.Layers.SelectMany(layer => layer.Candidates).All(c => c.Damage > 0), $"{plan}");
            Expect.True(before.Zip(Bits(net.parameters())).All(pair => pair.First.SequenceEqual(pair.Second)), "bits");
        }),
        TestCase("an optimizer of fixed parameters is refused by name", () =>
        {
            using var scope = NewDisposeScope();
            using var net = new Net();
            using var optimizer = optim.LBFGS(net.parameters());
            Model.Compress(net, "second", Formats.Cp(3), null, Quick);
            Expect.True(Expect.Throws<TensorNetException>(() => Model.Follow(optimizer, net)).Message.Contains("LBFGS"), "its name");
        }),
    ]);

    private static Test Hooks => TestCase("forward hooks of every kind run on the new layer, once, and are removed there by what removes them", () =>
    {
        using var scope = NewDisposeScope();
        using var net = new Net();
        var calls = new int[4];
        var dense = Model.Find<Conv2d>(net, "second");
        FactorizedLayer? layer = null;
        Action[] removers =
        [
            dense.register_forward_pre_hook((m, x) => { calls[0] += ReferenceEquals(m, layer) ? 1 : 100; return x; }).remove,
            dense.register_forward_hook((m, x, y) => { calls[1]++; return y * 0; }).remove,
            dense.register_forward_pre_hook(m => calls[2]++).remove,
            dense.register_forward_hook(m => calls[3]++).remove,
        ];
        layer = Model.Compress(net, "second", Formats.Cp(3), null, Quick);
        net.call(Input());
        Expect.SequenceEqual([1, 1, 1, 1], calls);
        Expect.True(layer.call(Input()).abs().sum().item<float>() == 0, "a hook that changes the output does so");
        foreach (var remove in removers) remove();
        net.call(Input());
        Expect.SequenceEqual([2, 2, 2, 2], calls);
    });

    private static readonly (string Name, Func<Module<Tensor, Tensor>> Make, string Path)[] Shared =
    [
        ("a field", () => new Net(), "second"),
        ("a Sequential", () => Sequential(("a", Conv2d(4, 4, 3, padding: 1)), ("b", Conv2d(4, 4, 3, padding: 1))), "b"),
        ("a block", () => Sequential(("block", new Net())), "block.first"),
    ];

    private static Test Threads => TestList("passes on other threads go on while a layer is compressed and exchanged",
    [
        .. Shared.Select(kind => TestCase("in " + kind.Name, () =>
        {
            using var net = kind.Make();
            var running = true;
            var passes = 0;
            Exception? failed = null;
            var threads = Enumerable.Range(0, 2).Select(_ => new Thread(() =>
            {
                try
                {
                    using var x = ones(1, 4, 5, 5);
                    while (Volatile.Read(ref running))
                    {
                        using var scope = NewDisposeScope();
                        using var quiet = no_grad();
                        net.call(x);
                        Interlocked.Increment(ref passes);
                    }
                }
                catch (Exception e)
                {
                    failed = e;
                }
            })).ToArray();
            foreach (var thread in threads) thread.Start();
            for (var i = 0; i < 15; i++)
            {
                var layer = Model.Compress(net, kind.Path, Formats.Cp(2), null, new FitOptions(MaxSweeps: 1));
                Model.Exchange(net, kind.Path, layer.ToDense());
                var (seen, from) = (Volatile.Read(ref passes), Environment.TickCount64);
                while (failed is null && Volatile.Read(ref passes) < seen + 2 && Environment.TickCount64 < from + 5000) Thread.Yield();
            }

            Volatile.Write(ref running, false);
            foreach (var thread in threads) thread.Join();
            if (failed is not null) throw failed;
            Expect.True(passes >= 30, $"{passes} passes");
        })),
    ]);

    private static Test Others => TestList("the layer's other paths and memory",
    [
        TestCase("a layer that is compressed already is said to be, with all its paths", () =>
        {
            using var model = new Parents.Twice();
            Model.Compress(model, "a", Formats.Cp(2), null, Quick);
            var error = Expect.Throws<TensorNetException>(() => Model.Compress(model, "b", Formats.Cp(2), null, Quick));
            Expect.True(error.Errors.Single().IsCompressed && error.Message.Contains("'b' and 'a' is compressed already"), error.Message);
        }),
        TestCase("what cannot be replaced is refused before it is factorized", () =>
        {
            using var model = new Parents.NoField();
            var sweeps = 0;
            Expect.Throws<TensorNetException>(() => Model.Compress(model, "conv", Formats.Cp(2), null, new FitOptions(Progress: new Counter(() => sweeps++))));
            Expect.Equal(0, sweeps);
        }),
        TestCase("a dense layer that nothing refers to any more is collected", () =>
        {
            using var net = new Net();
            var weak = Compressed(net);
            for (var i = 0; i < 20 && weak.IsAlive; i++) GC.KeepAlive(NativeTensors.Count);
            Expect.True(!weak.IsAlive, "the dense weight is still there");
        }),
    ]);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference Compressed(Net net)
    {
        var weak = new WeakReference(Model.Find<Conv2d>(net, "second").weight);
        Model.Compress(net, "second", Formats.Cp(2), null, Quick);
        return weak;
    }

    private sealed class Counter(Action count) : IProgress<FitProgress>
    {
        public void Report(FitProgress value) => count();
    }

    /// <summary>All tests of this file.</summary>
    public static Test All => Tests.testSequenced(TestList("after compression", [OptimizerLaws, Hooks, Threads, Others]));
}
