/// The rewrites that say the same in other axes or cores, against loops over every index.
module RewriteLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden
open NetworkLaws
open CopyLaws

let private pick (seed: int) (list: 'a list) = list[seed % list.Length]

/// The network with another list of dimensions or axes for one axis.
let private respec dims (change: Core -> Axis list) (output: Axis list) (spec: Spec) =
    Spec.create dims (spec.Cores |> List.map (fun core -> { core with Axes = change core })) output
    |> specOk

let private axes =
    testList
        "axes"
        [
            law "fusing axes reshapes T" (fun (case: AnyNetwork) ->
                if not case.Spec.Dims.IsEmpty then
                    // One axis x becomes p and q, apart and in any order in the cores, side by side in the output.
                    let x = case.Spec.Dims |> Map.toList |> List.map fst |> pick case.Seed
                    let p, q, w = Axis "p", Axis "q", Axis "w"
                    let random = System.Random case.Seed

                    let dims =
                        (p, random.Next(1, 4)) :: (q, random.Next(1, 4)) :: (Map.remove x case.Spec.Dims |> Map.toList)

                    let apart (core: Core) =
                        let place = random.Next(core.Axes.Length + 1)

                        if List.contains x core.Axes then
                            core.Axes |> List.map (fun axis -> if axis = x then p else axis) |> List.insertAt place q
                        else
                            core.Axes

                    let output = case.Spec.Output |> List.collect (fun axis -> if axis = x then [ p; q ] else [ axis ])
                    let network = respec dims apart output case.Spec |> randomNetwork case.Seed
                    let fused = NetworkRewrite.fuse [ p; q ] w network |> ok
                    Expect.equal (SpecRewrite.fuse [ p; q ] w network.Spec) (Ok fused.Spec) "the rewrite of the spec"
                    Expect.equal fused.Spec.Dims[w] (network.Spec.Dims[p] * network.Spec.Dims[q]) "dimension"
                    let expected = output |> List.filter ((<>) q) |> List.map (fun axis -> if axis = p then w else axis)
                    Expect.equal fused.Spec.Output expected "output"
                    let t = oracle network.Spec network
                    same (tensorAndFresh network fused) (t.reshape (Spec.shape fused.Spec |> List.toArray)) "T")
            law "splitting an axis reshapes T, and fusing takes it back" (fun (case: AnyNetwork) ->
                if not case.Spec.Dims.IsEmpty then
                    let x = case.Spec.Dims |> Map.toList |> List.map fst |> pick case.Seed
                    let parts = pick case.Seed [ [ 2; 2 ]; [ 3; 2 ]; [ 2; 1; 2 ]; [ 1; 3 ]; [ 5 ] ]
                    let dims = case.Spec.Dims |> Map.add x (List.fold (*) 1 parts) |> Map.toList
                    let network = respec dims _.Axes case.Spec.Output case.Spec |> randomNetwork case.Seed
                    let parts = parts |> List.mapi (fun i dim -> Axis $"p{i}", dim)
                    let split = NetworkRewrite.split x parts network |> ok
                    Expect.equal (SpecRewrite.split x parts network.Spec) (Ok split.Spec) "the rewrite of the spec"
                    let back = NetworkRewrite.fuse (List.map fst parts) x split |> ok
                    Expect.equal back.Spec network.Spec "fused again"
                    Seq.iter2 (fun a b -> Expect.isTrue (identical a b) "the numbers of the fused cores") back.Cores network.Cores
                    let t = oracle network.Spec network
                    same (tensorAndFresh network split) (t.reshape (Spec.shape split.Spec |> List.toArray)) "T")
            law "an axis of dimension 1 may be split into none" (fun (case: AnyNetwork) ->
                for KeyValue(axis, dim) in case.Spec.Dims do
                    if dim = 1 then
                        let network = randomNetwork case.Seed case.Spec
                        let split = NetworkRewrite.split axis [] network |> ok
                        Expect.isFalse (split.Spec.Dims.ContainsKey axis) "the axis is gone"
                        let t = oracle network.Spec network
                        same (oracle split.Spec split) (t.reshape (Spec.shape split.Spec |> List.toArray)) "T")
            law "permuting the output permutes T" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                let order = [| 0 .. case.Spec.Output.Length - 1 |]
                System.Random(case.Seed).Shuffle order
                let output = [ for i in order -> case.Spec.Output[i] ]
                let permuted = NetworkRewrite.permute output network |> ok
                Expect.equal (SpecRewrite.permute output case.Spec) (Ok permuted.Spec) "the rewrite of the spec"
                let t = oracle case.Spec network
                same (tensorAndFresh network permuted) (t.permute (Array.map int64 order)) "T")
        ]

let private cores =
    testList
        "cores"
        [
            law "merging two cores leaves T" (fun (case: AnyNetwork) ->
                if case.Cores.Length > 1 then
                    let network = randomNetwork case.Seed case.Spec
                    let names = case.Spec.Cores |> List.map _.Name
                    let first = pick case.Seed names
                    let second = pick (case.Seed / 7) (List.except [ first ] names)
                    let merged = NetworkRewrite.merge first second "M" network |> ok
                    Expect.equal (SpecRewrite.merge first second "M" case.Spec) (Ok merged.Spec) "the rewrite of the spec"

                    let both, others =
                        case.Spec.Cores |> List.partition (fun core -> core.Name = first || core.Name = second)

                    let core = merged.Spec.Cores |> List.find (fun core -> core.Name = "M")
                    let carried (list: Core list) = list |> List.collect _.Axes |> Set.ofList
                    let kept = Set.intersect (carried both) (Set.union (carried others) (Set.ofList case.Spec.Output))
                    Expect.equal (Set.ofList core.Axes) kept "what only the two carry is summed"
                    Expect.equal (merged.Spec.Cores.Length) (names.Length - 1) "one core fewer"
                    same (tensorAndFresh network merged) (oracle case.Spec network) "T")
            law "a gauge on any ordinary bond leaves T" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec

                for bond in Spec.bonds case.Spec do
                    if (Spec.carriers bond case.Spec).Length = 2 then
                        let n = int64 (Spec.dim bond case.Spec)
                        let noise = (noise case.Seed [ n; n ]).mul(Num.tensor 0.3)
                        let matrix = torch.eye(n, dtype = torch.float64).mul(Num.tensor 2.0).plus(noise)
                        let at = { Bond = bond; Core = "M"; Fresh = Axis "z" }
                        let gauged = NetworkRewrite.insertGauge at matrix network |> ok
                        Expect.equal (SpecRewrite.insertGauge at case.Spec) (Ok gauged.Spec) "the rewrite of the spec"
                        Expect.isTrue (identical gauged["M"] matrix) "the new core is the matrix"

                        for axis in [ bond; Axis "z" ] do
                            Expect.equal (Spec.carriers axis gauged.Spec).Length 2 "both are ordinary bonds"

                        same (tensorAndFresh network gauged) (oracle case.Spec network) "T")
            law "gradients reach the original through every rewrite" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec

                for core in network.Cores do
                    core.requires_grad_ true |> ignore

                let permuted = NetworkRewrite.permute (List.rev case.Spec.Output) network |> ok
                let closed, _ = NetworkRewrite.inner permuted network |> ok
                (Contraction.reconstruct closed).backward()
                let found = network.Cores |> Seq.map (fun core -> entries (nonNull core.grad)) |> Seq.toList

                for core in network.Cores do
                    (nonNull core.grad).zero_() |> ignore

                (Contraction.reconstruct network).squared().sum().backward()

                Seq.iter2
                    (fun (core: torch.Tensor) (values: float[]) ->
                        same (torch.tensor(values, dtype = torch.float64).reshape core.shape) (nonNull core.grad) "gradient")
                    network.Cores
                    found)
        ]

let all = testList "rewrites" [ CopyLaws.all; axes; cores ]
