namespace TensorNets

open System
open System.Collections.Generic
open System.Numerics
open System.Text

/// <summary>How a contraction order is sought.</summary>
[<RequireQualifiedAccess>]
type Order =
    /// Exact where the network has at most ten cores, greedy beyond.
    | Auto
    /// The least FLOPs over all pairwise orders, by dynamic programming over subsets; the time grows as 3^N.
    | Exact
    /// The pair that shrinks the network most goes first.
    | Greedy

/// <summary>One pairwise contraction: two slots in, one slot out. Axes by their letter in this step only.</summary>
type PlanStep =
    {
        Left: int
        Right: int
        /// The einsum of this step, with letters local to it.
        Equation: string
        /// The axes of what comes out.
        Axes: Axis list
        /// Multiplications and additions.
        Flops: float
        /// The entries of what comes out.
        Size: float
        /// The same for two steps that compute the same thing from the same tensors.
        Key: string
    }

/// <summary>An order in which to contract a network, computed from shapes alone. Slots 0 … N−1 are the cores; each step fills the next slot.</summary>
type Plan =
    private
        {
            spec: Spec
            steps: PlanStep list
            final: string
            finalKey: string
        }

    /// The network that is contracted.
    member this.Spec = this.spec
    /// The pairwise contractions in order.
    member this.Steps = this.steps
    /// The einsum that brings the last slot to the order of the output.
    member this.Final = this.final
    /// As a step's key, for the last einsum.
    member this.FinalKey = this.finalKey
    /// Multiplications and additions of all steps.
    member this.Flops = this.steps |> List.sumBy _.Flops
    /// The entries of the largest tensor that a step makes.
    member this.LargestIntermediate = this.steps |> List.fold (fun m s -> max m s.Size) 0.0

[<RequireQualifiedAccess>]
module Plan =
    /// Networks of up to this many cores are planned exactly by `Order.Auto`: 3^10 subset pairs take milliseconds.
    let exactLimit = 10

    let private letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

    // Axes are bits of a big integer here: networks may have any number of axes.
    type private Shape = { Axes: Axis[]; Sizes: float[]; Output: BigInteger; Cores: BigInteger[] }

    let private bit (i: int) = BigInteger.One <<< i

    let private shapeOf (spec: Spec) =
        let axes = spec.Dims |> Map.toArray |> Array.map fst
        let index = axes |> Array.mapi (fun i axis -> axis, i) |> dict

        let set (list: Axis list) = list |> List.fold (fun s axis -> s ||| bit index[axis]) BigInteger.Zero

        {
            Axes = axes
            Sizes = axes |> Array.map (fun axis -> float spec.Dims[axis])
            Output = set spec.Output
            Cores = spec.Cores |> List.map (fun core -> set core.Axes) |> List.toArray
        }

    let private size (shape: Shape) (set: BigInteger) =
        let mutable product = 1.0

        for i in 0 .. shape.Axes.Length - 1 do
            if not (set &&& bit i).IsZero then
                product <- product * shape.Sizes[i]

        product

    /// A multiplication, and an addition where something is summed, for every combination of the axes of the pair.
    let private pairFlops shape (left: BigInteger) (right: BigInteger) (kept: BigInteger) =
        let all = left ||| right
        let points = size shape all
        if all = kept then points else 2.0 * points

    /// The best order over all subsets, as a list of pairs of slots.
    let private exact (shape: Shape) : (int * int) list =
        let n = shape.Cores.Length
        let full = (1 <<< n) - 1

        let union =
            Array.init (full + 1) (fun set ->
                let mutable u = BigInteger.Zero

                for i in 0 .. n - 1 do
                    if set >>> i &&& 1 = 1 then
                        u <- u ||| shape.Cores[i]

                u)

        let kept = Array.init (full + 1) (fun set -> union[set] &&& (shape.Output ||| union[full &&& ~~~set]))

        let cost = Array.create (full + 1) infinity
        let split = Array.zeroCreate (full + 1)

        for i in 0 .. n - 1 do
            cost[1 <<< i] <- 0.0

        // A single core keeps its lone axes until its first contraction, so a leaf counts whole.
        let axesOf set = if BitOperations.PopCount(uint set) = 1 then union[set] else kept[set]

        for set in 1..full do
            if BitOperations.PopCount(uint set) > 1 then
                let lowest = set &&& -set
                let mutable part = (set - 1) &&& set

                while part > 0 do
                    if part &&& lowest <> 0 then
                        let rest = set ^^^ part
                        let before = cost[part] + cost[rest]

                        if before < cost[set] then
                            let total = before + pairFlops shape (axesOf part) (axesOf rest) kept[set]

                            if total < cost[set] then
                                cost[set] <- total
                                split[set] <- part

                    part <- (part - 1) &&& set

        let order = List<int * int>()
        let mutable next = n

        let rec visit (set: int) =
            if BitOperations.PopCount(uint set) = 1 then
                BitOperations.TrailingZeroCount set
            else
                let left = visit split[set]
                let right = visit (set ^^^ split[set])
                order.Add(left, right)
                next <- next + 1
                next - 1

        visit full |> ignore
        List.ofSeq order

    /// Greedy: among pairs that share an axis, the one whose product is smallest against what it replaces; then outer products, smallest first.
    let private greedy (shape: Shape) : (int * int) list =
        let live = SortedDictionary<int, BigInteger>()
        shape.Cores |> Array.iteri (fun i set -> live[i] <- set)
        let holders = Array.init shape.Axes.Length (fun _ -> SortedSet<int>())

        let enter slot (set: BigInteger) =
            for a in 0 .. holders.Length - 1 do
                if not (set &&& bit a).IsZero then
                    holders[a].Add slot |> ignore

        let leave slot (set: BigInteger) =
            for a in 0 .. holders.Length - 1 do
                if not (set &&& bit a).IsZero then
                    holders[a].Remove slot |> ignore

        shape.Cores |> Array.iteri enter

        let keptOf i j =
            let all = live[i] ||| live[j]
            let mutable kept = all &&& shape.Output

            for a in 0 .. holders.Length - 1 do
                if not (all &&& bit a).IsZero then
                    let inside =
                        (if (live[i] &&& bit a).IsZero then 0 else 1) + (if (live[j] &&& bit a).IsZero then 0 else 1)

                    if holders[a].Count > inside then
                        kept <- kept ||| bit a

            kept

        let scores = Dictionary<struct (int * int), float * float>()

        let score i j =
            let key = struct (i, j)

            match scores.TryGetValue key with
            | true, value -> value
            | _ ->
                let kept = keptOf i j

                let value =
                    size shape kept - size shape live[i] - size shape live[j], pairFlops shape live[i] live[j] kept

                scores[key] <- value
                value

        let order = List<int * int>()
        let mutable next = shape.Cores.Length

        while live.Count > 1 do
            let mutable best = None

            let consider i j =
                let value = score i j

                match best with
                | Some(least, _, _) when least <= value -> ()
                | _ -> best <- Some(value, i, j)

            for a in 0 .. holders.Length - 1 do
                let list = Seq.toArray holders[a]

                for x in 0 .. list.Length - 2 do
                    for y in x + 1 .. list.Length - 1 do
                        consider list[x] list[y]

            if best.IsNone then
                let smallest =
                    live
                    |> Seq.sortBy (fun slot -> size shape slot.Value, slot.Key)
                    |> Seq.truncate 2
                    |> Seq.map _.Key
                    |> Seq.toArray

                consider (min smallest[0] smallest[1]) (max smallest[0] smallest[1])

            let _, i, j = best.Value
            let touched = live[i] ||| live[j]
            let kept = keptOf i j
            leave i live[i]
            leave j live[j]
            live.Remove i |> ignore
            live.Remove j |> ignore
            live[next] <- kept
            enter next kept
            order.Add(i, j)
            next <- next + 1

            // Whether an axis is kept may change for pairs that touch what was contracted; the rest keep their scores.
            for struct (x, y) in Seq.toArray scores.Keys do
                if
                    not (live.ContainsKey x)
                    || not (live.ContainsKey y)
                    || not ((live[x] ||| live[y]) &&& touched).IsZero
                then
                    scores.Remove(struct (x, y)) |> ignore

        List.ofSeq order

    let private equation (inputs: Axis list list) (output: Axis list) =
        let letter =
            inputs |> List.concat |> List.distinct |> List.mapi (fun i axis -> axis, letters[i]) |> Map.ofList

        let text (axes: Axis list) = String(axes |> List.map (fun axis -> letter[axis]) |> List.toArray)

        String.Join(",", inputs |> List.map text) + "->" + text output

    let private key (inputs: string list) (output: Axis list) =
        "(" + String.Join(" ", inputs) + ">" + String.Join(",", output |> List.map Axis.name) + ")"

    /// The steps of a contraction in the given order of pairs of slots.
    let private build (spec: Spec) (order: (int * int) list) : Plan =
        let slots = List<Axis list>(spec.Cores |> List.map _.Axes)

        let keys = List<string>(spec.Cores |> List.map (fun core -> key [ Spec.original core.Name ] core.Axes))

        let count = Dictionary<Axis, int>()

        for axis, n in spec.Output @ (spec.Cores |> List.collect _.Axes) |> List.countBy id do
            count[axis] <- n

        let steps =
            [
                for left, right in order do
                    let a, b = slots[left], slots[right]

                    for axis in a @ b do
                        count[axis] <- count[axis] - 1

                    // An axis that another slot or the output still carries stays; those of the larger operand keep their order.
                    let kept = List.distinct (a @ b) |> List.filter (fun axis -> count[axis] > 0)

                    for axis in kept do
                        count[axis] <- count[axis] + 1

                    let product = List.fold (fun p axis -> p * float spec.Dims[axis]) 1.0
                    let points = product (List.distinct (a @ b))
                    // Which operand stands first does not change the product: sorted keys let both orders be the same intermediate.
                    let stepKey = key (List.sort [ keys[left]; keys[right] ]) kept
                    slots.Add kept
                    keys.Add stepKey

                    {
                        Left = left
                        Right = right
                        Equation = equation [ a; b ] kept
                        Axes = kept
                        Flops = (if kept.Length = (List.distinct (a @ b)).Length then points else 2.0 * points)
                        Size = product kept
                        Key = stepKey
                    }
            ]

        let last, lastKey = if slots.Count = 0 then [], "()" else slots[slots.Count - 1], keys[keys.Count - 1]

        {
            spec = spec
            steps = steps
            final = equation [ last ] spec.Output
            finalKey = key [ lastKey ] spec.Output
        }

    /// <summary>A contraction order for a network.</summary>
    /// <remarks>Exact search minimises the FLOPs over every pairwise order, outer products included.</remarks>
    let make (order: Order) (spec: Spec) : Plan =
        let n = spec.Cores.Length

        let pairs =
            if n < 2 then
                []
            else
                let shape = shapeOf spec

                match order with
                | Order.Exact -> exact shape
                | Order.Auto when n <= exactLimit -> exact shape
                | Order.Auto
                | Order.Greedy -> greedy shape

        build spec pairs

    /// The most entries alive at one time: the tensors made by steps and not used up yet.
    let peakEntries (plan: Plan) =
        let n = plan.spec.Cores.Length
        let alive = Dictionary<int, float>()
        let mutable peak = 0.0

        plan.steps
        |> List.iteri (fun i step ->
            alive[n + i] <- step.Size
            peak <- max peak (Seq.sum alive.Values)
            alive.Remove step.Left |> ignore
            alive.Remove step.Right |> ignore)

        peak

    /// <summary>The plan as a table: what each step multiplies, what comes out, its FLOPs and its entries.</summary>
    let explain (plan: Plan) =
        let names = List<string>(plan.spec.Cores |> List.map _.Name)
        let text = StringBuilder()
        text.AppendLine $"{plan.spec}" |> ignore

        text.AppendLine(String.Format("{0,-4} {1,-24} {2,-24} {3,12} {4,12}", "step", "product", "axes", "FLOPs", "entries"))
        |> ignore

        plan.steps
        |> List.iteri (fun i step ->
            let axes = String.Join(" ", step.Axes |> List.map Axis.name)
            let pair = names[step.Left] + " * " + names[step.Right]
            names.Add $"#{i + 1}"

            text.AppendLine(String.Format("{0,-4} {1,-24} {2,-24} {3,12:G6} {4,12:G6}", $"#{i + 1}", pair, axes, step.Flops, step.Size))
            |> ignore)

        text.AppendLine
            $"total {plan.Flops:G6} FLOPs, largest intermediate {plan.LargestIntermediate:G6}, peak {peakEntries plan:G6} entries"
        |> ignore

        text.ToString()
