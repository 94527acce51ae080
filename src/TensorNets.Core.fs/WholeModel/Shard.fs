namespace TensorNets

open System

/// <summary>A plan dealt out to workers that know nothing of each other but the plan.</summary>
[<RequireQualifiedAccess>]
module Shard =
    /// What a layer of another worker is kept for.
    let private elsewhere = "in another shard"

    /// <summary>The paths of the factorized layers of each of <c>count</c> workers: the layers of longest predicted time first, each to the
    /// worker who has least to do so far. The same plan gives the same deal.</summary>
    /// <exception cref="T:System.ArgumentException">A count below 1.</exception>
    /// <example><code>Shard.deal 2 plan // two lists of paths</code></example>
    let deal (count: int) (plan: CompressionPlan) : string list list =
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)

        if count < 1 then
            invalidArg (nameof count) $"{count} workers; expected 1 or more."

        let hands = Array.create count (0.0, [])

        for layer in plan.Layers |> Seq.filter _.IsFactorized |> Seq.sortBy (fun layer -> -(LayerTask.cost layer)) do
            let least = hands |> Array.indexed |> Array.minBy (fun (_, (cost, _)) -> cost) |> fst
            let cost, paths = hands[least]
            hands[least] <- cost + LayerTask.cost layer, layer.Path :: paths

        [ for _, paths in hands -> List.rev paths ]

    /// <summary>The plan of one worker, counted from 1: the layers of all others stay dense. Workers with one work folder, each with its
    /// own plan, leave there what a run by the whole plan then only has to put together.</summary>
    /// <exception cref="T:System.ArgumentException">A count below 1, or an index that is not from 1 to the count.</exception>
    /// <example><code>Shard.part 1 2 plan</code></example>
    let part (index: int) (count: int) (plan: CompressionPlan) : CompressionPlan =
        ArgumentNullException.ThrowIfNull(box plan, nameof plan)
        let all = deal count plan

        if index < 1 || index > count then
            invalidArg (nameof index) $"worker {index}; expected 1 to {count}."

        let own = Set.ofList all[index - 1]

        { plan with
            Layers =
                [
                    for layer in plan.Layers ->
                        if layer.IsFactorized && not (own.Contains layer.Path) then
                            { layer with Chosen = -1; Kept = elsewhere }
                        else
                            layer
                ]
        }
