namespace TensorNets

open System
open System.Collections.Generic

/// One step of a staged layer: cores, contracted first if there are several, applied as one convolution to the channels that have come so far.
type internal Stage =
    {
        /// The tensor that is applied: axes kept (but for spectators), then new and summed ones in the order of a weight, then kernel axes.
        Weight: Plan
        /// The channel axes as this stage reads them: those kept, then those summed.
        Before: Axis list
        /// The channel axes that come out: those kept, then those that are new.
        After: Axis list
        Kept: Axis list
        /// Whether the weight carries an axis kept; along the others it is the same.
        Carried: Axis -> bool
        Summed: Axis list
        New: Axis list
        /// The spatial dimensions that this stage runs over.
        Dims: int list
        /// The same for stages with the same weight.
        Key: string
    }

/// A search over the ways to apply a network core by core, or group by group, by estimated time.
[<RequireQualifiedAccess>]
module internal Stages =
    /// Networks of more cores than this are not staged: the search visits all pairs of disjoint sets.
    let most = 8

    let private size (spec: Spec) (axes: Axis seq) = axes |> Seq.fold (fun n axis -> n * float (Spec.dim axis spec)) 1.0

    /// The cores of a set of places.
    let private members (spec: Spec) (set: int) =
        spec.Cores |> List.indexed |> List.filter (fun (i, _) -> set &&& (1 <<< i) <> 0) |> List.map snd

    let private axesOf (cores: Core list) = cores |> List.collect _.Axes |> List.distinct

    /// What is known of a set of cores to be applied at once.
    type private Part = { Cores: Core list; Axes: Axis list; Dims: int list; Seconds: float }

    /// Channel axes alive once a set of cores has been applied: those of the input or of the set that are still needed.
    let private alive (roles: Roles) (spec: Spec) (set: int) =
        let all = (1 <<< spec.Cores.Length) - 1
        let needed = roles.Group @ roles.Outputs @ axesOf (members spec (all &&& ~~~set)) |> Set.ofList
        let kernel = roles.Kernel |> List.map fst |> Set.ofList

        roles.Group @ roles.Inputs @ axesOf (members spec set)
        |> List.distinct
        |> List.filter (fun axis -> needed.Contains axis && not (kernel.Contains axis))

    /// A set of cores as one tensor, or None where a kernel axis runs on outside it.
    let private part (kept: bool) (roles: Roles) (spec: Spec) (set: int) : Part option =
        let all = (1 <<< spec.Cores.Length) - 1
        let cores, others = members spec set, members spec (all &&& ~~~set)
        let inside, outside = axesOf cores, Set.ofList (axesOf others)
        let kernel = roles.Kernel |> List.filter (fun (axis, _) -> List.contains axis inside)

        if kernel |> List.exists (fun (axis, _) -> outside.Contains axis) then
            None
        else
            let axes = inside |> List.filter (fun axis -> outside.Contains axis || Spec.isOpen axis spec)
            let plan = Plan.make Order.Auto (Spec.make spec.Dims cores axes)

            Some
                {
                    Cores = cores
                    Axes = axes
                    Dims = kernel |> List.collect snd
                    Seconds = if kept || cores.Length = 1 then 0.0 else Cost.contraction plan
                }

    /// Spatial dimensions that no kernel axis runs over, which the first stage takes along.
    let private loose (g: ConvGeometry) (roles: Roles) =
        let taken = roles.Kernel |> List.collect snd |> Set.ofList
        [ for i in 0 .. g.Kernel.Length - 1 -> i ] |> List.filter (fun i -> not (taken.Contains i))

    /// The dimensions done once a set of cores has been applied.
    let private finished g (roles: Roles) spec set =
        if set = 0 then
            []
        else
            loose g roles
            @ (roles.Kernel
               |> List.filter (fun (axis, _) -> List.contains axis (axesOf (members spec set)))
               |> List.collect snd)

    let private positions (g: ConvGeometry) (input: int64 list) (finished: int list) =
        input
        |> List.mapi (fun i n -> if List.contains i finished then ConvGeometry.along g i n else n)
        |> List.fold (fun p n -> p * float n) 1.0

    /// Multiplications and seconds of a part applied to what a set of cores has left.
    let private step single g roles spec (images: int64) input (before: int) (part: Part) (after: int) =
        let has = alive roles spec before
        let will = alive roles spec after |> Set.ofList
        let kept = has |> List.filter will.Contains |> size spec
        let summed = has |> List.filter (fun axis -> not (will.Contains axis)) |> size spec

        let fresh =
            part.Axes
            |> List.filter (fun axis -> will.Contains axis && not (List.contains axis has))
            |> size spec

        let dims = part.Dims @ (if before = 0 then loose g roles else [])
        let kernel = dims |> List.fold (fun p i -> p * float g.Kernel[i]) 1.0
        let inside = float images * positions g input (finished g roles spec before)
        let outside = float images * positions g input (finished g roles spec after)
        let applied = if g.Transposed then inside else outside

        let maker = Engine.maker single g dims images (int64 kept) (int64 summed) (int64 fresh) input

        2.0 * applied * kept * summed * fresh * kernel,
        Cost.convolution maker kept summed fresh kernel inside outside applied + part.Seconds

    /// The parts to apply in order, their estimated seconds and FLOPs. The whole kernel at once is not among them unless there is one core.
    let private search (setting: Setting) (g: ConvGeometry) (roles: Roles) (spec: Spec) (images: int64) (input: int64 list) =
        let n = spec.Cores.Length
        let all = (1 <<< n) - 1

        let parts =
            Array.init (all + 1) (fun set -> if set = 0 || (set = all && n > 1) then None else part setting.Kept roles spec set)

        let best = Array.create (all + 1) (infinity, 0.0, [])
        best[0] <- 0.0, 0.0, []

        for before in 0 .. all - 1 do
            let seconds, flops, path = best[before]

            if not (Double.IsInfinity seconds) then
                let rest = all &&& ~~~before
                let mutable set = rest

                while set > 0 do
                    match parts[set] with
                    | Some part ->
                        let after = before ||| set
                        let f, s = step setting.Single g roles spec images input before part after
                        let known, _, _ = best[after]

                        if seconds + s < known then
                            best[after] <- seconds + s, flops + f, (set, part) :: path
                    | None -> ()

                    set <- (set - 1) &&& rest

        let seconds, flops, path = best[all]
        if Double.IsInfinity seconds then None else Some(seconds, flops, List.rev path)

    /// The stages of parts, with the channel axes ordered so that the ones summed next stand last.
    let private build (g: ConvGeometry) (roles: Roles) (spec: Spec) (path: (int * Part) list) : Stage list =
        let sets = path |> List.scan (fun done' (set, _) -> done' ||| set) 0
        let living = sets |> List.map (alive roles spec >> Set.ofList)

        /// The last point at which an axis is alive; output axes, in their order, live longest.
        let life axis =
            match List.tryFindIndex ((=) axis) (roles.Group @ roles.Outputs) with
            | Some i -> 1000 - i
            | None -> living |> List.tryFindIndexBack (fun set -> set.Contains axis) |> Option.defaultValue 0

        let mutable state = roles.Group @ roles.Inputs

        [
            for i, (_, part) in List.indexed path do
                let will = living[i + 1]
                let kept, summed = state |> List.partition will.Contains

                let fresh =
                    part.Axes
                    |> List.filter (fun axis -> will.Contains axis && not (List.contains axis state))
                    |> List.sortBy (fun axis -> -(life axis))

                let kernel = roles.Kernel |> List.map fst |> List.filter (fun axis -> List.contains axis part.Axes)
                let carried = Set.ofList part.Axes
                let shared = kept |> List.filter carried.Contains
                let channels = if g.Transposed then summed @ fresh else fresh @ summed

                // A summed axis that the part lacks cannot be: it would be needed further on.
                let output = shared @ channels @ kernel
                let named axes = axes |> List.map Axis.name |> String.concat ","
                let pointwise = part.Dims.IsEmpty && (i > 0 || (loose g roles).IsEmpty)

                {
                    Weight = Plan.make Order.Auto (Spec.make spec.Dims part.Cores output)
                    Before = kept @ summed
                    After = kept @ fresh
                    Kept = kept
                    Carried = carried.Contains
                    Summed = summed
                    New = fresh
                    Dims = List.sort (part.Dims @ (if i = 0 then loose g roles else []))
                    Key =
                        String.concat
                            ";"
                            [
                                part.Cores |> List.map _.Name |> String.concat ","
                                named output
                                named kept
                                named summed
                                string pointwise
                            ]
                }

                state <- kept @ fresh
        ]

    /// The stages for images of a size, with estimated seconds and FLOPs of all images; None where a network cannot be staged.
    let plan
        (setting: Setting)
        (g: ConvGeometry)
        (roles: Roles)
        (spec: Spec)
        (images: int64)
        (input: int64 list)
        : (Stage list * float * float) option =
        if spec.Cores.Length > most || g.Kernel.IsEmpty then
            None
        else
            search setting g roles spec images input
            |> Option.map (fun (seconds, flops, path) ->
                let weights =
                    path
                    |> List.sumBy (fun (_, part) ->
                        if setting.Kept || part.Cores.Length = 1 then
                            0.0
                        else
                            (Plan.make Order.Auto (Spec.make spec.Dims part.Cores part.Axes)).Flops)

                build g roles spec path, seconds, flops + weights)
