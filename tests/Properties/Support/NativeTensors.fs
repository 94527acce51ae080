/// What a test counts native tensors from. The garbage collector takes what parallel tests before it have left at any moment, so a count
/// begins where nothing is left to take.
module NativeTensors

open System
open TorchSharp

/// TorchSharp's count of native tensors once the garbage collector has taken what nobody holds any more, other tests' tensors among it.
let settledCount () =
    for _ in 1..2 do
        GC.Collect()
        GC.WaitForPendingFinalizers()

    torch.Tensor.TotalCount
