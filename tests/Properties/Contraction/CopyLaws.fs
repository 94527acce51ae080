/// The rewrites that put copies of a network, or two networks, together: environment, normSq, Gram, sensitivity terms, inner.
module CopyLaws

open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden
open NetworkLaws

/// Two networks over the same open axes, in opposite order; the second has bonds of its own dimensions under the same names.
[<StructuredFormatDisplay("{Text}")>]
type NetworkPair =
    {
        First: AnyNetwork
        Cores: int list list
        Bonds: int list
    }

    /// Open axes that no core carries are put in the last.
    member this.Second =
        let isOpen i = List.contains i this.First.Output
        let missing = this.First.Output |> List.except (List.concat this.Cores)
        let last = this.Cores.Length - 1

        { this.First with
            Dims = List.mapi2 (fun i first second -> if isOpen i then first else second) this.First.Dims this.Bonds
            Cores = this.Cores |> List.mapi (fun i core -> if i = last then core @ missing else core)
            Output = List.rev this.First.Output
        }

    member this.Text = $"{this.First.Text} and {Spec.print this.Second.Spec}"
    override this.ToString() = this.Text

let private pairs =
    let draw =
        gen {
            let! first = anyNetwork
            let axes = first.Dims.Length
            let! count = Gen.choose (1, 3)
            let! cores = Gen.listOfLength count (subset [ 0 .. axes - 1 ])
            let! bonds = Gen.listOfLength axes (Gen.choose (1, 3))
            return { First = first; Cores = cores; Bonds = bonds }
        }

    let shrink (pair: NetworkPair) =
        seq {
            for smaller in shrinkNetwork pair.First do
                { pair with First = smaller }

            if pair.Cores.Length > 1 then
                for i in 0 .. pair.Cores.Length - 1 do
                    { pair with Cores = List.removeAt i pair.Cores }

            for i in List.distinct (List.concat pair.Cores) do
                { pair with Cores = pair.Cores |> List.map (List.except [ i ]) }
        }

    Arb.fromGenShrink (draw, shrink)

let private tensorOf (spec: Spec) (values: Map<string, float[]>) =
    torch.tensor(Oracle.contract spec values, dtype = torch.float64).reshape(Spec.shape spec |> List.toArray)

/// T of a network that a rewrite made, by loops; its own cores, written over afterwards, leave those of the original as they were.
let tensorAndFresh (original: Network) (rewritten: Network) =
    let before = arrays original
    let t = oracle rewritten.Spec rewritten

    for core in rewritten.Cores do
        core.zero_ () |> ignore

    Expect.equal (arrays original) before "the original keeps its numbers"
    t

let all =
    testList
        "copies of a network"
        [
            law "the environment paired with its core is T" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec

                for core in case.Spec.Cores do
                    let environment = Spec.environment core.Name case.Spec |> specOk
                    let used = environment.Output @ core.Axes

                    // Paired by the oracle too: a network of two cores, the environment and the core.
                    let pair =
                        Spec.create
                            (Map.toList case.Spec.Dims |> List.filter (fun (axis, _) -> List.contains axis used))
                            [ { Name = "E"; Axes = environment.Output }; { core with Name = "X" } ]
                            case.Spec.Output
                        |> specOk

                    let values = Map.ofList [ "E", entries (oracle environment network); "X", entries network[core.Name] ]

                    same (tensorOf pair values) (oracle case.Spec network) core.Name)
            law "normSq is the squared norm" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                let value = (oracle (Spec.normSq case.Spec) network).number()
                sameNumber value ((oracle case.Spec network).squared().sum().number()) "normSq")
            law "the Gram pairs the environment with itself" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec

                for core in case.Spec.Cores do
                    let environment = Spec.environment core.Name case.Spec |> specOk
                    let e = entries (oracle environment network)

                    let bonds =
                        core.Axes
                        |> List.filter (fun axis -> (Spec.carriers axis case.Spec).Length > 1 && not (Spec.isOpen axis case.Spec))

                    let second (axis: Axis) = if List.contains axis bonds then Axis(axis.Name + "2") else axis
                    let shared = environment.Output |> List.filter (fun axis -> List.contains axis core.Axes)

                    let pair =
                        Spec.create
                            (environment.Output
                             |> List.collect (fun axis -> [ axis, environment.Dims[axis]; second axis, environment.Dims[axis] ])
                             |> List.distinct)
                            [
                                { Name = "E"; Axes = environment.Output }
                                { Name = "F"; Axes = List.map second environment.Output }
                            ]
                            (shared @ List.map second (shared |> List.filter (fun axis -> List.contains axis bonds)))
                        |> specOk

                    same
                        (oracle (Spec.gram core.Name case.Spec |> specOk) network)
                        (tensorOf pair (Map.ofList [ "E", e; "F", e ]))
                        core.Name)
            law "a sensitivity term is the squared norm of the Jacobian in its core" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                let cores = arrays network

                for core, (size, closed) in List.zip case.Spec.Cores (Spec.sensitivityTerms case.Spec) do
                    let value = float size * (oracle closed network).number()
                    sameNumber value (Oracle.jacobianNorm2 case.Spec cores core.Name) core.Name)
            lawOver pairs "inner is the sum of the products of entries" (fun pair ->
                let first = randomNetwork pair.First.Seed pair.First.Spec
                let second = randomNetwork (pair.First.Seed + 1) pair.Second.Spec
                let closed, names = NetworkRewrite.inner first second |> ok
                Expect.equal (SpecRewrite.inner first.Spec second.Spec) (Ok(closed.Spec, names)) "the rewrite of the spec"

                for core in second.Spec.Cores do
                    Expect.isTrue (identical closed[names[core.Name]] second[core.Name]) "the cores of the second keep their numbers"

                let reversed = [| for i in second.Spec.Output.Length - 1 .. -1 .. 0 -> int64 i |]
                let product = (oracle first.Spec first).mul((oracle second.Spec second).permute reversed)
                sameNumber ((tensorAndFresh first closed).number()) (product.sum().number()) "inner")
            law "inner of a network and itself is normSq" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                let closed, _ = NetworkRewrite.inner network network |> ok
                sameNumber ((oracle closed.Spec closed).number()) ((oracle (Spec.normSq case.Spec) network).number()) "inner")
        ]
