namespace TensorNets

open TorchSharp

/// A network's kernel contracted at every step of training: by a plan, as a sum of terms of rank one, or as a core between two matrices.
[<NoEquality; NoComparison>]
type internal Rebuild =
    {
        Plan: Plan
        /// Cores that carry one axis of the output each, in its order, and one axis that all share.
        Factors: string list option
        /// Of Tucker-2, the matrix of the first axis of the output, that of the second, and the core: second bond, first bond, the other axes of the output.
        Between: (string * string * string) option
    }

[<RequireQualifiedAccess>]
module internal Rebuild =
    /// The cores of a sum of terms of rank one, three at least, each its open axis, then the shared one.
    let private factors (spec: Spec) (output: Axis list) : string list option =
        let carrier axis = spec.Cores |> List.tryFind (fun core -> List.head core.Axes = axis)

        match spec.Cores |> List.map _.Axes |> List.map List.tail |> List.distinct with
        | [ [ bond ] ] when spec.Cores.Length >= 3 && spec.Cores.Length = output.Length && not (List.contains bond output) ->
            let found = output |> List.choose carrier
            if found.Length = output.Length then Some(found |> List.map _.Name) else None
        | _ -> None

    let private between (spec: Spec) (output: Axis list) : (string * string * string) option =
        let withAxes axes = spec.Cores |> List.tryFind (fun core -> core.Axes = axes)

        match output, spec.Cores.Length with
        | t :: s :: rest, 3 when not rest.IsEmpty ->
            spec.Cores
            |> List.tryPick (fun core ->
                match core.Axes with
                | a :: b :: others when others = rest && a <> b ->
                    Option.map2
                        (fun (last: Core) (first: Core) -> last.Name, first.Name, core.Name)
                        (withAxes [ t; b ])
                        (withAxes [ s; a ])
                | _ -> None)
        | _ -> None

    let create (spec: Spec) (output: Axis list) : Rebuild =
        {
            Plan = Plan.straight Order.Auto (Spec.make spec.Dims spec.Cores output)
            Factors = if spec.Cores |> List.exists _.Axes.IsEmpty then None else factors spec output
            Between = between spec output
        }

    /// Rows of a pair of factors by rows: (s d) × r.
    let private paired (a: Tensor) (b: Tensor) : Tensor = a.unsqueeze(1L).mul(b).flatten(0L, 1L)

    /// The kernel, with the axes of the output. Differentiable.
    let run (rebuild: Rebuild) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor =
        let planned () = Contraction.runMany [ rebuild.Plan ] dtype device lookup |> List.exactlyOne

        match rebuild.Factors, rebuild.Between with
        | Some(t :: s :: rest), _ when dtype = torch.float32 ->
            let t, s, d = lookup t, lookup s, rest |> List.map lookup |> List.reduce paired
            if KhatriRao.Fits(t, s, d) then KhatriRao.Of(t, s, d) else planned ()
        | _, Some(t, s, core) when dtype = torch.float32 ->
            let t, s, core = lookup t, lookup s, lookup core
            let flat = if core.dim () > 3L then core.flatten 2L else core
            if TuckerProduct.Fits(t, s, flat) then TuckerProduct.Of(t, s, flat) else planned ()
        | _ -> planned ()
