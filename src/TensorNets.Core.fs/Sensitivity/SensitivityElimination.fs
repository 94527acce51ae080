namespace TensorNets

open System.Collections.Generic
open TorchSharp

/// One step of an elimination: a core and the messages that touch it become one message. A message is the double layer of the cores that
/// went into it, with the axes that other cores still carry left open; its tangent is the sum, over those cores k, of m_k times the same
/// with core k taken out and its axes identified in both copies.
type internal Node =
    {
        Value: Plan option
        /// Each product of tangent: its weight and its plan.
        Tangents: (float * Plan) list
    }

/// All terms of S at once, with work that grows like the number of cores: cores are absorbed one after the other, each time the one that
/// leaves the smallest boundary, and the tangents of the messages add up to S = Σ_k m_k ‖E_k‖² in the end.
[<RequireQualifiedAccess>]
module internal SensitivityElimination =
    /// Names that no core can have: message and tangent of node i, the identity over an axis and its second copy, ones over an axis.
    let private messageName i = $"^{i}"
    let private tangentName i = $"!{i}"

    /// Varies: a core that is not fixed went into it, so that it has a tangent.
    type private Message = { Index: int; Axes: Axis list; Varies: bool }

    let private doubledAxes (spec: Spec) (axes: Axis list) =
        axes
        |> List.collect (fun axis -> if Spec.isOpen axis spec then [ axis ] else [ axis; Axis.primed axis ])

    let private size (spec: Spec) (axes: Axis list) =
        axes
        |> List.fold
            (fun n axis ->
                let d = float (Spec.dim axis spec)
                n * (if Spec.isOpen axis spec then d else d * d))
            1.0

    /// The nodes of an elimination, the last one closed: its tangent is S.
    let plan (spec: Spec) : Node list =
        let opened = Set.ofList spec.Output

        let primedDims = spec.Dims |> Map.toList |> List.map (fun (axis, n) -> Axis.primed axis, n)

        let network cores output = Spec.extended primedDims cores output spec |> Plan.make Order.Auto

        let asCore name (message: Message) = { Name = name message.Index; Axes = doubledAxes spec message.Axes }

        let rec absorb (rest: Core list) (messages: Message list) (nodes: Node list) index =
            let attached (core: Core) = messages |> List.filter (fun m -> m.Axes |> List.exists (fun axis -> List.contains axis core.Axes))

            let boundary (core: Core) =
                let inside = attached core
                let outside = messages |> List.filter (fun m -> not (List.contains m inside))

                let needed axis =
                    rest |> List.exists (fun other -> other.Name <> core.Name && List.contains axis other.Axes)
                    || outside |> List.exists (fun m -> List.contains axis m.Axes)

                (inside |> List.collect _.Axes) @ core.Axes |> List.distinct |> List.filter needed

            match rest with
            | [] -> messages, nodes, index
            | _ ->
                let core = rest |> List.minBy (boundary >> size spec)
                let inside, edge = attached core, boundary core
                let output = doubledAxes spec edge
                let copies = (Spec.doubled [ core ] opened [] spec).Cores
                let values = inside |> List.map (asCore messageName)

                let shared = Spec.sharedAxes core spec
                let carried axis = inside |> List.exists (fun m -> List.contains axis m.Axes)

                let identities =
                    shared
                    |> List.choose (fun axis ->
                        if not (opened.Contains axis) then
                            Some { Name = "=" + axis.Name; Axes = [ axis; Axis.primed axis ] }
                        elif carried axis then
                            None
                        else
                            Some { Name = "~" + axis.Name; Axes = [ axis ] })

                let tangents =
                    [
                        if not (Spec.isFixed core spec) then
                            Spec.multiplicity core spec, network (values @ identities) output
                        for m in inside |> List.filter _.Varies do
                            let others = values |> List.filter (fun v -> v.Name <> messageName m.Index)
                            1.0, network (asCore tangentName m :: others @ copies) output
                    ]

                let last = rest.Length = 1 && messages.Length = inside.Length

                let node =
                    {
                        Value = if last then None else Some(network (values @ copies) output)
                        Tangents = tangents
                    }

                let left = messages |> List.filter (fun m -> not (List.contains m inside))

                absorb
                    (rest |> List.filter (fun other -> other.Name <> core.Name))
                    ({ Index = index; Axes = edge; Varies = not tangents.IsEmpty } :: left)
                    (node :: nodes)
                    (index + 1)

        let messages, nodes, _ = absorb spec.Cores [] [] 0

        // Parts of the network that share nothing multiply.
        match messages with
        | [ _ ] -> List.rev nodes
        | several ->
            let product =
                {
                    Value = None
                    Tangents =
                        several
                        |> List.filter _.Varies
                        |> List.map (fun m ->
                            let others = several |> List.filter (fun o -> o.Index <> m.Index) |> List.map (asCore messageName)
                            1.0, network (asCore tangentName m :: others) [])
                }

            List.rev (product :: nodes)

    /// Multiplications and additions of all nodes.
    let flops (nodes: Node list) =
        nodes
        |> List.sumBy (fun node ->
            (node.Value |> Option.map _.Flops |> Option.defaultValue 0.0)
            + (node.Tangents |> List.sumBy (fun (_, plan) -> plan.Flops)))

    /// S of the network whose cores the lookup gives, by a way to run plans, to take constants and to sum with factors.
    let private runBy
        (runMany: Plan list -> (string -> 'T) -> 'T list)
        (constant: (torch.ScalarType * torch.Device) * (Tensor -> 'T))
        (sum: (float * 'T) list -> 'T)
        (spec: Spec)
        (nodes: Node list)
        (lookup: string -> 'T)
        : 'T =
        let made = Dictionary<string, 'T>()
        let (dtype, device), lift = constant

        let find (name: string) : 'T =
            match made.TryGetValue name with
            | true, tensor -> tensor
            | _ ->
                // Made anew for each contraction, whose scope takes them along.
                if name.StartsWith '=' then
                    lift (torch.eye (int64 (Spec.dim (Axis(name.Substring 1)) spec), dtype = dtype, device = device))
                elif name.StartsWith '~' then
                    lift (torch.ones ([| int64 (Spec.dim (Axis(name.Substring 1)) spec) |], dtype = dtype, device = device))
                else
                    lookup name

        nodes
        |> List.iteri (fun i node ->
            let plans = Option.toList node.Value @ List.map snd node.Tangents
            let results = runMany plans find

            let tangents =
                match node.Value with
                | Some _ ->
                    made[messageName i] <- results.Head
                    results.Tail
                | None -> results

            if not tangents.IsEmpty then
                made[tangentName i] <- sum (List.map2 (fun (weight, _) tensor -> weight, tensor) node.Tangents tangents))

        made[tangentName (nodes.Length - 1)]

    /// S of the network whose cores the lookup gives. Differentiable.
    let run (spec: Spec) (nodes: Node list) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor =
        use scope = torch.NewDisposeScope()

        let sum (terms: (float * Tensor) list) =
            terms
            |> List.map (fun (weight, tensor) -> if weight = 1.0 then tensor else tensor.mul (Num.like tensor weight))
            |> List.reduce (fun a b -> a.plus (b))

        runBy (fun plans find -> Contraction.runMany plans dtype device find) ((dtype, device), id) sum spec nodes lookup
        |> scope.MoveToOuter

    /// As `run` with exponents apart, in float64.
    let runScaled (spec: Spec) (nodes: Node list) (device: torch.Device) (lookup: string -> ScaledTensor) : ScaledTensor =
        use scope = torch.NewDisposeScope()

        let s =
            runBy
                (fun plans find -> Contraction.runScaled plans device find)
                ((torch.float64, device), ScaledTensor.plain)
                ScaledTensor.sum
                spec
                nodes
                lookup

        { s with Value = scope.MoveToOuter s.Value }
