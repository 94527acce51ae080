using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Expecto;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using TorchSharp;
using TorchSharp.Modules;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>Replacing and restoring a submodule: one set of laws over every kind of parent, then the errors.</summary>
public static partial class SurgeryTests
{
    private sealed record Parent(string Kind, string Path, Func<Module<Tensor, Tensor>> Make);

    private static Parent[] Working =>
    [
        new("a Sequential", "1", () => Sequential(ReLU(), Parents.Conv(), ReLU())),
        new("a Sequential of one layer", "only", () => Sequential(("only", Parents.Conv()))),
        new("a nested Sequential", "body.inner.conv", () => Sequential(("body", Sequential(("inner", Sequential(("conv", Parents.Conv()))))))),
        new("a ModuleList", "layers.1", () => new Parents.InModuleList()),
        new("a ModuleDict", "layers.a", () => new Parents.InModuleDict()),
        new("a field", "conv", () => new Parents.Field()),
        new("a readonly field", "conv", () => new Parents.ReadonlyField()),
        new("a field of type nn.Module", "conv", () => new Parents.PlainModuleField()),
        new("a field of type IModule", "conv", () => new Parents.InterfaceField()),
        new("an automatic property", "<conv>k__BackingField", () => new Parents.AutoProperty()),
        new("a private field of a base class", "conv", () => new Parents.Derived()),
        new("an array", "conv", Parents.InArray),
        new("a List", "conv", Parents.InList),
        new("a Dictionary", "conv", Parents.InDictionary),
        new("a List of Lists", "conv", Parents.InNestedList),
        new("a tuple", "conv", Parents.InTuple),
        new("a class deep in a tree", "layer1.1.conv2", () => new Parents.Deep()),
        new("a Sequential deep in a tree", "layer2.body.conv", () => new Parents.Deep()),
        new("a class whose hook has captured the layer", "conv", () => new Parents.Hooked()),
    ];

    private static Tensor Input() => tensor(Enumerable.Range(0, 2 * 4 * 5 * 5).Select(i => MathF.Sin(i)).ToArray()).reshape(2, 4, 5, 5);

    private static byte[] Bits(Tensor t) => t.detach().contiguous().bytes.ToArray();

    private static byte[] Output(Module<Tensor, Tensor> model)
    {
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return Bits(model.call(Input()));
    }

    private static string[] Names(nn.Module model) => model.state_dict().Keys.ToArray();

    private static T Ok<T>(FSharpResult<T, FSharpList<TensorNetError>> result) => TensorNetErrorModule.raiseErrors(result);

    private static TensorNetError[] Errors<T>(FSharpResult<T, FSharpList<TensorNetError>> result)
    {
        Check(result.IsError, "an error is expected");
        return result.ErrorValue.ToArray();
    }

    private static void Check(bool holds, string what) => Expect.True(holds, what);

    private static void Same<T>(IEnumerable<T> found, IEnumerable<T> expected, string what) => Check(found.SequenceEqual(expected), what);

    private static Test Law(string name, Action<Parent> law) =>
        TestList(name, Working.Select(parent => TestCase("in " + parent.Kind, () => law(parent))));

    private static Test Laws => TestList("in every kind of parent", [
        Law("the forward pass uses the replacement and fires its hooks", parent =>
        {
            using var model = parent.Make();
            var gain = new Gain();
            var calls = 0;
            gain.register_forward_hook((_, _, _) => { calls++; return null!; });
            Ok(Surgery.replace(parent.Path, gain, model));
            var twice = Output(model);
            using (no_grad()) gain.gain.fill_(3.0);
            Check(!Output(model).SequenceEqual(twice), "another gain gives another output");
            Check(calls == 2, "the hook fires once for each pass");
            Check(ReferenceEquals(Ok(Surgery.find(parent.Path, model)), gain), "find gives the replacement");
        }),
        Law("parameters, names and gradients are the replacement's", parent =>
        {
            using var model = parent.Make();
            var gain = new Gain();
            Ok(Surgery.replace(parent.Path, gain, model));
            Check(model.named_parameters().Any(p => p.name == parent.Path + ".gain"), "named_parameters has the gain");
            Check(model.parameters().Any(p => ReferenceEquals(p, gain.gain)), "parameters has the gain");
            Check(Names(model).Contains(parent.Path + ".gain"), "state_dict has the gain");
            Check(!Names(model).Contains(parent.Path + ".weight"), "state_dict has no weight of the old layer");
            using var scope = NewDisposeScope();
            model.call(Input()).sum().backward();
            Check(gain.gain.grad is not null, "the gain has a gradient");
        }),
        Law("a saved model loads into another with the same replacement", parent =>
        {
            using var saved = parent.Make();
            using var loaded = parent.Make();
            Ok(Surgery.replace(parent.Path, new Gain(5), saved));
            Ok(Surgery.replace(parent.Path, new Gain(2), loaded));
            using var stream = new MemoryStream();
            saved.save(stream);
            loaded.load(new MemoryStream(stream.ToArray()));
            Same(Output(loaded), Output(saved), "the outputs agree to the bit");
        }),
        Law("the replacement trains or evaluates as the old layer did, and follows the model", parent =>
        {
            foreach (var training in new[] { true, false })
            {
                using var model = parent.Make();
                model.train(training);
                var gain = new Gain();
                Ok(Surgery.replace(parent.Path, gain, model));
                Check(gain.training == training, "the mode of the old layer");
                model.train(!training);
                Check(gain.training == !training, "the mode of the model");
            }
        }),
        Law("the replacement follows the model to another dtype", parent =>
        {
            using var model = parent.Make();
            // TorchSharp 0.107 throws on .to() of any ModuleDict: its two indexers share one name.
            if (model is Parents.InModuleDict) return;
            var gain = new Gain();
            Ok(Surgery.replace(parent.Path, gain, model));
            model.to(ScalarType.Float64);
            Check(gain.gain.dtype == ScalarType.Float64, "the gain is double");
            using var scope = NewDisposeScope();
            Check(model.call(Input().to(ScalarType.Float64)).dtype == ScalarType.Float64, "the output is double");
        }),
        Law("replacing and restoring gives the same names and bits", parent =>
        {
            using var model = parent.Make();
            model.eval();
            var (names, output) = (Names(model), Output(model));
            using var gain = new Gain();
            var old = Ok(Surgery.exchange(parent.Path, gain, model));
            Check(old is Conv2d, "the convolution is returned");
            Check(!Output(model).SequenceEqual(output), "the replacement changes the output");
            Check(ReferenceEquals(Ok(Surgery.exchange(parent.Path, old, model)), gain), "the replacement is returned");
            Same(Names(model), names, "the names, in order");
            Same(Output(model), output, "the outputs agree to the bit");
        }),
        Law("replace releases the old layer, and no tensor is leaked", parent =>
        {
            // TotalCount counts each Parameter twice when it is made and once when it goes, so only falls are compared.
            GC.Collect();
            GC.WaitForPendingFinalizers();
            var model = parent.Make();
            var old = (Conv2d)Ok(Surgery.find(parent.Path, model));
            var (weight, bias, gain) = (old.weight, old.bias!, new Gain());
            var whole = NativeTensors.Count;
            Ok(Surgery.replace(parent.Path, gain, model));
            Check(weight.IsInvalid && bias.IsInvalid, "the old weight and bias are disposed");
            Check(NativeTensors.Count == whole - 2, $"a weight and a bias go: {NativeTensors.Count} of {whole}");
            Output(model);
            var owned = model.parameters().Count() + model.buffers().Count();
            model.Dispose();
            Check(gain.gain.IsInvalid, "the replacement goes with the model");
            Check(NativeTensors.Count == whole - 2 - owned, $"{NativeTensors.Count} tensors live of {whole}, {owned} of them the model's");
        }),
        Law("exchange leaves the old layer alive", parent =>
        {
            using var model = parent.Make();
            using var old = Ok(Surgery.exchange(parent.Path, new Gain(), model));
            model.Dispose();
            Check(Output(old).Length > 0, "the old layer still computes");
        }),
    ]);

    private static Test Others => TestList("special cases", [
        TestCase("a layer under two names is replaced at both and stays shared", () =>
        {
            using var model = new Parents.Twice();
            var output = Output(model);
            var gain = new Gain(3);
            var old = Ok(Surgery.exchange("b", gain, model));
            Check(ReferenceEquals(Ok(Surgery.find("a", model)), gain) && ReferenceEquals(Ok(Surgery.find("b", model)), gain), "both names");
            using (var scope = NewDisposeScope()) Same(Bits(model.call(Input())), Bits(Input() * gain.gain * gain.gain), "nine times the input");
            Ok(Surgery.exchange("a", old, model)).Dispose();
            Same(Output(model), output, "the outputs agree to the bit");
        }),
        TestCase("a layer shared by two parents is replaced in both", () =>
        {
            var shared = Parents.Conv();
            using var model = Sequential(("left", Sequential(shared)), ("right", Sequential(("c", shared))));
            Ok(Surgery.replace("left.0", new Gain(), model));
            Check(ReferenceEquals(Ok(Surgery.find("right.c", model)), Ok(Surgery.find("left.0", model))), "one gain in both");
            Check(Output(model).Length > 0, "the model computes");
        }),
        TestCase("exchange can wrap the old layer and unwrap it again", () =>
        {
            using var model = new Parents.Deep();
            var output = Output(model);
            var old = (Module<Tensor, Tensor>)Ok(Surgery.find("layer1.1.conv2", model));
            Ok(Surgery.exchange("layer1.1.conv2", Sequential(old, new Gain()), model));
            Check(Names(model).Contains("layer1.1.conv2.0.weight"), "the old weight inside the wrapper");
            Check(!Output(model).SequenceEqual(output), "the gain changes the output");
            Ok(Surgery.exchange("layer1.1.conv2", old, model));
            Same(Output(model), output, "the outputs agree to the bit");
        }),
        TestCase("a replacement that never registered its fields is registered", () =>
        {
            using var model = Sequential(Parents.Conv());
            Ok(Surgery.replace("0", new LazyGain(), model));
            Same(Names(model), ["0.gain"], "the gain is seen");
        }),
        TestCase("a layer frozen inside a block stays frozen when the block is taken out and put back", () =>
        {
            using var model = Sequential(("block", Sequential(("conv", Parents.Conv()), ("norm", BatchNorm2d(4)))));
            var norm = Ok(Surgery.find("block.norm", model));
            norm.eval();
            using var gain = new Gain();
            Ok(Surgery.exchange("block", Ok(Surgery.exchange("block", gain, model)), model));
            Check(!norm.training && model.training, "the frozen layer evaluates in a training model");
        }),
        TestCase("a whole block is replaced after thousands of passes", () =>
        {
            using var model = new Parents.Deep();
            using (var quiet = no_grad())
                for (var i = 0; i < 2000; i++) { using var x = ones(1, 4, 2, 2); using var y = model.call(x); }
            Ok(Surgery.replace("layer1.0", new Gain(), model));
            Check(Names(model)[0] == "layer1.0.gain" && Output(model).Length > 0, "the model computes with the gain");
        }),
        // In a process of its own, whose allocator gives large pieces back at once: by itself glibc may keep each of a hundred, for aligned
        // pieces do not fit where one of their own size has been.
        TestCase("replacing a large layer a hundred times keeps the memory of one", () =>
        {
            var more = NativeTests.Run("replace", ("MALLOC_MMAP_THRESHOLD_", "131072")).Code;
            Check(more < 100, $"{more} MB more");
        }),
        TestCase("paths lists what named_modules lists", () =>
        {
            using var model = new Parents.Deep();
            Same(Surgery.paths(model).Select(p => p.Item1), model.named_modules().Select(m => m.name), "the paths");
        }),
    ]);

    /// <summary>How many MB a process has more after a large layer was replaced a hundred times, 255 for more than that: each has 4 MB.</summary>
    internal static int MegabytesOfReplacing()
    {
        static Module<Tensor, Tensor> Large() => Linear(1000, 1000);
        using var model = Sequential(Large());
        Ok(Surgery.replace("0", Large(), model));
        var before = Environment.WorkingSet;
        for (var i = 0; i < 100; i++) Ok(Surgery.replace("0", Large(), model));
        return (int)Math.Clamp((Environment.WorkingSet - before) / 1_000_000, 0, 255);
    }

    public static Test All => Expecto.Tests.testSequenced(TestList("surgery", [Laws, Refusals, Others]));
}
