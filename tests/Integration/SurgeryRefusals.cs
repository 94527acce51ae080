using System;
using System.Linq;
using Expecto;
using Microsoft.FSharp.Core;
using TorchSharp;
using TorchSharp.Modules;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Integration;

/// <summary>What cannot be done is refused with a typed error, and the model stays as it was.</summary>
public static partial class SurgeryTests
{
    /// <summary>The errors of one attempt, after a check that it left the model as it was.</summary>
    private static TensorNetError[] Refused(Module<Tensor, Tensor> model, string path, Module<Tensor, Tensor> replacement, bool release = false)
    {
        model.eval();
        var (names, output) = (Names(model), Output(model));
        var modules = Surgery.paths(model).Select(p => (p.Item1, p.Item2)).ToArray();
        var errors = release ? Errors(Surgery.replace(path, replacement, model)) : Errors(Surgery.exchange(path, replacement, model));
        Same(Names(model), names, "the names are as they were");
        Same(Output(model), output, "the output is as it was");
        Same(Surgery.paths(model).Select(p => (p.Item1, p.Item2)), modules, "the modules are as they were");
        foreach (var error in errors) Check(error.Message.EndsWith('.') && !error.Message.Contains(".."), "a sentence: " + error.Message);
        return errors;
    }

    private static Test Refusal(string name, string path, Func<Module<Tensor, Tensor>> make, Func<TensorNetError, bool> expected, params string[] says) =>
        TestCase(name, () =>
        {
            using var model = make();
            using var gain = new Gain();
            foreach (var release in new[] { false, true })
            {
                var errors = Refused(model, path, gain, release);
                Check(errors.Length == 1 && expected(errors[0]), string.Join(" / ", errors.Select(e => e.Message)));
                foreach (var word in says) Check(errors[0].Message.Contains(word), $"'{word}' in: {errors[0].Message}");
            }
        });

    private static Test Refuses(string name, Action<Parents.Deep> attempt) =>
        TestCase(name, () => { using var model = new Parents.Deep(); attempt(model); });

    private static Test Refusals => TestList("what cannot be done is refused and changes nothing", [
        Refusal("a field of a sealed type names path, owner, field and both types", "conv", () => new Parents.SealedConv(),
            e => e.IsSealedField, "'conv'", "SealedConv", "Conv2d", "Gain", "Module<Tensor, Tensor>"),
        Refusal("an array of a sealed type is refused, whatever its field's type", "conv", Parents.InConvArray, e => e.IsSealedField, "layers[0]"),
        Refusal("a ModuleList of a sealed type", "layers.0", () => new Parents.InConvList(), e => e.IsSealedField, "ModuleList<Conv2d>"),
        Refusal("a layer also held by a sealed field stays in both", "open", () => new Parents.HalfSealed(), e => e.IsSealedField, "'shut'"),
        Refusal("a layer that no field holds", "conv", () => new Parents.NoField(), e => e.IsUnreachableField, "NoField", "no field"),
        Refusal("a layer in a read-only collection", "conv", Parents.InReadOnlyCollection, e => e.IsUnreachableField, "'layers'", "ReadOnlyCollection"),
        Refusal("a layer captured by a delegate", "conv", Parents.InDelegate, e => e.IsUnreachableField, "'layers'", "Func"),
        Refusal("a layer in a field that was never registered", "conv", () => new Parents.NeverRegistered(), e => e.IsUnreachableField, "RegisterComponents"),
        Refusal("a holder that throws undoes the changes before it", "conv", () => new Parents.Stubborn(), e => e.IsUnreachableField, "takes no Gain"),
        Refusal("a module of another kind", "layers", () => new Parents.InModuleList(), e => e.IsModuleType, "ModuleList", "Module<Tensor, Tensor>"),
        Refusal("the empty path", "", () => new Parents.Deep(), e => e.IsUnsupported, "root"),
        Refusal("an unknown path lists the nearest names, best first", "layer1.1.conv3", () => new Parents.Deep(),
            e => e is TensorNetError.PathNotFound p && p.nearest.Length == 5 && p.nearest[0].StartsWith("layer1.1.conv"), "layer1.1.conv2"),
        Refusal("a path that goes on below a leaf", "layer1.1.conv2.weight", () => new Parents.Deep(), e => e.IsPathNotFound, "'layer1.1.conv2'"),
        Refuses("a replacement that is in the tree", model =>
        {
            var inside = (Module<Tensor, Tensor>)Ok(Surgery.find("layer1.0.conv1", model));
            var error = Refused(model, "layer1.1.conv2", inside).Single();
            Check(error.IsUnsupported && error.Message.Contains("'layer1.0.conv1'"), error.Message);
        }),
        Refuses("a replacement that contains a module of the tree", model =>
        {
            var inside = (Module<Tensor, Tensor>)Ok(Surgery.find("layer1.0.conv1", model));
            var error = Refused(model, "layer1.1.conv2", Sequential(inside, ReLU())).Single();
            Check(error.IsUnsupported && error.Message.Contains("'layer1.0.conv1'"), error.Message);
        }),
        Refuses("the layer itself, or the root, as replacement", model =>
        {
            var itself = (Module<Tensor, Tensor>)Ok(Surgery.find("layer1.1.conv2", model));
            Check(Refused(model, "layer1.1.conv2", itself, release: true).Single().IsUnsupported, "itself");
            Check(Refused(model, "layer1.1.conv2", model).Single().Message.Contains("root"), "the root");
        }),
        Refuses("a disposed replacement", model =>
        {
            var gone = new Gain();
            gone.Dispose();
            Check(Refused(model, "layer1.1.conv2", gone).Single().Message.Contains("disposed"), "disposed");
        }),
        Refuses("releasing a layer whose tensors the replacement uses", model =>
        {
            var old = (Conv2d)Ok(Surgery.find("layer1.1.conv2", model));
            var heir = Parents.Conv();
            heir.register_parameter("shared", old.weight);
            var error = Refused(model, "layer1.1.conv2", heir, release: true).Single();
            Check(error.IsUnreachableField && error.Message.Contains("exchange"), error.Message);
        }),
        Refuses("releasing a layer that the replacement wraps", model =>
        {
            var old = (Module<Tensor, Tensor>)Ok(Surgery.find("layer1.1.conv2", model));
            Check(Refused(model, "layer1.1.conv2", Sequential(old, ReLU()), release: true).Single().Message.Contains("stays in use"), "wrapped");
        }),
        TestCase("releasing a block of which another field holds a part is refused", () =>
        {
            using var model = new Parents.Borrowing();
            var error = Refused(model, "block", new Gain(), release: true).Single();
            Check(error.IsUnreachableField && error.Message.Contains("Conv2d"), error.Message);
        }),
        TestCase("a null replacement, path or root is a bad call", () =>
        {
            using var model = new Parents.Deep();
            foreach (var call in new Action[] { () => Surgery.replace("layer1", null!, model), () => Surgery.find(null!, model), () => Surgery.find("a", null!) })
                Expecto.Expect.throwsT<ArgumentNullException>(FuncConvert.FromAction(call), "null is refused");
        }),
    ]);
}
