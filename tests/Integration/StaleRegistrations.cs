using System.Runtime.InteropServices;
using Expecto;
using TensorNets.CSharp;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Models whose registered modules are not, or not only, those that their code holds: a layer is replaced where a forward pass
/// reaches it, or refused.</summary>
public static class StaleRegistrations
{
    private static Module<Tensor, Tensor> Conv() => Conv2d(4, 4, 3, padding: 1);

    private sealed class Block : Module<Tensor, Tensor>
    {
        private readonly Module<Tensor, Tensor> conv = Conv();
        public Block() : base(nameof(Block)) => RegisterComponents();
        public override Tensor forward(Tensor x) => conv.call(x);
    }

    /// <summary>A model whose pass calls what a function gives it at that moment.</summary>
    private abstract class Net : Module<Tensor, Tensor>
    {
        protected Net() : base("Net") { }
        protected abstract Module<Tensor, Tensor> Used { get; }
        public override Tensor forward(Tensor x) => Used.call(x);
    }

    private sealed class Reassigned : Net
    {
        private Module<Tensor, Tensor> layer;
        public Reassigned(Func<Module<Tensor, Tensor>> make) { layer = make(); RegisterComponents(); layer = make(); }
        protected override Module<Tensor, Tensor> Used => layer;
    }

    private sealed class KeptElsewhere : Net
    {
        private Module<Tensor, Tensor> layer;
        private readonly Module<Tensor, Tensor> backup;
        public KeptElsewhere(Func<Module<Tensor, Tensor>> make) { layer = backup = make(); register_module("layer", layer); layer = make(); }
        protected override Module<Tensor, Tensor> Used => backup is null ? backup! : layer;
    }

    private class Registering : Net
    {
        protected Module<Tensor, Tensor> layer;
        public Registering(Func<Module<Tensor, Tensor>> make) { layer = make(); RegisterComponents(); }
        protected override Module<Tensor, Tensor> Used => layer;
    }

    private sealed class Overriding : Registering
    {
        public Overriding(Func<Module<Tensor, Tensor>> make) : base(make) => layer = make();
    }

    private class HiddenBase(Func<Module<Tensor, Tensor>> make) : Net
    {
        private readonly Module<Tensor, Tensor> layer = make();
        protected override Module<Tensor, Tensor> Used => layer;
    }

    private sealed class Hiding : HiddenBase
    {
        private readonly Module<Tensor, Tensor> layer;
        public Hiding(Func<Module<Tensor, Tensor>> make) : base(make) { layer = make(); GC.KeepAlive(layer); RegisterComponents(); }
    }

    private class VirtualProperty(Func<Module<Tensor, Tensor>> make) : Net
    {
        protected virtual Module<Tensor, Tensor> Layer { get; } = make();
        protected override Module<Tensor, Tensor> Used => Layer;
    }

    private sealed class OverridingProperty : VirtualProperty
    {
        protected override Module<Tensor, Tensor> Layer { get; }
        public OverridingProperty(Func<Module<Tensor, Tensor>> make) : base(make) { Layer = make(); RegisterComponents(); }
    }

    private sealed class NoField : Net
    {
        public NoField(Func<Module<Tensor, Tensor>> make) => register_module("layer", make());
        protected override Module<Tensor, Tensor> Used => (Module<Tensor, Tensor>)children().First();
    }

    private sealed class ReassignedInList : Net
    {
        private readonly List<Module<Tensor, Tensor>> layers;
        public ReassignedInList(Func<Module<Tensor, Tensor>> make) { layers = [make()]; register_module("layer", layers[0]); layers[0] = make(); }
        protected override Module<Tensor, Tensor> Used => layers[0];
    }

    private sealed class Weak : Net
    {
        private readonly Module<Tensor, Tensor> layer;
        private readonly WeakReference weak;
        public Weak(Func<Module<Tensor, Tensor>> make) { layer = make(); weak = new(layer); RegisterComponents(); }
        protected override Module<Tensor, Tensor> Used => layer is null ? layer! : (Module<Tensor, Tensor>)weak.Target!;
    }

    private sealed class TypedWeak : Net
    {
        private readonly Module<Tensor, Tensor> layer;
        private readonly WeakReference<Module<Tensor, Tensor>> weak;
        public TypedWeak(Func<Module<Tensor, Tensor>> make) { layer = make(); weak = new(layer); RegisterComponents(); }
        protected override Module<Tensor, Tensor> Used => weak.TryGetTarget(out var target) ? target : layer;
    }

    private sealed class Handle : Net
    {
        private readonly Module<Tensor, Tensor> layer;
        private readonly GCHandle handle;
        public Handle(Func<Module<Tensor, Tensor>> make) { layer = make(); handle = GCHandle.Alloc(layer, GCHandleType.Weak); RegisterComponents(); }
        protected override Module<Tensor, Tensor> Used => layer is null ? layer! : (Module<Tensor, Tensor>)handle.Target!;
    }

    private sealed class WeakInFunction : Net
    {
        private readonly Module<Tensor, Tensor> layer;
        private readonly Func<Module<Tensor, Tensor>> used;
        public WeakInFunction(Func<Module<Tensor, Tensor>> make)
        {
            layer = make();
            var weak = new WeakReference<Module<Tensor, Tensor>>(layer);
            used = () => weak.TryGetTarget(out var target) ? target : layer;
            RegisterComponents();
        }
        protected override Module<Tensor, Tensor> Used => used();
    }

    private sealed class InFunction : Net
    {
        private readonly Func<Module<Tensor, Tensor>> used;
        public InFunction(Func<Module<Tensor, Tensor>> make) { var layer = make(); used = () => layer; register_module("layer", layer); }
        protected override Module<Tensor, Tensor> Used => used();
    }

    private sealed class Plain : Net
    {
        private readonly Module<Tensor, Tensor> layer;
        public Plain(Func<Module<Tensor, Tensor>> make) { layer = make(); RegisterComponents(); }
        protected override Module<Tensor, Tensor> Used => layer;
    }

    private static readonly (string Name, Func<Func<Module<Tensor, Tensor>>, Module<Tensor, Tensor>> Make)[] Holders =
    [
        ("a field", make => new Plain(make)),
        ("a field assigned after RegisterComponents", make => new Reassigned(make)),
        ("a field assigned anew while another keeps the layer", make => new KeptElsewhere(make)),
        ("a derived class that assigns the field of its base anew", make => new Overriding(make)),
        ("a derived class that hides the field of its base", make => new Hiding(make)),
        ("a derived class that overrides the property of its base", make => new OverridingProperty(make)),
        ("register_module without a field", make => new NoField(make)),
        ("a list whose element is assigned after register_module", make => new ReassignedInList(make)),
        ("a field beside a WeakReference", make => new Weak(make)),
        ("a field beside a typed WeakReference", make => new TypedWeak(make)),
        ("a field beside a handle of the garbage collector", make => new Handle(make)),
        ("a field beside a function with a WeakReference", make => new WeakInFunction(make)),
        ("a function", make => new InFunction(make)),
        ("a Sequential", make => Sequential(("layer", make()))),
    ];

    private sealed record Case(string Name, string Path, Func<Module<Tensor, Tensor>> Make);

    /// <summary>Every holder around a layer, around a block with the layer, and around every other holder.</summary>
    private static IEnumerable<Case> Cases =>
    [
        .. Holders.Select(h => new Case(h.Name, Named(h.Make(Conv)), () => h.Make(Conv))),
        .. Holders.Select(h => new Case(h.Name + " of a block", Named(h.Make(() => new Block())) + ".conv", () => h.Make(() => new Block()))),
        .. Holders.SelectMany(outer => Holders.Select(inner => new Case(
            $"{outer.Name} of a class with {inner.Name}",
            Named(outer.Make(Conv)) + "." + Named(inner.Make(Conv)),
            () => outer.Make(() => inner.Make(Conv))))),
    ];

    /// <summary>The name of the one child that TorchSharp lists.</summary>
    private static string Named(Module<Tensor, Tensor> model) => model.named_children().First().name;

    private static byte[] Output(Module<Tensor, Tensor> model)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return model.call(linspace(-1, 1, 4 * 5 * 5).reshape(1, 4, 5, 5)).bytes.ToArray();
    }

    private static readonly Dictionary<string, Func<Module<Tensor, Tensor>, string, Module<Tensor, Tensor>>> Acts = new()
    {
        ["Compress"] = (model, path) => Model.Compress(model, path, Formats.Cp(2), null, new FitOptions(MaxSweeps: 1)),
        ["ReplaceAll"] = (model, path) =>
        {
            var report = Model.ReplaceAll(model, (p, _) => p == path, Formats.Cp(2), null, new FitOptions(MaxSweeps: 1));
            return report.Replaced.SingleOrDefault()?.Layer ?? throw new TensorNetException([TensorNetError.NewUnreachableField(path, "", string.Join(" ", report.Skipped.First(s => s.Path == path).Reasons))]);
        },
        ["Replace"] = (model, path) => { var gain = new Gain(); Model.Replace(model, path, gain); return gain; },
        ["Exchange"] = (model, path) => { var gain = new Gain(); Model.Exchange(model, path, gain); return gain; },
    };

    private static int replaced;

    private static Test Law(string act) => TestCase($"{act}: a pass reaches the new layer, or there is an error that says how to declare the field, and nothing has changed", () =>
    {
        replaced = 0;
        foreach (var (name, path, make) in Cases)
        {
            using var model = make();
            model.eval();
            var before = Output(model);
            try
            {
                var layer = Acts[act](model, path);
                var reached = 0;
                layer.register_forward_hook((_, _, y) => { reached++; return y; });
                Expect.True(!Output(model).SequenceEqual(before), $"{name}: the output is still that of the old layer");
                Expect.True(reached == 1, $"{name}: the pass reached the new layer {reached} times");
                Expect.True(ReferenceEquals(Model.Find(model, path), layer), $"{name}: find");
                replaced++;
            }
            catch (TensorNetException refused)
            {
                Expect.True(refused.Errors.All(e => e.IsUnreachableField), $"{name}: {refused.Message}");
                Expect.True(refused.Message.Contains("RegisterComponents()") || refused.Message.Contains("hold it in a field"), $"{name}: {refused.Message}");
                Expect.True(Output(model).SequenceEqual(before), $"{name}: the output changed");
            }
        }

        // A field, an overridden property, three weak references, a Sequential; of a block or a class also the two functions, which nobody
        // has to change.
        Expect.Equal(6 + 8 + (8 * 6), replaced);
    });

    /// <summary>All tests of this file.</summary>
    public static Test All => Tests.testSequenced(TestList("stale registrations", Acts.Keys.Select(Law)));
}
