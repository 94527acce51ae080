using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>Holds one model against another in ONNX Runtime.</summary>
public static partial class OnnxVerify
{
    /// <summary>Both models in ONNX Runtime on the same inputs: how far outputs are apart, and those of every layer that was replaced,
    /// applied to what the original layer is applied to; and how long both take.</summary>
    /// <param name="before">The original.</param>
    /// <param name="after">What <see cref="OnnxModel.With"/> made of it, or a file of that; of any other model with the same inputs and
    /// outputs no layers are told.</param>
    /// <param name="batches">Inputs by name, batch by batch, such as one of <see cref="OnnxInputs.Noise"/>; they are gone through
    /// once, and none is held longer than it is used.</param>
    /// <param name="threads">Threads of ONNX Runtime.</param>
    /// <param name="pairs">Runs of both models, one after the other, on the first batch, whose median is told; 0: none.</param>
    /// <returns>Errors and times; as text a table.</returns>
    /// <exception cref="TensorNetException">ONNX Runtime refuses a model or a batch; there is no batch; an output of the original is one
    /// of the other's not.</exception>
    /// <example><code>var comparison = OnnxVerify.Compare(model, smaller, [OnnxInputs.Noise(model)]);</code></example>
    public static OnnxComparison Compare(
        OnnxModel before, OnnxModel after, IEnumerable<IReadOnlyDictionary<string, Tensor>> batches, int threads = 1, int pairs = 21)
    {
        ArgumentNullException.ThrowIfNull(before);
        ArgumentNullException.ThrowIfNull(after);
        ArgumentNullException.ThrowIfNull(batches);
        using var first = new OnnxSession(before.Proto, before.Path, threads: threads);
        using var second = new OnnxSession(after.Proto, after.Path, threads: threads);
        if (first.Outputs.Except(second.Outputs).FirstOrDefault() is { } missing)
        {
            throw Errors.Unsupported("The outputs of the other model", string.Join(", ", second.Outputs),
                $"those of the original, such as {missing}");
        }

        using var layers = new LayerErrors(before, after, threads);
        var outputs = new ErrorSums();
        OnnxTimes? times = null;
        var count = 0;
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            var found = second.Run(batch, first.Outputs);
            foreach (var (name, tensor) in first.Run(batch, first.Outputs)) outputs.Add(name, tensor, found[name]);
            layers.Add(batch);
            if (count++ == 0 && pairs > 0) times = Times(first, second, batch, pairs);
        }

        if (count == 0) throw Errors.Unsupported("The batches", "none", "at least one");
        return new(
            outputs.Relative(outputs.Names),
            [.. outputs.Names.Select(name => new OnnxError(name, outputs.Relative([name]), double.NaN))],
            layers.All(),
            times);
    }

    private static OnnxTimes Times(OnnxSession first, OnnxSession second, IReadOnlyDictionary<string, Tensor> batch, int pairs)
    {
        using var one = first.Prepare(batch);
        using var other = second.Prepare(batch);
        return one.Against(other, pairs);
    }
}
