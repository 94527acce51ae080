namespace TensorNets

open System.Collections.Generic

/// Which cores of a network messages pass between.
[<RequireQualifiedAccess>]
module internal NearCores =
    /// The cores that each core shares axes of dimension above 1 with, and those axes.
    let find (spec: Spec) : (int * Axis list)[][] =
        let cores = List.toArray spec.Cores
        let carriers = Dictionary<Axis, List<int>>()

        for i, core in Array.indexed cores do
            for axis in core.Axes do
                if spec.Dims[axis] > 1 then
                    match carriers.TryGetValue axis with
                    | true, found -> found.Add i
                    | _ -> carriers[axis] <- List [ i ]

        cores
        |> Array.mapi (fun i core ->
            [|
                for axis in core.Axes do
                    if spec.Dims[axis] > 1 then
                        for other in carriers[axis] do
                            if other <> i then
                                other, axis
            |]
            |> Array.groupBy fst
            |> Array.map (fun (other, shared) -> other, shared |> Array.map snd |> Array.toList))

    /// The axes of dimension above 1 that every core carries: nothing that leaves out one core tells their copies apart.
    let everywhere (spec: Spec) : Axis list =
        spec.Cores
        |> List.map (fun core -> Set.ofList core.Axes)
        |> Set.intersectMany
        |> Set.filter (fun axis -> spec.Dims[axis] > 1)
        |> Set.toList

    /// Cores of any network as trees, by the messages that each one's goes into when they are absorbed one after the other: those above and
    /// below each core, and the axes of dimension above 1 that the two sides share.
    let absorbed (spec: Spec) : (int * Axis list)[][] =
        let single = HashSet(spec.Output @ everywhere spec)

        let size axis =
            let n = float spec.Dims[axis]
            if single.Contains axis then n else n * n

        let order =
            [| for core in spec.Cores -> core.Axes |> List.filter (fun axis -> spec.Dims[axis] > 1) |]
            |> CoreElimination.order size

        let edges = dict [ for absorbed in order -> absorbed.Core, absorbed.Edge ]
        let near = Array.init spec.Cores.Length (fun _ -> List())

        for absorbed in order do
            for other in absorbed.Behind do
                near[absorbed.Core].Add(other, edges[other])
                near[other].Add(absorbed.Core, edges[other])

        near |> Array.map _.ToArray()
