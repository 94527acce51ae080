namespace TensorNets

open System
open System.Collections.Generic

/// A layer at the size of its input: what stages are sought and worked out for.
[<NoEquality; NoComparison>]
type internal SizedLayer =
    {
        Setting: Setting
        Geometry: ConvGeometry
        Roles: AxisRoles
        Spec: Spec
        Images: int64
        /// The spatial size of the input.
        Input: int64 list
    }

    /// Every core: sets of cores are bits.
    member this.All = (1 <<< this.Spec.Cores.Length) - 1
    member this.Size(axes: Axis seq) = axes |> Seq.fold (fun n axis -> n * float (Spec.dim axis this.Spec)) 1.0

/// One step of a staged layer: cores, contracted first if there are several, applied as one convolution to the channels that the steps
/// before it have left.
type internal Stage =
    {
        /// The tensor that is applied: the axes that pass through and that it carries, then new and summed ones in the order of a weight,
        /// then kernel axes.
        Weight: Plan
        /// The channel axes as this stage reads them: those that pass through, then those summed.
        Before: Axis list
        /// The channel axes that come out: those that pass through, then those that are new.
        After: Axis list
        PassThrough: Axis list
        /// Whether the weight carries an axis that passes through; along the others it is the same.
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
module internal StageSearch =
    /// Networks of more cores than this are not staged: the search visits all pairs of disjoint sets.
    let most = 8

    /// The cores of a set of places.
    let private members (spec: Spec) (set: int) =
        spec.Cores |> List.indexed |> List.filter (fun (i, _) -> set &&& (1 <<< i) <> 0) |> List.map snd

    let private axesOf (cores: Core list) = cores |> List.collect _.Axes |> List.distinct

    /// What is known of a set of cores to be applied at once.
    type private Part = { Cores: Core list; Axes: Axis list; Dims: int list; Seconds: float }

    /// Channel axes alive once a set of cores has been applied: those of the input or of the set that are still needed.
    let private alive (q: SizedLayer) (set: int) : Axis list =
        let needed = q.Roles.Group @ q.Roles.Outputs @ axesOf (members q.Spec (q.All &&& ~~~set)) |> Set.ofList
        let kernel = q.Roles.Kernel |> List.map fst |> Set.ofList

        q.Roles.Group @ q.Roles.Inputs @ axesOf (members q.Spec set)
        |> List.distinct
        |> List.filter (fun axis -> needed.Contains axis && not (kernel.Contains axis))

    /// A set of cores as one tensor, or None where a kernel axis runs on outside it.
    let private part (q: SizedLayer) (set: int) : Part option =
        let cores, others = members q.Spec set, members q.Spec (q.All &&& ~~~set)
        let inside, outside = axesOf cores, Set.ofList (axesOf others)
        let kernel = q.Roles.Kernel |> List.filter (fun (axis, _) -> List.contains axis inside)

        let axes = inside |> List.filter (fun axis -> outside.Contains axis || Spec.isOpen axis q.Spec)
        let grows = q.Size axes > (cores |> List.sumBy (fun core -> q.Size core.Axes))

        if kernel |> List.exists (fun (axis, _) -> outside.Contains axis) || q.Setting.KeepsSize && grows then
            None
        else
            let plan = Plan.make Order.Auto (Spec.make q.Spec.Dims cores axes)

            Some
                {
                    Cores = cores
                    Axes = axes
                    Dims = kernel |> List.collect snd
                    Seconds = if q.Setting.CachesWeights || cores.Length = 1 then 0.0 else TimeModel.contraction plan
                }

    /// Spatial dimensions that no kernel axis runs over, which the first stage takes along.
    let private loose (q: SizedLayer) : int list =
        let taken = q.Roles.Kernel |> List.collect snd |> Set.ofList
        [ 0 .. q.Geometry.Kernel.Length - 1 ] |> List.filter (fun i -> not (taken.Contains i))

    /// The dimensions done once a set of cores has been applied.
    let private finished (q: SizedLayer) (set: int) : int list =
        if set = 0 then
            []
        else
            let inside = axesOf (members q.Spec set)
            let run = q.Roles.Kernel |> List.filter (fun (axis, _) -> List.contains axis inside)
            loose q @ List.collect snd run

    /// The positions of all images once some dimensions are done.
    let private positions (q: SizedLayer) (finished: int list) : float =
        q.Input
        |> List.mapi (fun i n -> if List.contains i finished then ConvGeometry.along q.Geometry i n else n)
        |> List.fold (fun p n -> p * float n) (float q.Images)

    /// FLOPs and seconds of a part applied to what a set of cores has left.
    let private step (q: SizedLayer) (before: int) (part: Part) (after: int) : float * float =
        let g = q.Geometry
        let has = alive q before
        let will = alive q after |> Set.ofList
        let passing, summed = has |> List.partition will.Contains
        let fresh = part.Axes |> List.filter (fun axis -> will.Contains axis && not (List.contains axis has))
        let dims = part.Dims @ (if before = 0 then loose q else [])
        let inside, outside = positions q (finished q before), positions q (finished q after)

        let work =
            {
                Groups = q.Size passing
                Summed = q.Size summed
                Fresh = q.Size fresh
                Kernel = dims |> List.fold (fun p i -> p * float g.Kernel[i]) 1.0
                Inside = inside
                Outside = outside
                Applied = if g.Transposed then inside else outside
            }

        let call =
            if q.Setting.ByKernels then TorchConvolution.kernelCall g dims q.Images work q.Input else ValueNone

        work.Flops, TimeModel.convolution call work + part.Seconds

    /// The parts to apply in order, their estimated seconds and FLOPs. The whole kernel at once is not among them unless there is one core.
    let private search (q: SizedLayer) : (float * float * (int * Part) list) option =
        let all = q.All

        let parts =
            Array.init (all + 1) (fun set -> if set = 0 || (set = all && q.Spec.Cores.Length > 1) then None else part q set)

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
                        let f, s = step q before part after
                        let known, _, _ = best[after]

                        if seconds + s < known then
                            best[after] <- seconds + s, flops + f, (set, part) :: path
                    | None -> ()

                    set <- (set - 1) &&& rest

        let seconds, flops, path = best[all]
        if Double.IsInfinity seconds then None else Some(seconds, flops, List.rev path)

    /// One stage: a part between the channel axes that come in (`state`) and those that live on (`will`). `life`: how long an axis
    /// lives.
    let private stage (q: SizedLayer) (isFirst: bool) (life: Axis -> int) (state: Axis list) (will: Set<Axis>) (part: Part) : Stage =
        let passing, summed = state |> List.partition will.Contains

        let fresh =
            part.Axes
            |> List.filter (fun axis -> will.Contains axis && not (List.contains axis state))
            |> List.sortBy (fun axis -> -(life axis))

        let kernel = q.Roles.Kernel |> List.map fst |> List.filter (fun axis -> List.contains axis part.Axes)
        let carried = Set.ofList part.Axes
        let shared = passing |> List.filter carried.Contains
        let channels = if q.Geometry.Transposed then summed @ fresh else fresh @ summed

        // A summed axis that the part lacks cannot be: it would be needed further on.
        let output = shared @ channels @ kernel
        let named axes = axes |> List.map Axis.name |> String.concat ","
        let pointwise = part.Dims.IsEmpty && (not isFirst || (loose q).IsEmpty)
        let cores = part.Cores |> List.map _.Name |> String.concat ","

        {
            Weight = Plan.make Order.Auto (Spec.make q.Spec.Dims part.Cores output)
            Before = passing @ summed
            After = passing @ fresh
            PassThrough = passing
            Carried = carried.Contains
            Summed = summed
            New = fresh
            Dims = List.sort (part.Dims @ (if isFirst then loose q else []))
            Key = String.concat ";" [ cores; named output; named passing; named summed; string pointwise ]
        }

    /// The stages of parts, with the channel axes ordered so that the ones summed next stand last.
    let private build (q: SizedLayer) (path: (int * Part) list) : Stage list =
        let sets = path |> List.scan (fun applied (set, _) -> applied ||| set) 0
        let living = sets |> List.map (alive q >> Set.ofList)
        let outputs = q.Roles.Group @ q.Roles.Outputs

        /// The last point at which an axis is alive; output axes live longest, the first of them beyond all others.
        let life axis =
            match List.tryFindIndex ((=) axis) outputs with
            | Some i -> living.Length + outputs.Length - i
            | None -> living |> List.tryFindIndexBack (fun set -> set.Contains axis) |> Option.defaultValue 0

        (q.Roles.Group @ q.Roles.Inputs, List.zip path living.Tail)
        ||> List.mapFold (fun state ((set, part), will) ->
            let made = stage q (set = fst path.Head) life state will part
            made, made.After)
        |> fst

    /// The stages of a layer, with estimated seconds and FLOPs of all images; None where a network cannot be staged.
    let plan (q: SizedLayer) : (Stage list * float * float) option =
        if q.Spec.Cores.Length > most || q.Geometry.Kernel.IsEmpty then
            None
        else
            search q
            |> Option.map (fun (seconds, flops, path) ->
                let weights =
                    path
                    |> List.sumBy (fun (_, part) ->
                        if q.Setting.CachesWeights || part.Cores.Length = 1 then
                            0.0
                        else
                            (Plan.make Order.Auto (Spec.make q.Spec.Dims part.Cores part.Axes)).Flops)

                build q path, seconds, flops + weights)
