using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.Samples.Stability;

/// <summary>Copies of all parameters and buffers of a module (batch norm's running means too), to go back to.</summary>
public sealed class Snapshot : IDisposable
{
    private readonly List<(Tensor Live, Tensor Saved)> _copies;

    /// <summary>Copies the values as they are now.</summary>
    public Snapshot(Module module)
    {
        using var noGradients = no_grad();
        _copies = [.. module.parameters().Concat(module.buffers()).Select(live => (live, live.detach().clone().DetachFromDisposeScope()))];
    }

    /// <summary>Writes the copies back, in place.</summary>
    public void Restore()
    {
        using var noGradients = no_grad();
        foreach (var (live, saved) in _copies)
        {
            live.copy_(saved);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _copies.ForEach(copy => copy.Saved.Dispose());
}
