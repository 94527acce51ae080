namespace TensorNets

open TorchSharp

/// New tensors, whose dtype and device are always said: without them torch takes its defaults, which a program may set, and code of ours
/// would write float32 into memory of another size.
[<RequireQualifiedAccess>]
module internal Fresh =
    /// Memory on the CPU; what it holds is not told.
    let empty (dtype: torch.ScalarType) (shape: int64[]) : Tensor = torch.empty (shape, dtype = dtype, device = torch.CPU)

    /// Memory on the CPU for numbers of float32, which code of ours writes.
    let floats (shape: int64[]) : Tensor = empty torch.float32 shape

    let zeros (dtype: torch.ScalarType) (shape: int64[]) : Tensor = torch.zeros (shape, dtype = dtype, device = torch.CPU)

    /// Numbers as a tensor on the device of another.
    let longs (like: Tensor) (values: int64[]) : Tensor = torch.tensor (values, dtype = torch.int64, device = like.device)

    /// Numbers as a tensor on the CPU. They are copied: torch would read the array where it lies, and its products round by where their
    /// numbers lie, so that the same input would have other bits in another run.
    let doubles (shape: int64[]) (values: float[]) : Tensor =
        use there = torch.tensor (values, dtype = torch.float64, device = torch.CPU)
        use shaped = there.reshape shape
        shaped.clone ()

    /// White noise from a generator, which is one of the CPU, on a device.
    let noise (generator: torch.Generator) (dtype: torch.ScalarType) (device: torch.Device) (shape: int64[]) : Tensor =
        torch.randn(shape, dtype = dtype, device = torch.CPU, generator = generator).``to`` device

    /// Uniform numbers of 0 to 1 in float64 on the CPU.
    let uniform (generator: torch.Generator) (shape: int64[]) : Tensor =
        torch.rand (shape, dtype = torch.float64, device = torch.CPU, generator = generator)
