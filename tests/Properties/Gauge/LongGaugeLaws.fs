/// Balancing networks of many cores: cycles that do not grow in number, and in work like the number of cores.
module LongGaugeLaws

open System
open System.Collections.Generic
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

/// Pairs of cores one after the other, each with bonds to its partner and to the next pair.
let private ladder (count: int) : Spec =
    let rungs = count / 2
    let bonds = List<Axis * int>()
    let cores = [ for i in 0 .. count - 1 -> { Name = $"C{i}"; Axes = [] } ] |> Array.ofList

    let add axis dim places =
        bonds.Add(axis, dim)

        for i in places do
            cores[i] <- { cores[i] with Axes = axis :: cores[i].Axes }

    for i in 0 .. rungs - 1 do
        add (named "r" i) 2 [ 2 * i; 2 * i + 1 ]

        for side in 0..1 do
            add (named "s" (2 * i + side)) 2 [ 2 * i + side ]

            if i + 1 < rungs then
                add (named "b" (2 * i + side)) 2 [ 2 * i + side; 2 * i + 2 + side ]

    Spec.create (List.ofSeq bonds) (List.ofArray cores) [ for i in 0 .. count - 1 -> named "s" i ]
    |> specOk

let private cyclesOf (network: Network) =
    let spec = network.Spec
    let cores = [| for core in network.Cores -> core.clone () |]
    let s, cycles = Gauge.cycles Gauge.maxCycles (FreeBonds.ofSpec spec) (Sensitivity.plan spec) cores |> ok
    new Network(spec, cores), s, cycles

/// The steps of contraction that all bonds plan, and those that a cycle makes, with what bonds have in common made once.
let private stepsOfCycle (spec: Spec) : int * int =
    let network = randomNetwork 1 spec
    let bonds = FreeBonds.ofSpec spec
    use evaluation = new BondGauge.Evaluation(bonds, [], Seq.toArray network.Cores)

    let cycle () =
        for bond in bonds.All do
            evaluation.Run(FreeBonds.plansOf bond) |> ignore

            for i in FreeBonds.coresOf bond do
                evaluation.Forget i

    cycle ()
    let first = evaluation.Made
    cycle ()
    let shared = bonds.Messages |> Option.map _.Steps |> Option.defaultValue 0
    let planned = bonds.All |> List.collect FreeBonds.plansOf |> List.sumBy _.Steps.Length
    shared + planned, evaluation.Made - first

/// Trees of seven to twelve cores, or several: bonds of dimension 1 among others, now and then two between the same cores, open axes of one
/// core or of two, and an axis of dimension 1 that any core may carry. `cycles`: also bonds that close cycles, and axes of dimension 2, open
/// or not, that several cores carry, or all.
let private networks (cycles: bool) (seed: int) : Spec =
    let random = Random seed
    let chance p = random.NextDouble() < p
    let count = random.Next(7, 13)
    let axes = Array.init count (fun _ -> List<Axis>())
    let dims, opened = List<Axis * int>(), List<Axis>()

    let add name dim isOpen places =
        let axis = Axis name
        dims.Add(axis, dim)
        places |> List.iter (fun (i: int) -> axes[i].Add axis)

        if isOpen then
            opened.Add axis

    for i in 0 .. count - 1 do
        if i > 0 && chance 0.9 then
            let parent = random.Next i
            add $"b{i}" (random.Next(1, 4)) false [ i; parent ]

            if chance 0.2 then
                add $"c{i}" (random.Next(1, 3)) false [ i; parent ]

            if chance 0.2 then
                add $"o{i}" 2 true [ i; parent ]

        if chance 0.7 then
            add $"s{i}" (random.Next(1, 4)) true [ i ]

        if chance 0.1 then
            add $"t{i}" 2 false [ i ]

    match [ 0 .. count - 1 ] |> List.filter (fun _ -> chance 0.3) with
    | [] -> ()
    | places -> add "e" 1 (chance 0.5) places

    if cycles then
        add "d" 2 false [ 0; count - 1 ]
        add "f" 2 (chance 0.5) ([ 0 .. count - 1 ] |> List.filter (fun i -> i = 0 || chance 0.2))

        if chance 0.5 then
            add "g" 2 (chance 0.3) [ 0 .. count - 1 ]

    let cores =
        axes |> Array.mapi (fun i axes -> { Name = $"C{i}"; Axes = List.ofSeq axes }) |> List.ofArray

    Spec.create (List.ofSeq dims) cores (List.ofSeq opened) |> specOk

/// The plans of a bond, each as a whole double layer without one core.
let private wholeLayers (spec: Spec) (bond: FreeBonds.Bond) : Plan list =
    let layer i free output =
        let core = spec.Cores[i]
        let alike = Set.ofList (spec.Output @ core.Axes) - Set.ofList free
        Plan.make Order.Auto (Spec.doubled (Spec.without core.Name spec) alike output spec)

    match bond with
    | FreeBonds.Matrix link ->
        let output = link.Along @ link.Bonds @ List.map Axis.primed link.Bonds
        [ link.I; link.J ] |> List.map (fun i -> layer i link.Bonds output)
    | FreeBonds.Scaling(axis, places, _) -> places |> List.map (fun i -> layer i [] [ axis ])

let all =
    testList
        "balance of long networks"
        [
            testCase "messages make the double layers of all bonds of trees and of cycles, whichever cores change" (fun () ->
                for seed, spec in [ for seed in 1..100 -> seed, networks (seed % 2 = 0) seed ] do
                    use _ = torch.NewDisposeScope()
                    let random = Random seed
                    let bonds = FreeBonds.planned (Some(BranchMessages.Make spec)) spec
                    let cores = Seq.toArray (randomNetwork seed spec).Cores
                    use evaluation = new BondGauge.Evaluation(bonds, [], cores)

                    for bond in bonds.All do
                        let lookup = CoreArray.Lookup spec cores
                        let whole = Contraction.runMany (wholeLayers spec bond) torch.float64 torch.CPU lookup

                        for found, expected in List.zip (evaluation.Run(FreeBonds.plansOf bond)) whole do
                            close 1e-12 (found.reshape -1L) (expected.reshape -1L) $"seed {seed}, {spec}"

                        for i in random.Next cores.Length :: FreeBonds.coresOf bond do
                            cores[i] <- cores[i].mul(Num.tensor (0.5 + random.NextDouble()))
                            evaluation.Forget i)
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
            testCase "the steps of a cycle and the steps that are planned grow like the number of cores" (fun () ->
                use _ = torch.NewDisposeScope()

                for name, network in
                    [
                        "a line", line false 2
                        "a ring", line true 2
                        "a ladder", ladder
                        "CP", fun count -> Format.spec (List.replicate count 2) (Format.CP 2) |> Result.defaultWith (failwithf "%A")
                    ] do
                    let (plansOfFew, few), (plansOfMany, many) = stepsOfCycle (network 20), stepsOfCycle (network 60)
                    Expect.isLessThanOrEqual many (4 * few) $"{name}: {few} and {many}"
                    Expect.isLessThanOrEqual plansOfMany (4 * plansOfFew) $"{name}, steps planned: {plansOfFew} and {plansOfMany}")
        ]
