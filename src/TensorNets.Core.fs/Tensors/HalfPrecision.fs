namespace TensorNets

open TorchSharp

/// Numbers of 16 bits: what is made of them is made in float32 and rounded once, since sums and products of steps lose the few digits that
/// they have, and squares leave the range of float16.
[<RequireQualifiedAccess>]
module internal HalfPrecision =
    let is (dtype: torch.ScalarType) = dtype = torch.float16 || dtype = torch.bfloat16

    /// A tensor as it is computed with: itself, or a copy that the scope around owns.
    let widened (tensor: Tensor) : Tensor = if is tensor.dtype then tensor.``to`` torch.float32 else tensor

    /// What is made of tensors of a dtype, in that dtype: `act` is given the dtype and the tensors to compute with.
    let rounding (dtype: torch.ScalarType) (lookup: string -> Tensor) (act: torch.ScalarType -> (string -> Tensor) -> Tensor) : Tensor =
        if is dtype then
            use scope = torch.NewDisposeScope()
            (act torch.float32 (lookup >> widened)).``to`` dtype |> scope.MoveToOuter
        else
            act dtype lookup
