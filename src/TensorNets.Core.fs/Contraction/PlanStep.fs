namespace TensorNets

open System
open System.Collections.Generic
open System.Security.Cryptography
open System.Text

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

/// The steps of a contraction while they are added one by one.
[<Sealed>]
type internal PlanBuilder(spec: Spec) =
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
