namespace TensorNets

open System
open System.Collections.Generic
open System.Security.Cryptography
open System.Text

/// <summary>How a contraction order is sought.</summary>
[<RequireQualifiedAccess>]
type Order =
    /// Exact where the network has at most ten cores, greedy beyond.
    | Auto
    /// The least FLOPs over all pairwise orders, by dynamic programming over subsets; the time grows as 3^N, for at most twenty cores.
    | Exact
    /// The best of several orders that each take the pair that looks best next.
    | Greedy

/// <summary>One step of a contraction: slots in, one slot out.</summary>
type PlanStep =
    internal
        {
            operands: int list
            axes: Axis list
            flops: float
            size: float
            key: string
        }

    /// One slot: a core, summed over the axes that it alone carries and the output does not name. Two slots: their product, summed over the
    /// axes that no other slot carries and the output does not name.
    member this.Operands = this.operands
    /// The axes of what comes out, in its order.
    member this.Axes = this.axes
    /// Multiplications and additions: one multiplication for every combination of the axes of two operands, one addition for every term of
    /// a sum but its first.
    member this.Flops = this.flops
    /// The entries of what comes out.
    member this.Size = this.size
    /// The same for two steps that compute the same thing from the same tensors.
    member internal this.Key = this.key

/// <summary>An order in which to contract a network, computed from shapes alone. Slots 0 … N−1 are the cores; each step fills the next
/// slot. The last slot has the axes of the output.</summary>
type Plan =
    private
        {
            spec: Spec
            steps: PlanStep list
            operations: StepOperation list
            final: int64[]
        }

    /// The network that is contracted.
    member this.Spec = this.spec
    /// The contractions in order.
    member this.Steps = this.steps
    /// The tensor operation of each step.
    member internal this.Operations = this.operations
    /// The order of the axes of the last slot that brings it to the order of the output.
    member internal this.Final = this.final
    /// Multiplications and additions of all steps.
    member this.Flops = this.steps |> List.sumBy _.Flops
    /// The entries of the largest tensor that a step makes.
    member this.LargestIntermediate = this.steps |> List.fold (fun m s -> max m s.Size) 0.0

/// The steps of a contraction while they are added one by one.
[<Sealed>]
type private PlanBuilder(spec: Spec) =
    // A digest, so that the keys of a long chain do not grow with it; 128 bits do not collide.
    static let key (inputs: string list) (output: Axis list) =
        let text = String.Join(" ", inputs) + ">" + String.Join(",", output |> List.map Axis.name)
        Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes text), 0, 16)

    let slots = List<Axis list>(spec.Cores |> List.map _.Axes)
    let keys = List<string>(spec.Cores |> List.map (fun core -> key [ Spec.original core.Name ] core.Axes))
    let steps = List<PlanStep>()
    let operations = List<StepOperation>()

    /// How many slots that are not used up carry an axis, the output among them.
    let count = Dictionary<Axis, int>()

    let bear change axes =
        for axis in axes do
            match count.TryGetValue axis with
            | true, n -> count[axis] <- n + change
            | _ -> count[axis] <- change

    do bear 1 (Seq.append spec.Output (spec.Cores |> Seq.collect _.Axes))

    /// By hash: a map compares names at every one of its levels.
    let dims = Dictionary<Axis, int>(spec.Dims)

    let product axes = axes |> Seq.fold (fun p axis -> p * float dims[axis]) 1.0

    let add operands axes flops operation =
        let key = key (operands |> List.map (fun slot -> keys[slot])) axes
        slots.Add axes
        keys.Add key
        operations.Add operation
        steps.Add { operands = operands; axes = axes; flops = flops; size = product axes; key = key }
        slots.Count - 1

    /// Two slots in the order in which they are multiplied: the larger first, then by key, so that the same pair is the same step in every
    /// plan. `leading`: an axis whose carrier goes first.
    let inOrder (leading: Axis option) x y =
        let has slot axis = List.contains axis slots[slot]
        let weight slot = -(product slots[slot]), keys[slot]

        match leading with
        | Some axis -> if has x axis then x, y else y, x
        | None -> if weight x <= weight y then x, y else y, x

    member _.Axes(slot: int) = slots[slot]
    member _.Steps = List.ofSeq steps
    member _.Operations = List.ofSeq operations

    /// The slot without axes that it alone carries: only a core has any.
    member _.Summed(slot: int) : int =
        let axes = slots[slot]
        let kept = axes |> List.filter (fun axis -> count[axis] > 1)

        if kept.Length = axes.Length then
            slot
        else
            add [ slot ] kept (product axes - product kept) (StepOperation.sum axes kept)

    /// The product of two slots. `output`: that of the network, if this is the last step; `straight`: then the operands stand as its axes
    /// come; `partner`: the slot that the result meets next, where it is there already.
    member _.Contract(output: Axis list option, straight: bool, partner: int option, x: int, y: int) : int =
        let has slot axis = List.contains axis slots[slot]

        // The first axis of the output that only one of the two carries.
        let leading =
            output
            |> Option.filter (fun _ -> straight)
            |> Option.bind (List.tryFind (fun axis -> has x axis <> has y axis))

        let left, right = inOrder leading x y
        let a, b = slots[left], slots[right]
        let all = Seq.append a b |> Seq.distinct |> Seq.toList
        bear -1 (Seq.append a b)

        // Where all that the result and its partner share is summed then: nobody else carries it.
        let met =
            let common =
                partner
                |> Option.map (fun slot -> slots[slot])
                |> Option.defaultValue []
                |> List.filter (fun axis -> List.contains axis all)

            if common |> List.forall (fun axis -> count[axis] = 1) then common else []

        let operation, axes =
            StepOperation.product
                {
                    Dims = dims
                    Left = a
                    Right = b
                    Kept = all |> List.filter (fun axis -> count[axis] > 0) |> Set.ofList
                    Output = output
                    Met = met
                }

        bear 1 axes
        add [ left; right ] axes (2.0 * product all - product axes) operation

/// <summary>Contraction orders: found from shapes alone, printable, run by <c>Contraction</c>.</summary>
[<RequireQualifiedAccess>]
module Plan =
    /// Networks of up to this many cores are planned exactly by `Order.Auto`: 3^10 / 2 splits take about a millisecond.
    let internal exactLimit = 10

    /// `Order.Exact` refuses more cores than this: 3^20 / 2 splits take some seconds, and the tables grow as 2^N.
    let internal exactMost = 20

    /// The steps of a contraction in the given order of pairs of slots; `straight`: the last one's operands as the output's axes come.
    let private build (straight: bool) (spec: Spec) (pairs: struct (int * int) list) : Plan =
        let builder = PlanBuilder spec
        // Sums are steps of their own, so pairs count slots otherwise than steps do.
        let place = List<int>(Seq.init spec.Cores.Length id)

        let partners = dict (pairs |> Seq.collect (fun (struct (left, right)) -> [ left, right; right, left ]))

        /// The slot that the result of a pair meets, if it is there already.
        let partnerOf result =
            match partners.TryGetValue result with
            | true, partner when partner < result -> Some place[partner]
            | _ -> None

        if spec.Cores.Length = 1 then
            place.Add(builder.Summed 0)
        else
            for i, struct (left, right) in List.indexed pairs do
                let partner = partnerOf (spec.Cores.Length + i)
                let output = if i = pairs.Length - 1 then Some spec.Output else None
                let a = builder.Summed place[left]
                place.Add(builder.Contract(output, straight, partner, a, builder.Summed place[right]))

        let last = if place.Count = 0 then [] else builder.Axes place[place.Count - 1]

        {
            spec = spec
            steps = builder.Steps
            operations = builder.Operations
            final = spec.Output |> List.map (fun axis -> int64 (List.findIndex ((=) axis) last)) |> List.toArray
        }

    let private ordered (straight: bool) (order: Order) (spec: Spec) : Plan =
        let n = spec.Cores.Length

        if order.IsExact && n > exactMost then
            invalidArg (nameof order) $"Exact search is for at most {exactMost} cores; the network has {n}."

        if n < 2 then
            build straight spec []
        else
            let graph = ContractionOrder.hypergraph spec

            if order.IsExact || order.IsAuto && n <= exactLimit then
                build straight spec (ContractionOrder.exact graph)
            else
                build straight spec (ContractionOrder.greedy graph)

    /// <summary>A contraction order for a network.</summary>
    /// <remarks>Exact search minimises the FLOPs over every pairwise order, outer products included. Every order first sums what one core
    /// carries alone and the output does not name.</remarks>
    /// <exception cref="T:System.ArgumentException">Exact search for more than twenty cores.</exception>
    /// <example><code>Plan.make Order.Auto spec</code></example>
    let make (order: Order) (spec: Spec) : Plan = ordered false order spec

    /// As `make`, for a result that is wanted in one piece, as the output's axes come: less of it is left to be copied. Its last step is
    /// not that of other plans.
    let internal straight (order: Order) (spec: Spec) : Plan = ordered true order spec

    /// In a given order: pairs of slots, of which the cores are the first and each pair fills the next.
    let internal inOrder (pairs: struct (int * int) list) (spec: Spec) : Plan = build false spec pairs

    /// <summary>The most entries alive at one time: the tensors made by steps and not used up yet, the cores not counted.</summary>
    /// <example><code>Plan.peakEntries (Plan.make Order.Auto spec)</code></example>
    let peakEntries (plan: Plan) =
        let n = plan.spec.Cores.Length
        let alive = Dictionary<int, float>()
        let mutable now = 0.0
        let mutable peak = 0.0

        plan.steps
        |> List.iteri (fun i step ->
            alive[n + i] <- step.Size
            now <- now + step.Size
            peak <- max peak now

            for slot in step.Operands do
                match alive.TryGetValue slot with
                | true, size -> now <- now - size
                | _ -> ())

        peak

    /// <summary>The plan as a table: what each step multiplies or sums, the axes that come out, its FLOPs and entries; then the
    /// totals.</summary>
    /// <example><code>Plan.explain (Plan.make Order.Auto spec)</code></example>
    let explain (plan: Plan) =
        let names = List<string>(plan.spec.Cores |> List.map _.Name)

        let rows =
            plan.steps
            |> List.mapi (fun i step ->
                let operands = step.Operands |> List.map (fun slot -> names[slot])
                names.Add $"#{i + 1}"

                let act =
                    match operands with
                    | [ one ] -> $"sum {one}"
                    | _ -> String.Join(" * ", operands)

                [
                    $"#{i + 1}"
                    act
                    String.Join(" ", step.Axes |> List.map Axis.name)
                    $"{step.Flops:G6}"
                    $"{step.Size:G6}"
                ])

        let table = [ "step"; "product"; "axes"; "FLOPs"; "entries" ] :: rows
        let widths = table |> List.transpose |> List.map (List.map String.length >> List.max)

        let line (cells: string list) =
            let padded =
                List.mapi2 (fun i (cell: string) (width: int) -> if i < 3 then cell.PadRight width else cell.PadLeft width) cells widths

            String.Join("  ", padded)

        String.Join(
            "\n",
            [
                $"{plan.spec}"
                yield! table |> List.map line
                $"total {plan.Flops:G6} FLOPs, largest intermediate {plan.LargestIntermediate:G6}, peak {peakEntries plan:G6} entries"
                ""
            ]
        )
