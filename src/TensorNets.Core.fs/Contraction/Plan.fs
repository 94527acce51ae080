namespace TensorNets

open System
open System.Collections.Generic

/// <summary>How a contraction order is sought.</summary>
[<RequireQualifiedAccess>]
type Order =
    /// Exact where the network has at most ten cores, greedy beyond.
    | Auto
    /// The least FLOPs over all pairwise orders, by dynamic programming over subsets; the time grows as 3^N, for at most twenty cores.
    | Exact
    /// The best of several orders that each take the pair that looks best next.
    | Greedy

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
            final = spec.Output |> List.map (Axis.place last) |> List.toArray
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
    let make (order: Order) (spec: Spec) : Plan =
        Argument.notNull (nameof order) order
        Argument.notNull (nameof spec) spec
        ordered false order spec

    /// As `make`, for a result that is wanted in one piece, as the output's axes come: less of it is left to be copied. Its last step is
    /// not that of other plans.
    let internal straight (order: Order) (spec: Spec) : Plan = ordered true order spec

    /// In a given order: pairs of slots, of which the cores are the first and each pair fills the next.
    let internal inOrder (pairs: struct (int * int) list) (spec: Spec) : Plan = build false spec pairs

    /// <summary>The most entries alive at one time: the tensors made by steps and not used up yet, the cores not counted.</summary>
    /// <example><code>Plan.peakEntries (Plan.make Order.Auto spec)</code></example>
    let peakEntries (plan: Plan) =
        Argument.notNull (nameof plan) plan
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
        Argument.notNull (nameof plan) plan
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
