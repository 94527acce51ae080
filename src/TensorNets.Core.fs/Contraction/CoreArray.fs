namespace TensorNets

open System
open TorchSharp

/// Cores that an iteration replaces in place, in no dispose scope: those that it ends with die with this.
[<Sealed>]
type internal CoreArray private (cores: Tensor[]) =
    /// The cores in the order of the spec; a new one takes the place of the old one, which whoever replaces it disposes.
    member _.Cores = cores

    /// Copies of the cores of a network in float64.
    static member Of(network: Network) =
        use _ = torch.no_grad ()

        new CoreArray(
            [|
                for core in network.Cores -> core.detach().``to``(torch.float64, copy = true).DetachFromDisposeScope()
            |]
        )

    /// Tensors by the names of cores, for an array that an iteration works on; copies of a core have its tensor.
    static member Lookup (spec: Spec) (cores: Tensor[]) : string -> Tensor =
        let index = spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict
        fun name -> cores[index[Spec.original name]]

    interface IDisposable with
        member _.Dispose() =
            for core in cores do
                core.Dispose()
