/// Whether the random networks are worth drawing: a law that is tried on trivial cases only says nothing.
module DistributionLaws

open Expecto
open FsCheck.FSharp
open TensorNets
open Generators

let private drawn = 300

/// Each feature has to occur in this share of the cases.
let private share = 0.1

let private carriedBy (least: int) (most: int) (spec: Spec) (axis: Axis) =
    let carriers = (Spec.carriers axis spec).Length
    least <= carriers && carriers <= most

let private features: (string * (Spec -> bool)) list =
    [
        "order 0", (fun spec -> spec.Output.IsEmpty)
        "order 1 or 2", (fun spec -> spec.Output.Length = 1 || spec.Output.Length = 2)
        "order 3 or more", (fun spec -> spec.Output.Length >= 3)
        "one or two cores", (fun spec -> spec.Cores.Length <= 2)
        "four cores or more", (fun spec -> spec.Cores.Length >= 4)
        "no bonds", (fun spec -> (Spec.bonds spec).IsEmpty)
        "one or two bonds", (fun spec -> let n = (Spec.bonds spec).Length in n = 1 || n = 2)
        "three bonds or more", (fun spec -> (Spec.bonds spec).Length >= 3)
        "ordinary bonds", (fun spec -> Spec.bonds spec |> List.exists (carriedBy 2 2 spec))
        "hyperedges", (fun spec -> Spec.bonds spec |> List.exists (carriedBy 3 99 spec))
        "bonds of one core", (fun spec -> Spec.bonds spec |> List.exists (carriedBy 1 1 spec))
        "open axes in several cores", (fun spec -> spec.Output |> List.exists (carriedBy 2 99 spec))
        "axes of dimension 1", (fun spec -> spec.Dims |> Map.exists (fun _ dim -> dim = 1))
        "cores without axes", (fun spec -> spec.Cores |> List.exists (fun core -> core.Axes.IsEmpty))
    ]

let all =
    testList
        "random networks"
        [
            testCase "each feature occurs in a tenth of them" (fun () ->
                let specs = Gen.sampleWithSeed (FsCheck.Rnd 20260101UL) 50 drawn anyNetwork |> Array.map _.Spec

                let shares =
                    features
                    |> List.map (fun (name, holds) -> name, float (specs |> Array.filter holds |> Array.length) / float drawn)

                printfn "%d random networks:" drawn

                for name, found in shares do
                    printfn "  %-27s %3.0f %%" name (100.0 * found)

                let rare = shares |> List.filter (fun (_, found) -> found < share)
                Expect.isEmpty rare "features in fewer than a tenth of the cases")
            law "a failing case prints its network in text form and its seed" (fun (case: AnyNetwork) ->
                let text = $"%A{case}"
                Expect.stringContains text (Spec.print case.Spec) "text form"
                Expect.stringContains text (string case.Seed) "seed")
            law "every smaller case is a network and differs" (fun (case: AnyNetwork) ->
                for smaller in shrinkNetwork case do
                    Expect.notEqual smaller case "a case does not shrink to itself"
                    Expect.isNonEmpty smaller.Spec.Cores "cores")
        ]
