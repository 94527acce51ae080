namespace TensorNets

open TorchSharp

type internal Tensor = torch.Tensor

// TorchSharp reads the handle of a Scalar and calls native code with it; nothing holds the Scalar meanwhile, so that the garbage collector
// may free one made for the call too early. `add`, `sub`, `square` and `ToDouble` make one each time. Hence numbers as tensors, and two
// Scalars that live as long as the program.

[<RequireQualifiedAccess>]
module internal Num =
    let internal one: Scalar = Scalar.op_Implicit 1
    let internal minusOne: Scalar = Scalar.op_Implicit -1

    /// A number as a tensor without axes, owned by the scope around it. In float64: of what has no axes either it makes float64, whatever
    /// it was.
    let tensor (x: float) : Tensor = torch.tensor (x, dtype = torch.float64, device = torch.CPU)

    /// A number as a tensor without axes, in the dtype of another, which keeps its own when they meet.
    let like (other: Tensor) (x: float) : Tensor = torch.tensor (x, dtype = other.dtype, device = torch.CPU)

    /// x 2^e, also where 2^e is no number of the dtype.
    let rec shifted (e: int) (x: Tensor) : Tensor =
        // Factors that every dtype holds.
        let step = max -100 (min 100 e)
        let next = x.mul (like x (System.Math.ScaleB(1.0, step)))
        if e = step then next else shifted (e - step) next

/// Autograd's modes of the thread.
[<RequireQualifiedAccess>]
module internal Mode =
    /// Leaves inference mode until disposed: what is made there can never have a gradient. Gradients stay off where they were. Often the
    /// first that is asked of torch: it throws where that cannot be loaded.
    let left () : System.IDisposable =
        NativeLibraries.demand ()

        if torch.is_inference_mode_enabled () then
            let outside = torch.inference_mode false
            let quiet = torch.no_grad ()

            { new System.IDisposable with
                member _.Dispose() =
                    quiet.Dispose()
                    outside.Dispose()
            }
        else
            { new System.IDisposable with
                member _.Dispose() = ()
            }

/// Sums, differences, squares and entries that make no Scalar.
[<AutoOpen>]
module internal Arithmetic =
    type torch.Tensor with

        member this.plus(other: Tensor) : Tensor = this.add (other, Num.one)
        member this.minus(other: Tensor) : Tensor = this.add (other, Num.minusOne)
        member this.squared() : Tensor = this.mul this

        /// The one entry, read from memory: `ToDouble` and its like go by way of a Scalar.
        member private this.entry<'T when 'T: unmanaged and 'T: (new: unit -> 'T) and 'T: struct and 'T :> System.ValueType>
            (dtype: torch.ScalarType)
            : 'T =
            if this.dtype = dtype && this.device_type = DeviceType.CPU && not this.requires_grad then
                this.item<'T>()
            else
                use bare = this.detach ()
                use typed = bare.``to`` dtype
                use near = typed.cpu ()
                near.item<'T>()

        member this.number() : float = this.entry<float> torch.float64
        member this.integer() : int64 = this.entry<int64> torch.int64
        member this.truth() : bool = this.entry<bool> torch.bool
