/// What a plan promises: the least work where it is sought exactly, and that its numbers are those of the tensors that are made.
module PlanLaws

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators

let private size (spec: Spec) (axes: Axis seq) = axes |> Seq.fold (fun p axis -> p * float (Spec.dim axis spec)) 1.0

/// The least FLOPs over every order of pairs, each with and without summing first what only one of the two carries: all tried, nothing
/// remembered. Sets of axes are bits of a number.
let private bruteForce (spec: Spec) =
    let axes = spec.Dims |> Map.toArray
    let bits list = list |> List.sumBy (fun axis -> 1 <<< Array.findIndex (fst >> (=) axis) axes)
    let output = bits spec.Output

    let sizes =
        Array.init (1 <<< axes.Length) (fun set ->
            axes
            |> Seq.indexed
            |> Seq.fold (fun p (i, (_, n)) -> if set >>> i &&& 1 = 1 then p * float n else p) 1.0)

    let rec best (tensors: int[]) =
        if tensors.Length < 2 then
            0.0
        else
            let mutable least = infinity

            for i in 0 .. tensors.Length - 2 do
                for j in i + 1 .. tensors.Length - 1 do
                    let a, b = tensors[i], tensors[j]
                    let rest = tensors |> Array.removeAt j |> Array.removeAt i
                    let kept = (a ||| b) &&& Array.fold (|||) output rest
                    let mutable product = infinity

                    for x in [ a; a &&& (kept ||| b) ] do
                        for y in [ b; b &&& (kept ||| a) ] do
                            let before = sizes[a] - sizes[x] + sizes[b] - sizes[y]
                            product <- min product (before + 2.0 * sizes[x ||| y] - sizes[kept])

                    least <- min least (product + best (Array.append [| kept |] rest))

            least

    match spec.Cores with
    | [ only ] -> sizes[bits only.Axes] - sizes[output]
    | cores -> best [| for core in cores -> bits core.Axes |]

/// A connected network as they occur: every core has bonds, a few of them hyperedges; dimensions from 2 to 8; about half of the cores have
/// an open axis.
let private drawn (seed: int) (cores: int) (extra: int) : Spec =
    let random = Random seed

    let bonds =
        [
            for i in 1 .. cores - 1 -> [ random.Next i; i ]
            for _ in 1..extra -> [ for _ in 1 .. (if random.Next 4 = 0 then 3 else 2) -> random.Next cores ] |> List.distinct
        ]

    let opened =
        [
            for i in 0 .. cores - 1 do
                if random.Next 2 = 0 then
                    i
        ]

    let lone =
        [
            for i in 0 .. cores - 1 do
                if random.Next 8 = 0 then
                    [ i ]
        ]

    let axes = bonds @ lone @ (opened |> List.map List.singleton)
    let name i = Axis $"x{i}"

    Spec.create
        (axes |> List.mapi (fun i _ -> name i, random.Next(2, 9)))
        [
            for core in 0 .. cores - 1 ->
                {
                    Name = Spec.positionName core
                    Axes = axes |> List.indexed |> List.filter (snd >> List.contains core) |> List.map (fst >> name)
                }
        ]
        [ for i in axes.Length - opened.Length .. axes.Length - 1 -> name i ]
    |> specOk

/// A drawn network of at most six cores.
[<StructuredFormatDisplay("{Text}")>]
type Drawn =
    {
        Seed: int
        Cores: int
        Extra: int
    }

    member this.Spec = drawn this.Seed this.Cores this.Extra
    member this.Text = $"{this.Spec} | {Map.toList this.Spec.Dims} | seed {this.Seed}"
    override this.ToString() = this.Text

type DrawnArbitrary =
    static member Drawn() =
        gen {
            let! seed = Gen.choose (0, 1_000_000)
            let! cores = Gen.choose (2, 6)
            let! extra = Gen.choose (0, 4)
            return { Seed = seed; Cores = cores; Extra = extra }
        }
        |> Arb.fromGen

let private drawnLaw name (check: Drawn -> unit) =
    testPropertyWithConfig { config with arbitrary = [ typeof<DrawnArbitrary> ] } name (fun (case: Drawn) ->
        use _ = torch.NewDisposeScope()
        check case)

/// Sums of the same products in another order.
let private close (actual: float) (expected: float) what =
    Expect.isLessThanOrEqual (abs (actual - expected)) (1e-12 * expected) $"{what}: {actual:R} against {expected:R}"

/// Every step made on its own, with what is alive: the plan's numbers are theirs.
let private runSteps (order: Order) (network: Network) =
    let spec = network.Spec
    let plan = Plan.make order spec

    let slots =
        Collections.Generic.List<torch.Tensor>(spec.Cores |> List.map (fun core -> network[core.Name]))

    let alive = Collections.Generic.Dictionary<int, int64>()
    let mutable peak = 0L

    List.iter2
        (fun (step: PlanStep) kernel ->
            let made = StepExecution.run kernel (step.Operands |> List.map (fun slot -> slots[slot]))
            let expected = step.Axes |> List.map (fun axis -> int64 (Spec.dim axis spec))
            Expect.equal (List.ofArray made.shape) expected $"{order}: the axes of a step"
            Expect.equal (float (made.numel ())) step.Size $"{order}: the entries of a step"
            alive[slots.Count] <- made.numel ()
            slots.Add made
            peak <- max peak (Seq.sum alive.Values)

            for slot in step.Operands do
                alive.Remove slot |> ignore)
        plan.Steps
        plan.Operations

    Expect.equal (float peak) (Plan.peakEntries plan) $"{order}: the peak"

/// A tensor train without its ends, every axis of dimension 4, every bond of rank 8.
let private chain (cores: int) =
    let bond i = Axis $"b{i}"
    let mode i = Axis $"i{i}"

    Spec.create
        [
            for i in 1..cores -> mode i, 4
            for i in 1 .. cores - 1 -> bond i, 8
        ]
        [
            for i in 1..cores ->
                {
                    Name = Spec.positionName i
                    Axes =
                        [
                            if i > 1 then
                                bond (i - 1)
                            mode i
                            if i < cores then
                                bond i
                        ]
                }
        ]
        [ for i in 1..cores -> mode i ]
    |> specOk

let private planned (text: string) = Spec.parse [] text |> specOk |> Plan.make Order.Auto

/// The tensor of a plan's network with random cores, and that of loops over every index.
let private agreesWithLoops (plan: Plan) =
    let network = randomNetwork 7 plan.Spec
    let cores = plan.Spec.Cores |> List.map (fun core -> core.Name, network[core.Name]) |> Map.ofList
    NetworkLaws.same (Contraction.run plan cores) (oracle plan.Spec network) $"{plan.Spec}"

let private rowsOf (plan: Plan) = (Plan.explain plan).Split('\n', StringSplitOptions.RemoveEmptyEntries)

let all =
    testList
        "plans"
        [
            law "exact search finds the least FLOPs of all orders" (fun (case: AnyNetwork) ->
                close (Plan.make Order.Exact case.Spec).Flops (bruteForce case.Spec) "FLOPs")
            drawnLaw "exact search finds the least FLOPs of all orders where dimensions vary" (fun case ->
                close (Plan.make Order.Exact case.Spec).Flops (bruteForce case.Spec) "FLOPs")
            testCase "greedy orders cost at most twice the least, in the median of sixty networks of six to ten cores" (fun () ->
                let ratios =
                    [
                        for seed in 1..60 ->
                            let spec = drawn seed (6 + seed % 5) (2 + seed % 6)
                            (Plan.make Order.Greedy spec).Flops / (Plan.make Order.Exact spec).Flops
                    ]
                    |> List.sort

                for ratio in ratios do
                    Expect.isGreaterThanOrEqual ratio (1.0 - 1e-12) "nothing is below the least"

                Expect.isLessThanOrEqual ratios[30] 2.0 $"median {ratios[30]}, worst {List.last ratios}")
            law "every step makes what the plan says" (fun (case: AnyNetwork) ->
                for order in [ Order.Exact; Order.Greedy ] do
                    runSteps order (randomNetwork case.Seed case.Spec))
            drawnLaw "every step makes what the plan says where dimensions vary" (fun case ->
                for order in [ Order.Exact; Order.Greedy ] do
                    if (Plan.make order case.Spec).LargestIntermediate < 1e6 then
                        runSteps order (randomNetwork case.Seed case.Spec))
            drawnLaw "every order gives the same tensor where dimensions vary" (fun case ->
                let spec = case.Spec

                // The loops visit every combination of all axes.
                if size spec (Map.keys spec.Dims) < 3e5 then
                    let network = randomNetwork case.Seed spec
                    let expected = oracle spec network
                    let cores = spec.Cores |> List.map (fun core -> core.Name, network[core.Name]) |> Map.ofList

                    for order in [ Order.Exact; Order.Greedy ] do
                        NetworkLaws.same (Contraction.run (Plan.make order spec) cores) expected $"{order}")
            testList
                "dot products of large operands, made in pieces, are those of the whole"
                [
                    for text in [ "abr, br -> ar"; "abr, ar -> br"; "abr, abr -> br" ] do
                        testCase text (fun () ->
                            let plan = planned $"{text} | a=7 b=400 r=380"
                            Expect.isTrue (plan.Operations |> List.forall _.IsDots) "one step of dot products"
                            agreesWithLoops plan)
                ]
            testList
                "products of many rows and few columns are those of loops"
                [
                    for text in [ "xk, ky -> xy"; "xk, ky -> yx"; "kx, ky -> xy"; "kx, yk -> xy" ] do
                        testCase text (fun () -> agreesWithLoops (planned $"{text} | x=40 k=130 y=5"))
                ]
            law "the table lists every step and its totals are the sums" (fun (case: AnyNetwork) ->
                let plan = Plan.make Order.Auto case.Spec
                let rows = rowsOf plan
                Expect.equal rows.Length (plan.Steps.Length + 3) "the network, a head, the steps, the totals"
                Expect.equal rows[0] (string case.Spec) "the network"
                let number (text: string) = Double.Parse(text, Globalization.CultureInfo.InvariantCulture)
                let cells (row: string) = row.Split(' ', StringSplitOptions.RemoveEmptyEntries)
                let steps = rows[2 .. rows.Length - 2] |> Array.map cells
                steps |> Array.iteri (fun i cells -> Expect.equal cells[0] $"#{i + 1}" "the steps in order")
                // Six digits of each number are printed.
                let flops = steps |> Array.sumBy (fun cells -> number cells[cells.Length - 2])
                let total = number (Array.last rows |> cells |> Array.item 1)
                Expect.isLessThanOrEqual (abs (flops - total)) (1e-5 * total) "FLOPs"
                Expect.isLessThanOrEqual (abs (total - plan.Flops)) (1e-5 * total) "the plan's FLOPs"
                let largest = steps |> Array.map (fun cells -> number (Array.last cells)) |> Array.fold max 0.0
                Expect.stringContains (Array.last rows) $"largest intermediate {largest:G6}," "the largest"
                Expect.stringContains (Array.last rows) $"peak {Plan.peakEntries plan:G6} entries" "the peak")
            testCase "the FLOPs of a closed chain grow like its length" (fun () ->
                let flops cores = (Plan.make Order.Auto (Spec.normSq (chain cores))).Flops
                Expect.isLessThanOrEqual (flops 100 / flops 50) 2.1 $"{flops 50} {flops 100}"
                // One site costs two products of an 8 × 8 matrix with a core of 8 × 4 × 8.
                Expect.isLessThanOrEqual (flops 100) (100.0 * 2.0 * 2.0 * 8.0 * 8.0 * 4.0 * 8.0) "no more than site by site")
            testCase "exact search of more cores than it serves is refused" (fun () ->
                Expect.throwsT<ArgumentException> (fun () -> Plan.make Order.Exact (chain 21) |> ignore) "21 cores")
        ]
