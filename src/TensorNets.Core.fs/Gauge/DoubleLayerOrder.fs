namespace TensorNets

open System.Collections.Generic

/// Orders of contraction for the double layers of a network without one core, a hole: those of one network with different holes have all
/// but a few steps in common, so that what changes from hole to hole does not grow with the number of cores.
[<RequireQualifiedAccess>]
module internal DoubleLayerOrder =
    /// How many times the FLOPs of an order found for one hole alone an order along the line may take.
    let private worth = 8.0

    /// Slots 2 j and 2 j + 1 are core j of those that are left and its second copy; each pair fills the next.
    type private Pairs(cores: int) =
        let pairs = List<struct (int * int)>()

        member _.Add(left: int, right: int) : int =
            pairs.Add(struct (left, right))
            2 * cores + pairs.Count - 1

        member _.All = List.ofSeq pairs

    /// From both ends of the list of cores towards the hole.
    let private alongLine (left: Core list) (place: int) =
        let pairs = Pairs left.Length

        let swept (order: int list) =
            match order with
            | [] -> None
            | first :: others ->
                (pairs.Add(2 * first, 2 * first + 1), others)
                ||> List.fold (fun sum j -> pairs.Add(pairs.Add(sum, 2 * j), 2 * j + 1))
                |> Some

        let before = swept [ 0 .. place - 1 ]
        let after = swept [ left.Length - 1 .. -1 .. place ]

        match before, after with
        | Some a, Some b -> pairs.Add(a, b) |> ignore
        | _ -> ()

        pairs.All

    /// Each core with its second copy, then their products one after the other: nothing is cheaper for cores that have all of their bonds
    /// in common, as those of CP. None for so few cores that every order is tried.
    let ofStar (cores: int) : struct (int * int) list option =
        if 2 * cores <= Plan.exactLimit then
            None
        else
            let pairs = Pairs cores
            let layers = [ for j in 0 .. cores - 1 -> pairs.Add(2 * j, 2 * j + 1) ]
            layers |> List.reduce (fun product layer -> pairs.Add(product, layer)) |> ignore
            Some pairs.All

    /// How to plan the double layers of a network: the core that is left out, the axes that carry one label in both copies, and the output.
    let planner (spec: Spec) : Core -> Set<Axis> -> Axis list -> Plan =
        let layer (hole: Core) shared output = Spec.doubled (Spec.without hole.Name spec) shared output spec
        let alone hole shared output = Plan.make Order.Auto (layer hole shared output)

        if 2 * (spec.Cores.Length - 1) <= Plan.exactLimit then
            alone
        else
            let linear (hole: Core) shared output =
                let place = spec.Cores |> List.findIndex (fun core -> core.Name = hole.Name)
                Plan.inOrder (alongLine (Spec.without hole.Name spec) place) (layer hole shared output)

            // One hole in the middle tells for all.
            let middle = spec.Cores[spec.Cores.Length / 2]
            let shared = Set.ofList (spec.Output @ middle.Axes)
            let isShort = (linear middle shared []).Flops <= worth * (alone middle shared []).Flops
            if isShort then linear else alone
