using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

/// <summary>Where the kernels are that are planned and compressed: a model, a file, or layers of any other origin, for
/// <see cref="Model.Plan(LayerSource, Budget, PlanSettings?)"/> and
/// <see cref="Model.Compress(LayerSource, CompressionPlan, CompressSettings?)"/>.</summary>
public static class LayerSources
{
    /// <summary>The linear layers and convolutions of a model, with the shapes of their inputs in a forward pass.</summary>
    /// <param name="model">The model, which must live as long as the source is used.</param>
    /// <param name="inputShape">The shape of an input, images first.</param>
    /// <exception cref="TensorNetException">The model does not take such an input, or is disposed.</exception>
    public static LayerSource OfModel(Module<Tensor, Tensor> model, params IReadOnlyList<long> inputShape) =>
        LayerSourceModule.ofModel(inputShape, model).OrThrow();

    /// <summary>The layers of a safetensors file by names and shapes alone, read one by one when they are needed. Groups and steps are not
    /// known: every layer counts as applied at one position, so that a budget of FLOPs weighs each weight alike.</summary>
    /// <param name="path">The file, which must stay as it is meanwhile.</param>
    /// <exception cref="TensorNetException">The file cannot be read.</exception>
    public static LayerSource OfFile(string path) => LayerSourceModule.ofFile(path).OrThrow();

    /// <summary>Layers of any origin, from the input to the output.</summary>
    /// <param name="layers">The layers, from <see cref="Layer"/>.</param>
    /// <param name="otherParameters">Parameters that are in none of them.</param>
    /// <param name="inputShape">The shape of the input for which FLOPs are counted; null: unknown.</param>
    public static LayerSource Of(
        IReadOnlyList<SourceLayer> layers, long otherParameters = 0, IReadOnlyList<long>? inputShape = null) =>
        new(layers, otherParameters, inputShape ?? []);

    /// <summary>A linear layer or convolution whose numbers are given when they are asked for.</summary>
    /// <param name="path">Its name, which no other layer of the source has.</param>
    /// <param name="geometry">Everything but the numbers, from <see cref="Geometries"/>.</param>
    /// <param name="weight">Gives the weight as TorchSharp's layers hold it, (out, in of a group, kernel), transposed (in, out of a group,
    /// kernel). It is called on threads side by side, several times over; tensors that it makes are disposed afterwards. A
    /// <see cref="TensorNetException"/> says that it cannot: the layer then stays dense and is reported.</param>
    /// <param name="bias">Gives one number for each output channel in the same way; null: there is none.</param>
    /// <param name="inputs">The shapes of its inputs, one for each call, by which FLOPs are counted; null: the smallest one, so that FLOPs
    /// are about twice the entries of the weight.</param>
    /// <param name="kept">Why it cannot be factorized; empty where it can.</param>
    /// <param name="kind">What the source calls it; null: by the geometry.</param>
    /// <exception cref="TensorNetException">A geometry that cannot be, where there are no inputs.</exception>
    public static SourceLayer Layer(
        string path,
        ConvGeometry geometry,
        Func<Tensor> weight,
        Func<Tensor>? bias = null,
        IReadOnlyList<IReadOnlyList<long>>? inputs = null,
        string kept = "",
        string? kind = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(geometry);
        ArgumentNullException.ThrowIfNull(weight);
        ArgumentNullException.ThrowIfNull(kept);
        return new(
            path,
            kind ?? ConvGeometryModule.name(geometry),
            geometry,
            inputs ?? [SourceLayerModule.smallestInput(geometry)],
            kept,
            Reading(weight),
            Results.Option(bias is null ? null : Reading(bias)));
    }

    private static FSharpFunc<Unit, FSharpResult<Tensor, FSharpList<TensorNetError>>> Reading(Func<Tensor> read) =>
        FuncConvert.FromFunc(() =>
        {
            try
            {
                return FSharpResult<Tensor, FSharpList<TensorNetError>>.NewOk(read());
            }
            catch (TensorNetException refused)
            {
                return FSharpResult<Tensor, FSharpList<TensorNetError>>.NewError([.. refused.Errors]);
            }
        });
}
