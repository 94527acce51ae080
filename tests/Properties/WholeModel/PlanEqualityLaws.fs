/// When plans are equal.
module PlanEqualityLaws

open System
open System.Collections.Generic
open Expecto
open FSharp.Reflection
open TorchSharp
open TensorNets
open Generators
open SmallModels

let private model () =
    convolutions 1L [ "stem", 3L, 12L, 3L; "first", 12L, 16L, 3L; "point", 16L, 12L, 1L; "last", 12L, 4L, 3L ]

let private made =
    lazy
        (use _ = torch.NewDisposeScope()
         use model = model ()

         CompressionPlan.make (Budget.ParameterRatio 2.0) CompressionPlan.defaults [ 1L; 3L; 8L; 8L ] model
         |> ok)

/// The plan with other numbers in place of those that may be unknown, NaN in place of some.
let private renumbered (seed: int) (plan: CompressionPlan) : CompressionPlan =
    let random = Random seed
    let number () = if random.Next 2 = 0 then nan else random.NextDouble() * 10.0

    { plan with
        Layers =
            [
                for layer in plan.Layers do
                    { layer with
                        Latency = number ()
                        Candidates =
                            [
                                for c in layer.Candidates -> { c with Error = number (); Damage = number (); Latency = number () }
                            ]
                    }
            ]
    }

/// The same in lists of another kind.
let private inArrays (plan: CompressionPlan) : CompressionPlan =
    { plan with
        Input = Seq.toArray plan.Input
        Layers =
            [|
                for layer in plan.Layers do
                    { layer with
                        Shape = ResizeArray layer.Shape
                        Inputs = [| for input in layer.Inputs -> ResizeArray input :> IReadOnlyList<_> |]
                        Candidates = Seq.toArray layer.Candidates
                    }
            |]
    }

let private isNumberless (plan: CompressionPlan) = plan.Layers |> Seq.exists (fun layer -> Double.IsNaN layer.Latency)

let private same (what: string) (a: CompressionPlan) (b: CompressionPlan) =
    Expect.isTrue ((a = b) && a.Equals b && EqualityComparer.Default.Equals(a, b)) what
    Expect.equal (hash a) (hash b) $"{what}: hash"

let private itself =
    testPropertyWithConfig
        config
        "a plan equals itself from JSON and back, and in lists of another kind, where numbers are NaN too"
        (fun seed ->
            let plan = renumbered seed made.Value
            same "itself" plan plan
            same "JSON and back" (plan |> CompressionPlan.toJson |> CompressionPlan.ofJson |> ok) plan
            same "arrays" (inArrays plan) plan

            FsCheck.FSharp.Prop.classify (isNumberless plan) "a layer's time is NaN" true)

/// Every field of a record changed by itself, and what it is called.
let private candidates (c: PlanCandidate) =
    let other (x: float) = if Double.IsNaN x then 1.0 else nan

    [
        "Axes", { c with Axes = if c.Axes = KernelAxes.Fused then KernelAxes.Separate else KernelAxes.Fused }
        "Format", { c with Format = Format.CP 99 }
        "Bits", { c with Bits = c.Bits + 1 }
        "Parameters", { c with Parameters = c.Parameters + 1L }
        "Bytes", { c with Bytes = c.Bytes + 1L }
        "Flops", { c with Flops = c.Flops + 1L }
        "Error", { c with Error = other c.Error }
        "Damage", { c with Damage = other c.Damage }
        "Latency", { c with Latency = other c.Latency }
    ]

let private layers (l: PlannedLayer) =
    [
        "Path", { l with Path = l.Path + "." }
        "Kind", { l with Kind = l.Kind + "." }
        "Shape", { l with Shape = [ yield! l.Shape; 1L ] }
        "Geometry", { l with Geometry = { l.Geometry with Groups = l.Geometry.Groups + 1L } }
        "Inputs", { l with Inputs = [ yield! l.Inputs; [ 1L ] ] }
        "Parameters", { l with Parameters = l.Parameters + 1L }
        "Flops", { l with Flops = l.Flops + 1L }
        "Latency", { l with Latency = (if Double.IsNaN l.Latency then 1.0 else nan) }
        "Candidates", { l with Candidates = List.tail (List.ofSeq l.Candidates) }
        "Chosen", { l with Chosen = l.Chosen + 1 }
        "Kept", { l with Kept = l.Kept + "." }
    ]

let private plans (p: CompressionPlan) =
    [
        "Input", { p with Input = [ yield! p.Input; 1L ] }
        "Measure", { p with Measure = p.Measure + "." }
        "OtherParameters", { p with OtherParameters = p.OtherParameters + 1L }
        "Layers", { p with Layers = List.rev (List.ofSeq p.Layers) }
    ]

let private different =
    testCase "plans that differ in any one field are unequal, and no field is forgotten" (fun () ->
        let plan = made.Value
        let at = plan.Layers |> Seq.findIndex _.IsFactorized
        let layer = plan.Layers[at]
        let withLayer changed = { plan with Layers = List.updateAt at changed (List.ofSeq plan.Layers) }
        let withCandidate changed = withLayer { layer with Candidates = List.updateAt 0 changed (List.ofSeq layer.Candidates) }
        let names (record: Type) = [ for field in FSharpType.GetRecordFields record -> field.Name ]

        for record, changed in
            [
                typeof<PlanCandidate>, [ for name, c in candidates layer.Candidates[0] -> name, withCandidate c ]
                typeof<PlannedLayer>, [ for name, l in layers layer -> name, withLayer l ]
                typeof<CompressionPlan>, plans plan
            ] do
            Expect.equal (List.map fst changed) (names record) record.Name

            for name, other in changed do
                Expect.isFalse (plan = other || other = plan || plan.Equals other) $"{record.Name}.{name}")

let all = testList "equality of plans" [ itself; different ]
