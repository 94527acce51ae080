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

    let private touches (core: Core) (message: Message) = message.Axes |> List.exists (fun axis -> List.contains axis core.Axes)

    /// The axes of a core and of the messages that touch it which other cores or messages carry too.
    let private boundary (rest: Core list) (messages: Message list) (core: Core) : Axis list =
        let inside, outside = messages |> List.partition (touches core)

        let needed axis =
            rest |> List.exists (fun other -> other.Name <> core.Name && List.contains axis other.Axes)
            || outside |> List.exists (fun m -> List.contains axis m.Axes)

        (inside |> List.collect _.Axes) @ core.Axes |> List.distinct |> List.filter needed

    let private asCore (spec: Spec) (input: int -> PlanInput) (message: Message) : Core =
        input message.Index |> PlanInput.withAxes (doubledAxes spec message.Axes)

    let private contraction (spec: Spec) (cores: Core list) (output: Axis list) : Plan =
        let primed = spec.Dims |> Map.toList |> List.map (fun (axis, n) -> Axis.primed axis, n)
        Spec.extended primed cores output spec |> Plan.make Order.Auto

    /// The messages without one of them, as cores.
    let private others (spec: Spec) (messages: Message list) (without: Message) : Core list =
        messages
        |> List.filter (fun m -> m.Index <> without.Index)
        |> List.map (asCore spec PlanInput.Message)

    /// The node that makes one message, over an edge, of a core and the messages that touch it; `isLast`: only its tangent is wanted.
    let private node (spec: Spec) (core: Core) (inside: Message list) (edge: Axis list) (isLast: bool) : Node =
        let output = doubledAxes spec edge
        let copies = (Spec.doubled [ core ] (Set.ofList spec.Output) [] spec).Cores
        let values = inside |> List.map (asCore spec PlanInput.Message)
        let carried axis = inside |> List.exists (fun m -> List.contains axis m.Axes)

        let identities =
            Spec.sharedAxes core spec
            |> List.choose (fun axis ->
                if not (Spec.isOpen axis spec) then Some(PlanInput.identity axis)
                elif carried axis then None
                else Some(PlanInput.ones axis))

        {
            Value = if isLast then None else Some(contraction spec (values @ copies) output)
            Tangents =
                [
                    if not (PlanInput.isFixed core) then
                        Spec.multiplicity core spec, contraction spec (values @ identities) output
                    for m in inside |> List.filter _.Varies do
                        1.0, contraction spec (asCore spec PlanInput.Tangent m :: others spec inside m @ copies) output
                ]
        }

    /// The nodes of an elimination, the last one closed: its tangent is S.
    let plan (spec: Spec) : Node list =
        let rec absorb (rest: Core list) (messages: Message list) (nodes: Node list) =
            match rest with
            | [] -> messages, nodes
            | _ ->
                let core = rest |> List.minBy (boundary rest messages >> size spec)
                let inside, outside = messages |> List.partition (touches core)
                let edge = boundary rest messages core
                let made = node spec core inside edge (rest.Length = 1 && outside.IsEmpty)
                let message = { Index = nodes.Length; Axes = edge; Varies = not made.Tangents.IsEmpty }
                absorb (rest |> List.filter (fun other -> other.Name <> core.Name)) (message :: outside) (made :: nodes)

        match absorb spec.Cores [] [] with
        | [ _ ], nodes -> List.rev nodes
        | several, nodes ->
            // Parts of the network that share nothing multiply.
            let tangents =
                [
                    for m in several |> List.filter _.Varies ->
                        1.0, contraction spec (asCore spec PlanInput.Tangent m :: others spec several m) []
                ]

            List.rev ({ Value = None; Tangents = tangents } :: nodes)

    /// Multiplications and additions of all nodes.
    let flops (nodes: Node list) =
        nodes
        |> List.sumBy (fun node ->
            (node.Value |> Option.map _.Flops |> Option.defaultValue 0.0)
            + (node.Tangents |> List.sumBy (fun (_, plan) -> plan.Flops)))

    /// S of the network whose cores the lookup gives, by a way to run plans, to take constants and to sum with factors.
    let private runWith
        (runMany: Plan list -> (string -> 'T) -> 'T list)
        (constant: (torch.ScalarType * torch.Device) * (Tensor -> 'T))
        (sum: (float * 'T) list -> 'T)
        (spec: Spec)
        (nodes: Node list)
        (lookup: string -> 'T)
        : 'T =
        let made = Dictionary<PlanInput, 'T>()
        let (dtype, device), lift = constant

        let find (name: string) : 'T =
            let input = PlanInput.ofName name

            match made.TryGetValue input with
            | true, tensor -> tensor
            | _ ->
                // Made anew for each contraction, whose scope takes them along.
                match Contraction.constant dtype device (fun axis -> Spec.dim axis spec) input with
                | Some tensor -> lift tensor
                | None -> lookup name

        nodes
        |> List.iteri (fun i node ->
            let plans = Option.toList node.Value @ List.map snd node.Tangents
            let results = runMany plans find

            let tangents =
                match node.Value with
                | Some _ ->
                    made[PlanInput.Message i] <- results.Head
                    results.Tail
                | None -> results

            if not tangents.IsEmpty then
                made[PlanInput.Tangent i] <- sum (List.map2 (fun (weight, _) tensor -> weight, tensor) node.Tangents tangents))

        made[PlanInput.Tangent(nodes.Length - 1)]

    /// S of the network whose cores the lookup gives. Differentiable.
    let run (spec: Spec) (nodes: Node list) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor =
        use scope = torch.NewDisposeScope()

        let sum (terms: (float * Tensor) list) =
            terms
            |> List.map (fun (weight, tensor) -> if weight = 1.0 then tensor else tensor.mul (Num.like tensor weight))
            |> List.reduce (fun a b -> a.plus (b))

        runWith (fun plans find -> Contraction.runMany plans dtype device find) ((dtype, device), id) sum spec nodes lookup
        |> scope.MoveToOuter

    /// As `run` with exponents apart, in float64.
    let runScaled (spec: Spec) (nodes: Node list) (device: torch.Device) (lookup: string -> ScaledTensor) : ScaledTensor =
        use scope = torch.NewDisposeScope()

        let s =
            runWith
                (fun plans find -> Contraction.runScaled plans device find)
                ((torch.float64, device), ScaledTensor.plain)
                ScaledTensor.sum
                spec
                nodes
                lookup

        { s with Value = scope.MoveToOuter s.Value }
