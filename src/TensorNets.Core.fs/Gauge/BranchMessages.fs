namespace TensorNets

open System.Collections.Generic
open TorchSharp

/// What a message of a tree of cores is the double layer of.
[<RequireQualifiedAccess>]
type internal BranchMessage =
    /// The core `tip` and all behind it, seen from its neighbour `hub`: over the axes that the two share.
    | Towards of tip: int * hub: int
    /// The same with one label in both copies for these axes: a number.
    | Traced of tip: int * hub: int
    /// A whole tree: a number.
    | Whole of root: int

/// Double layers of networks with one core left out, from messages that they share: what is planned for all cores, and what changes from
/// core to core, grows like their number. A message is planned when it is asked for. Where the cores do not form trees themselves, they do
/// by an order in which they are absorbed. Axes of dimension 1 are left out.
[<Sealed>]
type internal BranchMessages
    private (spec: Spec, isOfTrees: bool, near: (int * Axis list)[][], parents: int[], visits: struct (int * int)[]) =
    let cores = List.toArray spec.Cores
    /// Those with one label in both copies.
    let single = HashSet(spec.Output @ NearCores.everywhere spec)
    let wide (axis: Axis) = spec.Dims[axis] > 1
    let axes = cores |> Array.map (fun core -> List.filter wide core.Axes)
    let shared tip hub = near[tip] |> Array.find (fst >> (=) hub) |> snd
    let second (axis: Axis) = if single.Contains axis then axis else Axis.primed axis
    let twice (axes: Axis list) = axes @ (axes |> List.map second |> List.except axes)
    let indices = Dictionary<BranchMessage, int>()
    let branches = List<BranchMessage>()
    let plans = Dictionary<int, Plan>()

    let indexOf branch =
        match indices.TryGetValue branch with
        | true, index -> index
        | _ ->
            indices[branch] <- branches.Count
            branches.Add branch
            branches.Count - 1

    let input branch axes = indexOf branch |> PlanInput.Message |> PlanInput.withAxes axes

    let towards tip hub = input (BranchMessage.Towards(tip, hub)) (twice (shared tip hub))

    let plan (inputs: Core list) (output: Axis list) : Plan =
        let dims =
            Map.ofList
                [
                    for core in inputs do
                        for axis in core.Axes do
                            axis, spec.Dims[Axis(Spec.original axis.Name)]
                ]

        Spec.make dims inputs output |> Plan.make Order.Auto

    /// A core with its second copy, and the branches behind it.
    let behind (tip: int) (hub: int option) : Core list =
        [
            { Name = cores[tip].Name; Axes = axes[tip] }
            { Name = cores[tip].Name + "'"; Axes = List.map second axes[tip] }
            for other, _ in near[tip] do
                if Some other <> hub then
                    towards other tip
        ]

    let bonds = List.filter (single.Contains >> not)

    let made (branch: BranchMessage) : Plan =
        match branch with
        | BranchMessage.Towards(tip, hub) -> plan (behind tip (Some hub)) (twice (shared tip hub))
        | BranchMessage.Traced(tip, hub) -> plan (towards tip hub :: (shared tip hub |> bonds |> List.map PlanInput.identity)) []
        | BranchMessage.Whole root -> plan (behind root None) []

    let rec rootOf i = if parents[i] < 0 then i else rootOf parents[i]
    let roots = [ 0 .. cores.Length - 1 ] |> List.filter (fun i -> parents[i] < 0)

    let isBelow top i =
        let struct (first, last) = visits[top]
        let struct (at, _) = visits[i]
        first <= at && at <= last

    /// Each core's parent, and the first and last visit of what is below it, if the cores form trees. Depth first, with a stack of its own:
    /// trees may be as deep as they have cores.
    static member private Forest(near: (int * Axis list)[][]) : (int[] * struct (int * int)[]) option =
        let parents = Array.create near.Length -2
        let visits = Array.create near.Length struct (-1, -1)
        let mutable clock = 0
        let mutable isForest = true

        let visit root =
            let path = Stack<struct (int * int)>()

            let enter i parent =
                parents[i] <- parent
                visits[i] <- struct (clock, clock)
                clock <- clock + 1
                path.Push(struct (i, 0))

            enter root -1

            while path.Count > 0 do
                let struct (i, next) = path.Pop()

                if next < near[i].Length then
                    path.Push(struct (i, next + 1))
                    let other, _ = near[i][next]

                    if parents[other] = -2 then
                        enter other i
                    elif other <> parents[i] && parents[other] <> i then
                        isForest <- false
                else
                    let struct (first, _) = visits[i]
                    visits[i] <- struct (first, clock - 1)

        for root in 0 .. near.Length - 1 do
            if parents[root] = -2 then
                visit root

        if isForest then Some(parents, visits) else None

    static member Make(spec: Spec) : BranchMessages =
        let made isOfTrees near =
            BranchMessages.Forest near
            |> Option.map (fun (parents, visits) -> BranchMessages(spec, isOfTrees, near, parents, visits))

        NearCores.find spec
        |> made true
        |> Option.orElseWith (fun () -> NearCores.absorbed spec |> made false)
        |> Option.get

    /// Whether the cores form trees by the axes of dimension above 1 that they share.
    member _.IsOfTrees = isOfTrees

    /// The double layer of all cores but one: the axes that carry one label in both copies, those of the core that is left out among them,
    /// and the output.
    member _.Without (hole: Core) (alike: Set<Axis>) (output: Axis list) : Plan =
        let i = Array.findIndex ((=) hole) cores
        let output = output |> List.filter (fun axis -> wide (Axis(Spec.original axis.Name)))

        let carriers = near[i] |> Seq.collect snd |> Seq.countBy id |> dict

        /// Whether nothing but the core that is left out meets a branch, and the output has none of its axes.
        let isApart (_, shared) =
            shared
            |> List.forall (fun axis -> carriers[axis] = 1 && List.contains axis hole.Axes && not (List.contains axis output))

        let apart, others = near[i] |> List.ofArray |> List.partition isApart

        let inputs =
            [
                for other, _ in apart do
                    input (BranchMessage.Traced(other, i)) []
                for other, _ in others do
                    towards other i
                for axis in others |> List.collect snd |> List.distinct |> bonds do
                    if alike.Contains axis then
                        PlanInput.identity axis
            ]
            @ [
                for root in roots do
                    if root <> rootOf i then
                        input (BranchMessage.Whole root) []
            ]

        plan inputs output

    /// The plan of a message.
    member _.Plan(message: int) : Plan =
        match plans.TryGetValue message with
        | true, found -> found
        | _ ->
            let found = made branches[message]
            plans[message] <- found
            found

    /// Some plans with those of all messages that go into them.
    member this.With(plans: Plan list) : Plan list =
        let seen = HashSet<int>()
        let waiting = Stack plans

        [
            while waiting.Count > 0 do
                let plan = waiting.Pop()
                plan

                for core in plan.Spec.Cores do
                    match PlanInput.ofName core.Name with
                    | PlanInput.Message message when seen.Add message -> waiting.Push(this.Plan message)
                    | _ -> ()
        ]

    /// The steps of all messages that have been planned.
    member _.Steps = plans.Values |> Seq.sumBy _.Steps.Length

    /// Whether a message is made from a core.
    member _.Reads(message: int, core: int) : bool =
        match branches[message] with
        | BranchMessage.Towards(tip, hub)
        | BranchMessage.Traced(tip, hub) ->
            if parents[tip] = hub then isBelow tip core else rootOf core = rootOf tip && not (isBelow hub core)
        | BranchMessage.Whole root -> rootOf core = root

    /// The axes of a core of dimension above 1, as a shape.
    member _.Shape(core: int) : int64[] = [| for axis in axes[core] -> int64 spec.Dims[axis] |]

/// The values of messages, kept until a core that they are made from changes.
[<Sealed>]
type internal MessageValues(messages: BranchMessages, spec: Spec, cores: Tensor[]) =
    let index = spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict
    let values = Dictionary<int, Tensor>()
    let mutable made = 0

    let find (name: string) : Tensor =
        match PlanInput.ofName name with
        | PlanInput.Message message -> values[message]
        | input ->
            Contraction.constant cores[0].dtype cores[0].device (fun axis -> Spec.dim axis spec) input
            |> Option.defaultWith (fun () ->
                let i = index[Spec.original name]
                cores[i].reshape(messages.Shape i))

    let missing (plan: Plan) =
        [
            for core in plan.Spec.Cores do
                match PlanInput.ofName core.Name with
                | PlanInput.Message message when not (values.ContainsKey message) -> message
                | _ -> ()
        ]

    let run (plan: Plan) : Tensor =
        made <- made + plan.Steps.Length
        Contraction.runMany [ plan ] cores[0].dtype cores[0].device find |> List.head

    /// Makes what a plan reads; messages that others are made from first.
    let prepare (plan: Plan) =
        let waiting = Stack(missing plan)

        while waiting.Count > 0 do
            let message = waiting.Peek()
            let plan = messages.Plan message

            match (if values.ContainsKey message then [] else missing plan) with
            | [] ->
                waiting.Pop() |> ignore

                if not (values.ContainsKey message) then
                    use scope = torch.NewDisposeScope()
                    values[message] <- run plan |> scope.Detach
            | others -> others |> List.iter waiting.Push

    let drop (isStale: int -> bool) =
        for message in values.Keys |> Seq.filter isStale |> List.ofSeq do
            values[message].Dispose()
            values.Remove message |> ignore

    /// The steps that have been made.
    member _.Made = made

    /// The caller's scope owns the results.
    member _.Run(plans: Plan list) : Tensor list =
        [
            for plan in plans do
                prepare plan
                run plan
        ]

    /// The core has changed.
    member _.Forget(core: int) : unit = drop (fun message -> messages.Reads(message, core))

    /// Every core may have changed.
    member _.Clear() : unit = drop (fun _ -> true)

    interface System.IDisposable with
        member this.Dispose() = this.Clear()
