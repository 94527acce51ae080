namespace TensorNets

open System.Collections.Generic

/// Where the gauge of a network is free: its bonds and hyperedges, with the plans of what a step at each of them asks for.
[<RequireQualifiedAccess>]
module internal FreeBonds =
    /// The ordinary bonds between two cores, taken as one axis. Where both cores carry an open axis or a hyperedge as well, the matrix may
    /// differ along it.
    type Link = { Bonds: Axis list; Along: Axis list; I: int; J: int; P: Plan; Q: Plan }

    type Bond =
        | Matrix of Link
        /// An axis along which only scalings are free, with the cores that carry it and the plans of c_k.
        | Scaling of axis: Axis * cores: int list * terms: Plan list

    /// All bonds of a network.
    [<NoEquality; NoComparison>]
    type Bonds =
        {
            Spec: Spec
            All: Bond list
            /// What their plans read, where they share messages.
            Messages: BranchMessages option
        }

    /// The cores that a bond is between.
    let coresOf (bond: Bond) : int list =
        match bond with
        | Matrix link -> [ link.I; link.J ]
        | Scaling(_, cores, _) -> cores

    /// The plans of a bond.
    let plansOf (bond: Bond) : Plan list =
        match bond with
        | Matrix link -> [ link.P; link.Q ]
        | Scaling(_, _, terms) -> terms

    /// The places of the cores that carry each axis.
    let private carriersOf (cores: Core[]) : IDictionary<Axis, int list> =
        cores
        |> Seq.indexed
        |> Seq.collect (fun (i, core) -> core.Axes |> Seq.map (fun axis -> axis, i))
        |> Seq.groupBy fst
        |> Seq.map (fun (axis, places) -> axis, places |> Seq.map snd |> List.ofSeq)
        |> dict

    /// The FLOPs in the time that a step of small tensors takes whatever their size, some ten microseconds.
    let private ofStep = 2e4

    /// What plans take, in FLOPs.
    let private cost (plans: Plan list) = plans |> List.sumBy (fun plan -> plan.Flops + ofStep * float plan.Steps.Length)

    /// The double layer of all cores but one, planned for it alone.
    let private alone (spec: Spec) (hole: Core) (alike: Set<Axis>) (output: Axis list) : Plan =
        Spec.doubled (Spec.without hole.Name spec) alike output spec |> Plan.make Order.Auto

    /// The messages that bonds share. None for few cores, of which every order is tried for each double layer, and where messages around
    /// cycles, which keep both ends of one open, take more than all that they spare.
    let private messagesOf (spec: Spec) : BranchMessages option =
        let count = spec.Cores.Length

        if 2 * (count - 1) <= Plan.exactLimit then
            None
        else
            let messages = BranchMessages.Make spec
            let closed (planned: Core -> Set<Axis> -> Axis list -> Plan) core = planned core (Set.ofList (spec.Output @ core.Axes)) []

            let takesLess () =
                // One core in the middle tells for all.
                let apart = float count * cost [ closed (alone spec) spec.Cores[count / 2] ]
                cost (messages.With(spec.Cores |> List.map (closed messages.Without))) <= apart

            if messages.IsOfTrees || takesLess () then Some messages else None

    /// Every bond and hyperedge along which there is a gauge, planned from messages, or each alone.
    let planned (messages: BranchMessages option) (spec: Spec) : Bonds =
        let opened = Set.ofList spec.Output
        let cores = List.toArray spec.Cores
        let isFree = cores |> Array.map (fun core -> not (PlanInput.isFixed core))

        let carriers = carriersOf cores
        let free axis = carriers[axis] |> List.filter (fun i -> isFree[i])
        let ordinary axis = not (opened.Contains axis) && carriers[axis].Length = 2 && (free axis).Length = 2

        let layer =
            match messages with
            | Some messages -> messages.Without
            | None -> alone spec

        let doubleLayer (core: Core) (free: Axis list) (output: Axis list) =
            layer core ((opened + Set.ofList core.Axes) - Set.ofList free) output

        let links =
            spec.Dims.Keys
            |> Seq.filter ordinary
            |> Seq.groupBy (fun axis -> carriers[axis])
            // In the order of the cores, so that a step leaves most of what the next one needs.
            |> Seq.sortBy fst
            |> Seq.map (fun (places, axes) ->
                let first, second = cores[places[0]], cores[places[1]]
                let bonds = List.ofSeq axes

                let along =
                    first.Axes
                    |> List.filter (fun axis -> List.contains axis second.Axes && not (List.contains axis bonds))

                let output = along @ bonds @ List.map Axis.primed bonds

                Matrix
                    {
                        Bonds = bonds
                        Along = along
                        I = places[0]
                        J = places[1]
                        P = doubleLayer first bonds output
                        Q = doubleLayer second bonds output
                    })

        let scalings =
            spec.Dims.Keys
            |> Seq.filter (ordinary >> not)
            |> Seq.choose (fun axis ->
                match free axis with
                | places when places.Length >= 2 ->
                    Some(Scaling(axis, places, places |> List.map (fun i -> doubleLayer cores[i] [] [ axis ])))
                | _ -> None)

        { Spec = spec; All = List.ofSeq links @ List.ofSeq scalings; Messages = messages }

    /// Every bond and hyperedge along which there is a gauge.
    let ofSpec (spec: Spec) : Bonds = planned (messagesOf spec) spec
