using System;
using System.Collections.Generic;
using System.Collections.ObjectModel;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Modules that hold a layer where it cannot be exchanged.</summary>
public static partial class Parents
{
    public static Module<Tensor, Tensor> InConvArray()
    {
        Conv2d[] layers = [Conv()];
        return new Collected<Module<Tensor, Tensor>[]>(layers, Chain, ("conv", layers[0]));
    }

    public static Module<Tensor, Tensor> InReadOnlyCollection()
    {
        var layers = new List<Module<Tensor, Tensor>> { Conv() }.AsReadOnly();
        return new Collected<IReadOnlyList<Module<Tensor, Tensor>>>(layers, Chain, ("conv", layers[0]));
    }

    public static Module<Tensor, Tensor> InDelegate()
    {
        var conv = Conv();
        return new Collected<Func<Tensor, Tensor>>(conv.forward, (f, x) => f(x), ("conv", conv));
    }

    public sealed class SealedConv : Module<Tensor, Tensor>
    {
        private readonly Conv2d conv = Conv();
        public SealedConv() : base(nameof(SealedConv)) => RegisterComponents();
        public override Tensor forward(Tensor x) => conv.call(x);
    }

    /// <summary>The same layer in a field that can hold a replacement and in one that cannot.</summary>
    public sealed class HalfSealed : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> open;
        private readonly Conv2d shut;
        public HalfSealed() : base(nameof(HalfSealed)) { shut = Conv(); open = shut; RegisterComponents(); }
        public override Tensor forward(Tensor x) { using var y = open.call(x); return shut.call(y); }
    }

    public sealed class InConvList : Module<Tensor, Tensor>
    {
        private readonly ModuleList<Conv2d> layers = ModuleList(Conv());
        public InConvList() : base(nameof(InConvList)) => RegisterComponents();
        public override Tensor forward(Tensor x) => layers[0].call(x);
    }

    /// <summary>A field that is not registered holds a part of a registered block.</summary>
    public sealed class Borrowing : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor>[] borrowed;
        private readonly Module<Tensor, Tensor> block;
        public Borrowing() : base(nameof(Borrowing))
        {
            var conv = Conv();
            borrowed = [conv];
            block = Sequential(conv, ReLU());
            RegisterComponents();
        }
        public override Tensor forward(Tensor x) { using var y = block.call(x); return borrowed[0].call(y); }
    }

    public sealed class NoField : Module<Tensor, Tensor>
    {
        public NoField() : base(nameof(NoField)) => register_module("conv", Conv());
        public override Tensor forward(Tensor x)
        {
            foreach (var child in children()) return ((Module<Tensor, Tensor>)child).call(x);
            return x.alias();
        }
    }

    public sealed class NeverRegistered : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> conv = Conv();
        public NeverRegistered() : base(nameof(NeverRegistered)) { }
        public override Tensor forward(Tensor x) => conv.call(x);
    }

    /// <summary>A setter that refuses every new layer after the first: the second of two changes fails.</summary>
    public sealed class StubbornList : Collection<Module<Tensor, Tensor>>
    {
        protected override void SetItem(int index, Module<Tensor, Tensor> item)
        {
            if (item is Gain) throw new InvalidOperationException("this list takes no Gain");
            base.SetItem(index, item);
        }
    }

    public sealed class Stubborn : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> conv;
        private readonly StubbornList layers = [];
        public Stubborn() : base(nameof(Stubborn)) { conv = Conv(); layers.Add(conv); RegisterComponents(); }
        public override Tensor forward(Tensor x) { using var y = conv.call(x); return layers[0].call(y); }
    }
}
