namespace TensorNets

open System
open System.Collections.Generic

/// Intermediates of contractions that a sweep over the cores meets again: one product of the target with a core serves the blocks of all
/// cores that it was not made from. Each is kept under the key of its step until a core that it was made from changes, and only where
/// several of the given plans make it.
[<Sealed>]
type internal IntermediateCache(plans: Plan list) =
    let shared =
        plans
        |> Seq.collect (fun plan -> plan.Steps |> Seq.map _.Key |> Seq.distinct)
        |> Seq.countBy id
        |> Seq.filter (fun (_, times) -> times > 1)
        |> Seq.map fst
        |> HashSet

    /// The cores that each of them is made from.
    let reads =
        let ofStep = Dictionary<string, Set<string>>()

        for plan in plans do
            let cores = List.toArray plan.Spec.Cores
            let steps = List.toArray plan.Steps

            let ofSlot slot =
                if slot < cores.Length then
                    Set.singleton (Spec.original cores[slot].Name)
                else
                    ofStep[steps[slot - cores.Length].Key]

            for step in steps do
                if not (ofStep.ContainsKey step.Key) then
                    ofStep[step.Key] <- step.Operands |> List.map ofSlot |> Set.unionMany

        ofStep

    let entries = Dictionary<string, Tensor>()
    let mutable made = 0

    let drop (key: string) =
        let tensor = entries[key]
        entries.Remove key |> ignore
        tensor.Dispose()

    /// The number of intermediates that are kept.
    member _.Count = entries.Count

    /// What is kept of that step.
    member _.Find(key: string) : Tensor option =
        match entries.TryGetValue key with
        | true, tensor -> Some tensor
        | _ -> None

    /// The number of steps that have been made, kept or not.
    member _.Made = made

    /// Takes what a step has made out of its scope, where another plan makes it as well; whether it did.
    member _.Keep(key: string, tensor: Tensor) : bool =
        made <- made + 1
        let taken = shared.Contains key

        if taken then
            entries[key] <- tensor.DetachFromDisposeScope()

        taken

    /// The core of that name has changed.
    member _.Forget(core: string) =
        for key in
            [
                for key in entries.Keys do
                    if reads[key].Contains core then
                        key
            ] do
            drop key

    /// Every core may have changed.
    member _.Clear() =
        for key in List.ofSeq entries.Keys do
            drop key

    interface IDisposable with
        member this.Dispose() = this.Clear()
