namespace TensorNets

open TorchSharp

/// A tensor that is to be written, of a dtype that a safetensors file can hold. What makes it is called when its turn comes; what is made
/// is disposed by the dispose scope in which it is called, and a tensor that exists already stays.
[<NoComparison; NoEquality>]
type internal DeferredTensor =
    {
        Name: string
        DType: torch.ScalarType
        Shape: int64 list
        Make: unit -> Result<Tensor, TensorNetError list>
    }

    static member ofTensor(name: string, tensor: Tensor) : DeferredTensor =
        { Name = name; DType = tensor.dtype; Shape = Check.shapeOf tensor; Make = fun () -> Ok tensor }

    /// A tensor of an open file under another name.
    static member ofEntry (name: string) (read: string -> Result<Tensor, TensorNetError list>) (entry: SafeTensorEntry) : DeferredTensor =
        { Name = name; DType = entry.DType; Shape = entry.Shape; Make = fun () -> read entry.Name }
