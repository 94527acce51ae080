namespace TensorNets

open System
open System.Collections.Generic

/// Intermediates of contractions that a sweep over the cores meets again: one product of the target with a core serves the blocks of all cores that it was not
/// made from. Each is kept under the key of its step until a core that it was made from changes, and only where several of the given plans make it.
[<Sealed>]
type internal IntermediateCache(plans: Plan list) =
    let shared =
        plans
        |> Seq.collect (fun plan -> plan.Steps |> Seq.map _.Key |> Seq.distinct)
        |> Seq.countBy id
        |> Seq.filter (fun (_, times) -> times > 1)
        |> Seq.map fst
        |> HashSet

    let entries = Dictionary<string, struct (Tensor * Set<string>)>()

    let drop (key: string) =
        let struct (tensor, _) = entries[key]
        entries.Remove key |> ignore
        tensor.Dispose()

    /// The number of intermediates that are kept.
    member _.Count = entries.Count

    /// What is kept of that step.
    member _.Find(key: string) : Tensor option =
        match entries.TryGetValue key with
        | true, struct (tensor, _) -> Some tensor
        | _ -> None

    /// Takes what a step has made from the named cores out of its scope, where another plan makes it as well; whether it did.
    member _.Keep(key: string, reads: Set<string>, tensor: Tensor) : bool =
        let taken = shared.Contains key

        if taken then
            entries[key] <- struct (tensor.DetachFromDisposeScope(), reads)

        taken

    /// The core of that name has changed.
    member _.Forget(core: string) =
        for key in
            [
                for entry in entries do
                    let struct (_, reads) = entry.Value

                    if reads.Contains core then
                        entry.Key
            ] do
            drop key

    /// Every core may have changed.
    member _.Clear() =
        for key in List.ofSeq entries.Keys do
            drop key

    interface IDisposable with
        member this.Dispose() = this.Clear()
