namespace TensorNets

open System.Collections.Generic

/// A core that is absorbed with the messages that touch it: together they become one message.
type internal Absorbed =
    {
        /// The place of the core.
        Core: int
        /// The places of the cores whose messages go into it.
        Behind: int list
        /// The axes of the message: those that other cores or messages carry too.
        Edge: Axis list
    }

/// An order in which the cores of a network are absorbed one after the other, each time the one that leaves the smallest boundary. Each
/// core's message goes into one later core at most, so that the cores form trees.
[<RequireQualifiedAccess>]
module internal CoreElimination =
    /// What is left of a network on the way: cores, each by its place, and messages, each by the place of the core absorbed last.
    type private Remainder(cores: Axis list[]) =
        let edges = Dictionary<int, Axis list>()
        let messages = Dictionary<Axis, HashSet<int>>()
        let carriers = Dictionary<Axis, int>()

        do
            for axis, count in cores |> Seq.collect id |> Seq.countBy id do
                messages[axis] <- HashSet()
                carriers[axis] <- count

        /// What a core is absorbed with.
        member _.Absorbed(core: int) : Absorbed =
            let behind = cores[core] |> List.collect (fun axis -> List.ofSeq messages[axis]) |> List.distinct
            let parts = cores[core] :: [ for message in behind -> edges[message] ]
            let inside = parts |> List.collect id |> List.countBy id

            {
                Core = core
                Behind = behind
                Edge = inside |> List.filter (fun (axis, n) -> carriers[axis] > n) |> List.map fst
            }

        member _.Absorb(absorbed: Absorbed) =
            let leave axis = carriers[axis] <- carriers[axis] - 1
            cores[absorbed.Core] |> List.iter leave

            for message in absorbed.Behind do
                for axis in edges[message] do
                    leave axis
                    messages[axis].Remove message |> ignore

            edges[absorbed.Core] <- absorbed.Edge

            for axis in absorbed.Edge do
                carriers[axis] <- carriers[axis] + 1
                messages[axis].Add absorbed.Core |> ignore

    /// The order for cores with the given axes; `size`: how much an axis adds to a message, as a factor.
    let order (size: Axis -> float) (cores: Axis list[]) : Absorbed list =
        let remainder = Remainder cores
        let rest = SortedSet<int>(Seq.init cores.Length id)

        let carriers =
            cores
            |> Seq.indexed
            |> Seq.collect (fun (i, axes) -> axes |> Seq.map (fun axis -> axis, i))
            |> Seq.groupBy fst
            |> Seq.map (fun (axis, places) -> axis, places |> Seq.map snd |> Seq.toArray)
            |> dict

        let boundary core = (remainder.Absorbed core).Edge |> List.fold (fun product axis -> product * size axis) 1.0
        let boundaries = Array.init cores.Length boundary

        [
            while rest.Count > 0 do
                let absorbed = rest |> Seq.minBy (fun core -> boundaries[core]) |> remainder.Absorbed
                remainder.Absorb absorbed
                rest.Remove absorbed.Core |> ignore

                for core in absorbed.Edge |> Seq.collect (fun axis -> carriers[axis]) |> Seq.distinct do
                    if rest.Contains core then
                        boundaries[core] <- boundary core

                absorbed
        ]
