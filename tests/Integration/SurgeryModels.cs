using System;
using System.Collections.Generic;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>The replacement in these tests: x ↦ gain · x.</summary>
public sealed class Gain : Module<Tensor, Tensor>
{
    public readonly Parameter gain;

    public Gain(double value = 2) : base(nameof(Gain))
    {
        using var start = tensor(new[] { (float)value });
        gain = new Parameter(start);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => x * gain;
}

/// <summary>A replacement that leaves registering its fields to its parent, as many models do.</summary>
public sealed class LazyGain : Module<Tensor, Tensor>
{
    public readonly Parameter gain = new(tensor(new[] { 2f }));

    public LazyGain() : base(nameof(LazyGain)) { }

    public override Tensor forward(Tensor x) => x * gain;
}

/// <summary>One module for each way in which a C# class can hold a layer; every one maps [n, 4, h, w] to its own shape.</summary>
public static partial class Parents
{
    public static Conv2d Conv() => Conv2d(4, 4, 3, padding: 1);

    public sealed class Field : Module<Tensor, Tensor>
    {
        private Module<Tensor, Tensor> conv = Conv();
        public Field() : base(nameof(Field)) => RegisterComponents();
        public override Tensor forward(Tensor x) => conv.call(x);
    }

    public sealed class ReadonlyField : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> conv = Conv();
        private readonly BatchNorm2d norm = BatchNorm2d(4);
        public ReadonlyField() : base(nameof(ReadonlyField)) => RegisterComponents();
        public override Tensor forward(Tensor x) { using var y = conv.call(x); return norm.call(y); }
    }

    public sealed class PlainModuleField : Module<Tensor, Tensor>
    {
        private readonly nn.Module conv = Conv();
        public PlainModuleField() : base(nameof(PlainModuleField)) => RegisterComponents();
        public override Tensor forward(Tensor x) => ((Module<Tensor, Tensor>)conv).call(x);
    }

    public sealed class InterfaceField : Module<Tensor, Tensor>
    {
        private readonly IModule<Tensor, Tensor> conv = Conv();
        public InterfaceField() : base(nameof(InterfaceField)) => RegisterComponents();
        public override Tensor forward(Tensor x) => conv.call(x);
    }

    public sealed class AutoProperty : Module<Tensor, Tensor>
    {
        public Module<Tensor, Tensor> conv { get; } = Conv();
        public AutoProperty() : base(nameof(AutoProperty)) => RegisterComponents();
        public override Tensor forward(Tensor x) => conv.call(x);
    }

    public abstract class PrivateBase : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> conv = Conv();
        protected PrivateBase(string name) : base(name) { }
        protected Tensor Inherited(Tensor x) => conv.call(x);
    }

    public class MiddleBase : PrivateBase
    {
        protected MiddleBase() : base(nameof(MiddleBase)) { }
        public override Tensor forward(Tensor x) => Inherited(x);
    }

    public sealed class Derived : MiddleBase
    {
        private readonly Module<Tensor, Tensor> last = ReLU();
        public Derived() => RegisterComponents();
        public override Tensor forward(Tensor x) { using var y = base.forward(x); return last.call(y); }
    }

    /// <summary>A collection in a field, whose elements are registered by hand.</summary>
    public sealed class Collected<TCollection> : Module<Tensor, Tensor>
    {
        private readonly TCollection layers;
        private readonly Func<TCollection, Tensor, Tensor> run;

        public Collected(TCollection layers, Func<TCollection, Tensor, Tensor> run, params (string, nn.Module)[] named) : base("Collected")
        {
            this.layers = layers;
            this.run = run;
            foreach (var (name, layer) in named) register_module(name, layer);
        }

        public override Tensor forward(Tensor x) => run(layers, x);
    }

    private static Tensor Chain(IEnumerable<Module<Tensor, Tensor>> layers, Tensor x)
    {
        var y = x.alias();
        foreach (var layer in layers) { var next = layer.call(y); y.Dispose(); y = next; }
        return y;
    }

    public static Module<Tensor, Tensor> InArray()
    {
        Module<Tensor, Tensor>[] layers = [ReLU(), Conv()];
        return new Collected<Module<Tensor, Tensor>[]>(layers, Chain, ("first", layers[0]), ("conv", layers[1]));
    }

    public static Module<Tensor, Tensor> InList()
    {
        List<Module<Tensor, Tensor>> layers = [Conv(), ReLU()];
        return new Collected<IList<Module<Tensor, Tensor>>>(layers, Chain, ("conv", layers[0]), ("last", layers[1]));
    }

    public static Module<Tensor, Tensor> InDictionary()
    {
        var layers = new Dictionary<string, Module<Tensor, Tensor>> { ["a"] = Conv() };
        return new Collected<Dictionary<string, Module<Tensor, Tensor>>>(layers, (d, x) => d["a"].call(x), ("conv", layers["a"]));
    }

    public static Module<Tensor, Tensor> InNestedList()
    {
        List<List<Module<Tensor, Tensor>>> layers = [[ReLU()], [Conv()]];
        return new Collected<List<List<Module<Tensor, Tensor>>>>(layers, (l, x) => l[1][0].call(x), ("conv", layers[1][0]));
    }

    public static Module<Tensor, Tensor> InTuple()
    {
        var layers = (Conv() as Module<Tensor, Tensor>, 3);
        return new Collected<(Module<Tensor, Tensor>, int)>(layers, (t, x) => t.Item1.call(x), ("conv", layers.Item1));
    }

    public sealed class InModuleList : Module<Tensor, Tensor>
    {
        private readonly ModuleList<Module<Tensor, Tensor>> layers = ModuleList<Module<Tensor, Tensor>>(ReLU(), Conv());
        public InModuleList() : base(nameof(InModuleList)) => RegisterComponents();
        public override Tensor forward(Tensor x) => Chain(layers, x);
    }

    public sealed class InModuleDict : Module<Tensor, Tensor>
    {
        private readonly ModuleDict<Module<Tensor, Tensor>> layers = ModuleDict<Module<Tensor, Tensor>>(("a", Conv()), ("b", ReLU()));
        public InModuleDict() : base(nameof(InModuleDict)) => RegisterComponents();
        public override Tensor forward(Tensor x) { using var y = layers["a"].call(x); return layers[1].Item2.call(y); }
    }

    /// <summary>A residual block, to be nested.</summary>
    public sealed class Block : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> conv1 = Conv();
        private readonly Module<Tensor, Tensor> conv2 = Conv();
        public Block() : base(nameof(Block)) => RegisterComponents();
        public override Tensor forward(Tensor x) { using var y = conv1.call(x); using var z = conv2.call(y); return z + x; }
    }

    public sealed class Deep : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> layer1 = Sequential(new Block(), new Block());
        private readonly Module<Tensor, Tensor> layer2 = Sequential(("body", Sequential(("conv", Conv()), ("act", ReLU()))));
        public Deep() : base(nameof(Deep)) => RegisterComponents();
        public override Tensor forward(Tensor x) { using var y = layer1.call(x); return layer2.call(y); }
    }

    /// <summary>One layer under two names.</summary>
    public sealed class Twice : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> a;
        private readonly Module<Tensor, Tensor> b;
        public Twice() : base(nameof(Twice)) { a = Conv(); b = a; RegisterComponents(); }
        public override Tensor forward(Tensor x) { using var y = a.call(x); return b.call(y); }
    }

    public sealed class Hooked : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> conv = Conv();
        public Hooked() : base(nameof(Hooked))
        {
            RegisterComponents();
            var watched = conv;
            register_forward_pre_hook((nn.Module _) => GC.KeepAlive(watched));
        }
        public override Tensor forward(Tensor x) => conv.call(x);
    }
}
