using static TorchSharp.torch;

namespace TensorNets.Integration;

/// <summary>TorchSharp's own count of native tensors.</summary>
internal static class NativeTensors
{
    /// <summary>The tensors that live once the garbage collector has taken those that nobody holds any more, other tests' among
    /// them.</summary>
    internal static long Count
    {
        get
        {
            for (var i = 0; i < 2; i++)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }

            return Tensor.TotalCount;
        }
    }
}
