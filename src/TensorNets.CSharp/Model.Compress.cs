using Microsoft.FSharp.Core;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

public static partial class Model
{
    /// <summary>Replaces the linear layer, convolution or embedding at a path by its factorized layer, on which its forward hooks run from
    /// then on. An optimizer made before does not know the new parameters, its next step throws a KeyNotFoundException or leaves them out:
    /// <see cref="Follow(optim.Optimizer, Module)"/> gives them to it. Another thread may be in a forward pass meanwhile: the dense layer
    /// is left to the garbage collector.</summary>
    /// <param name="model">The model.</param>
    /// <param name="path">The path of the layer, as in <c>layer1.1.conv2</c>.</param>
    /// <param name="format">The format of the kernel, from <see cref="Formats"/>.</param>
    /// <param name="bound">How far the kernel may be from the dense one; null: the error that least squares reach.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <param name="axes">How the format sees the kernel of a convolution; null: <c>Fused</c>.</param>
    /// <returns>The new layer, which belongs to the model.</returns>
    /// <exception cref="TensorNetException">The path leads to no layer that can be factorized or replaced, the format does not fit it, or
    /// the bound is not reached.</exception>
    public static FactorizedLayer Compress(
        Module model, string path, Format format, ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        TensorNets.Compress
            .layerWith(FitOptions.Or(options).Factorize, axes ?? KernelAxes.Fused, Results.Option(bound), format, path, model)
            .OrThrow();

    /// <summary>Replaces every linear layer, convolution and embedding that a predicate names. An optimizer made before needs
    /// <see cref="Follow(optim.Optimizer, Module)"/>.</summary>
    /// <param name="model">The model.</param>
    /// <param name="predicate">Whether to replace the layer of a path.</param>
    /// <param name="format">The format of every kernel.</param>
    /// <param name="bound">How far each kernel may be from the dense one; null: the error that least squares reach.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <param name="axes">How the format sees the kernel of a convolution; null: <c>Fused</c>.</param>
    /// <returns>What was replaced, what was skipped and why.</returns>
    public static ReplaceReport ReplaceAll(
        Module model, Func<string, Module, bool> predicate, Format format,
        ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        ReplaceAll(model, (path, module) => predicate(path, module) ? format : null, bound, options, axes);

    /// <summary>The same with a format for each layer.</summary>
    /// <param name="model">The model.</param>
    /// <param name="choose">The format of the layer of a path; null: it is left as it is.</param>
    /// <param name="bound">How far each kernel may be from the dense one; null: the error that least squares reach.</param>
    /// <param name="options">The iterations; null: the defaults.</param>
    /// <param name="axes">How the formats see the kernel of a convolution; null: <c>Fused</c>.</param>
    /// <returns>What was replaced, what was skipped and why.</returns>
    public static ReplaceReport ReplaceAll(
        Module model, Func<string, Module, Format?> choose,
        ErrorBound? bound = null, FitOptions? options = null, KernelAxes? axes = null) =>
        TensorNets.ReplaceAll.run(
            FitOptions.Or(options).Factorize,
            axes ?? KernelAxes.Fused,
            Results.Option(bound),
            FuncConvert.FromFunc<string, Module, FSharpOption<Format>?>((path, module) => Results.Option(choose(path, module))),
            model);

    /// <summary>The sum of the sensitivities of a model's factorized layers, to be added to a loss.</summary>
    /// <param name="model">A model with at least one factorized layer.</param>
    /// <returns>A differentiable scalar.</returns>
    /// <exception cref="TensorNetException">The model has no factorized layer.</exception>
    public static Tensor Sensitivity(Module model) => TensorNets.Compress.sensitivity(model).OrThrow();

    /// <summary>After <c>Compress</c> or ReplaceAll: puts the cores and biases of a model's factorized layers into the groups of an
    /// optimizer in the place of the dense parameters, with a fresh state. Groups and schedules of the learning rate stay as they
    /// are.</summary>
    /// <param name="optimizer">The optimizer.</param>
    /// <param name="model">The model with its factorized layers.</param>
    /// <returns>How many parameters have entered.</returns>
    /// <exception cref="TensorNetException">The optimizer's parameters are fixed (LBFGS).</exception>
    public static int Follow(optim.Optimizer optimizer, Module model) => Optimizers.follow(model, optimizer).OrThrow();

    /// <summary>The same for any replaced module (<see cref="Exchange"/>): parameters take the place of those of their name, all others
    /// that of the first.</summary>
    /// <param name="optimizer">The optimizer.</param>
    /// <param name="old">The module that was replaced; it must not be disposed.</param>
    /// <param name="replacement">The module in its place.</param>
    /// <returns>How many parameters have entered.</returns>
    /// <exception cref="TensorNetException">The optimizer's parameters are fixed (LBFGS), or a module is disposed.</exception>
    public static int Follow(optim.Optimizer optimizer, Module old, Module replacement) =>
        Optimizers.exchange(old, replacement, optimizer).OrThrow();
}
