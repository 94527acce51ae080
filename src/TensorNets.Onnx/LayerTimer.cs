using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>A layer by itself in ONNX Runtime, on noise of a shape, to be timed against chains that could stand in its place.</summary>
internal sealed class LayerTimer : IDisposable
{
    private readonly OnnxModel dense;
    private readonly IReadOnlyList<long> shape;
    private readonly (int Threads, int Pairs) runs;
    private readonly IReadOnlyDictionary<string, Tensor> noise;
    private readonly OnnxSession session;
    private readonly PreparedRun run;

    internal LayerTimer(OnnxModel model, string path, IReadOnlyList<long> shape, (int Threads, int Pairs) runs)
    {
        (this.shape, this.runs) = (shape, runs);
        dense = model.Alone(path, shape);
        session = new(dense.Proto, path, threads: runs.Threads);
        noise = OnnxInputs.Noise(dense);
        run = session.Prepare(noise);
    }

    /// <summary>Milliseconds of the dense layer.</summary>
    internal double Dense() => run.Against(run, runs.Pairs).Before;

    /// <summary>Times of the dense layer and of the chain of a network.</summary>
    internal OnnxTimes Against(Network network)
    {
        var chain = dense.Replace([new(dense.Layers[0], network, shape)]);
        using var other = new OnnxSession(chain.Proto, dense.Path, threads: runs.Threads);
        using var second = other.Prepare(noise);
        return run.Against(second, runs.Pairs);
    }

    public void Dispose()
    {
        run.Dispose();
        session.Dispose();
        foreach (var tensor in noise.Values) tensor.Dispose();
    }
}
