/// Balancing networks of many cores: cycles that do not grow in number, and in work like the number of cores.
module LongGaugeLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden
open NetworkLaws

let private named (prefix: string) i = Axis $"{prefix}{i}"

/// A line of cores, each with an open axis of dimension two, or a ring of them.
let line (closed: bool) (bond: int) (count: int) : Spec =
    let axes i =
        [
            if closed || i > 0 then
                named "b" i
            named "s" i
            if closed || i < count - 1 then
                named "b" ((i + 1) % count)
        ]

    let cores = [ for i in 0 .. count - 1 -> { Name = $"C{i}"; Axes = axes i } ]
    let bonds = [ for i in (if closed then 0 else 1) .. count - 1 -> named "b" i, bond ]
    let opened = [ for i in 0 .. count - 1 -> named "s" i ]
    Spec.create (bonds @ [ for axis in opened -> axis, 2 ]) cores opened |> specOk

/// A core with an open axis and many leaves, each with an open axis.
let private star (bond: int) (leaves: int) : Spec =
    let cores =
        { Name = "G"; Axes = [ for i in 1..leaves -> named "b" i ] }
        :: [ for i in 1..leaves -> { Name = $"U{i}"; Axes = [ named "s" i; named "b" i ] } ]

    let opened = [ for i in 1..leaves -> named "s" i ]
    let dims = [ for i in 1..leaves -> named "b" i, bond ] @ [ for axis in opened -> axis, 3 ]
    Spec.create dims cores opened |> specOk

let private cyclesOf (network: Network) =
    let spec = network.Spec
    let cores = [| for core in network.Cores -> core.clone () |]
    let s, cycles = Gauge.cycles Gauge.maxCycles (BondGauge.ofSpec spec) (Sensitivity.plan spec) cores |> ok
    new Network(spec, cores), s, cycles

/// The steps of contraction that a cycle makes, with what bonds have in common made once.
let private stepsOfCycle (spec: Spec) =
    let network = randomNetwork 1 spec
    let bonds = BondGauge.ofSpec spec

    let plans =
        function
        | BondGauge.Matrix link -> [ link.P; link.Q ]
        | BondGauge.Scaling(_, _, terms) -> terms

    use kept = new IntermediateCache(List.collect plans bonds)

    let cycle () =
        for bond in bonds do
            Contraction.runKeeping (Some kept) (plans bond) network.DType network.Device (Network.lookup network)
            |> ignore

            for i in BondGauge.coresOf bond do
                kept.Forget spec.Cores[i].Name

    cycle ()
    let first = kept.Made
    cycle ()
    kept.Made - first

let all =
    testList
        "balance of long networks"
        [
            for name, spec in
                [
                    for count in [ 3; 8; 13; 21; 34 ] do
                        $"a chain of {count}", line false 2 count
                    for count in [ 4; 9; 16; 30; 120 ] do
                        $"a ring of {count}", line true 2 count
                    "a star of 9", star 2 9
                ] do
                testCase $"{name} takes a few cycles, keeps T, and is balanced then" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let network = randomNetwork 7 spec
                    let once, s, cycles = cyclesOf network
                    Expect.isLessThanOrEqual cycles 16 "cycles"
                    Expect.isLessThanOrEqual s (Sensitivity.value network * (1.0 + 1e-12)) "S"
                    let inner = Contraction.norm network
                    near 1e-9 ((Contraction.norm once).number()) (inner.number ()) "the norm of T"

                    if spec.Cores.Length <= 13 then
                        close 1e-11 (Contraction.reconstruct once) (Contraction.reconstruct network) "T"

                    let again, least, _ = cyclesOf once
                    near 1e-9 least s "nothing is left"

                    let terms = Sensitivity.ofCores again |> List.map _.number()

                    for term in terms do
                        near 1e-5 term (List.average terms) "every term of S is as large")
            testCase "a network whose bonds are wider than their rank is cut and balanced by one call" (fun () ->
                use _ = torch.NewDisposeScope()

                for text in [ "ab, bc -> ac | a=2 b=3 c=2"; "ab, bcd, ce -> ade | a=2 b=5 c=7 d=2 e=3" ] do
                    let network = randomNetwork 3 (Spec.parse [] text |> specOk)
                    Expect.isError (Gauge.balance network) "refused"
                    let balanced = Gauge.balanceTruncated network |> ok
                    close 1e-11 (Contraction.reconstruct balanced) (Contraction.reconstruct network) "T")
            testCase "the steps of a cycle grow like the number of cores" (fun () ->
                use _ = torch.NewDisposeScope()

                for closed in [ false; true ] do
                    let few, many = stepsOfCycle (line closed 2 20), stepsOfCycle (line closed 2 60)
                    Expect.isLessThanOrEqual many (4 * few) $"a line, closed: {closed}: {few} and {many}")
        ]
