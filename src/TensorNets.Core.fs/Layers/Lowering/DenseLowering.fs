namespace TensorNets

open TorchSharp

/// A network's kernel contracted at every step of training: by a plan, or as a sum of terms of rank one.
[<NoEquality; NoComparison>]
type internal DenseLowering =
    {
        Plan: Plan
        /// Cores that carry one axis of the output each, in its order, and one axis that all share.
        Factors: string list option
    }

[<RequireQualifiedAccess>]
module internal DenseLowering =
    /// The cores of a sum of terms of rank one, three at least, each its open axis, then the shared one.
    let private factors (spec: Spec) (output: Axis list) : string list option =
        let carrier axis = spec.Cores |> List.tryFind (fun core -> List.head core.Axes = axis)

        match spec.Cores |> List.map _.Axes |> List.map List.tail |> List.distinct with
        | [ [ bond ] ] when spec.Cores.Length >= 3 && spec.Cores.Length = output.Length && not (List.contains bond output) ->
            let found = output |> List.choose carrier
            if found.Length = output.Length then Some(found |> List.map _.Name) else None
        | _ -> None

    let create (spec: Spec) (output: Axis list) : DenseLowering =
        {
            Plan = Plan.straight Order.Auto (Spec.make spec.Dims spec.Cores output)
            Factors = if spec.Cores |> List.exists _.Axes.IsEmpty then None else factors spec output
        }

    /// Rows of a pair of factors by rows: (s d) × r.
    let private paired (a: Tensor) (b: Tensor) : Tensor = a.unsqueeze(1L).mul(b).flatten(0L, 1L)

    /// The kernel, with the axes of the output. Differentiable.
    let run (rebuild: DenseLowering) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor =
        let planned () = Contraction.runMany [ rebuild.Plan ] dtype device lookup |> List.exactlyOne

        match rebuild.Factors with
        | Some(t :: s :: rest) when dtype = torch.float32 ->
            Kernels.tryCpKernel (lookup t) (lookup s) (rest |> List.map lookup |> List.reduce paired)
            |> ValueOption.defaultWith planned
        | _ -> planned ()
