namespace TensorNets

open System.Collections.Generic
open TorchSharp

/// Truncated singular value decompositions of trees.
[<RequireQualifiedAccess>]
module internal TreeSvd =
    let private linksOf (core: Core) (spec: Spec) = core.Axes |> List.filter (fun axis -> not (Spec.isOpen axis spec))

    /// Cores joined by ordinary bonds, every axis where it belongs to one place, without cycles and in one piece.
    let isTree (spec: Spec) =
        let links = Spec.bonds spec

        let rec reach seen (core: Core) =
            if Set.contains core.Name seen then
                seen
            else
                linksOf core spec
                |> List.collect (fun axis -> Spec.carriers axis spec)
                |> List.fold reach (Set.add core.Name seen)

        links |> List.forall (fun axis -> (Spec.carriers axis spec).Length = 2)
        && spec.Output |> List.forall (fun axis -> (Spec.carriers axis spec).Length = 1)
        && links.Length = spec.Cores.Length - 1
        && (reach Set.empty spec.Cores.Head).Count = spec.Cores.Length

    /// The core on the far side of a bond.
    let private behind (spec: Spec) (from: Core) (axis: Axis) : Core =
        Spec.carriers axis spec |> List.find (fun core -> core.Name <> from.Name)

    /// The open axes on the far side of a bond.
    let rec openAxesBehind (spec: Spec) (from: Core) (axis: Axis) : Axis list =
        let next = behind spec from axis

        next.Axes
        |> List.collect (fun a ->
            if a = axis then []
            elif Spec.isOpen a spec then [ a ]
            else openAxesBehind spec next a)

    /// The target as a matrix: some of its axes as rows, the others as columns.
    let unfolding (spec: Spec) (rows: Axis list) (target: Tensor) : Tensor =
        (target.permute [| for axis in rows @ List.except rows spec.Output -> Axis.place spec.Output axis |])
            .reshape(Spec.size rows spec, -1L)

    /// The core where the largest unfolding below it is smallest.
    let private root (spec: Spec) : Core =
        let cost (core: Core) =
            linksOf core spec
            |> List.map (fun a -> Spec.size (openAxesBehind spec core a) spec)
            |> List.fold max 1L

        spec.Cores |> List.minBy cost

    /// Truncated SVDs of the unfoldings at every bond of a tree (HOSVD, TT-SVD and HT-SVD without the order of truncation). Each core but
    /// the root becomes the leading basis of its branch, written in the bases of the branches below it; the root is what is left of the
    /// target.
    let independent (sketch: Sketch option) (generator: torch.Generator) (spec: Spec) (target: Tensor) : Tensor list =
        let root = root spec
        let results = Dictionary<string, Tensor>()

        /// The basis of the branch behind a bond: (open axes of the branch, bond).
        let rec branch (from: Core) (axis: Axis) : Axis list * Tensor =
            let core = behind spec from axis
            let inside = openAxesBehind spec from axis
            let rank = Spec.dim axis spec

            let basis =
                (RangeFinder.leading sketch generator rank (unfolding spec inside target)).reshape
                    [| for a in inside @ [ axis ] -> int64 (Spec.dim a spec) |]

            results[core.Name] <- project core (Some axis) (inside @ [ axis ]) basis
            inside @ [ axis ], basis

        /// A tensor written in the bases of the branches of a core, in the core's order.
        and project (core: Core) (up: Axis option) (axes: Axis list) (tensor: Tensor) : Tensor =
            let below =
                core.Axes
                |> List.filter (fun a -> Some a <> up && not (Spec.isOpen a spec))
                |> List.map (branch core)

            let cores =
                (axes, tensor) :: below
                |> List.mapi (fun i (axes, tensor) -> { Name = Spec.positionName i; Axes = axes }, tensor)

            let network = Spec.extended [] (List.map fst cores) core.Axes spec
            Contraction.run (Plan.make Order.Auto network) (cores |> List.map (fun (c, t) -> c.Name, t) |> Map.ofList)

        results[root.Name] <- project root None spec.Output target
        spec.Cores |> List.map (fun core -> results[core.Name])

    let private permuted (from: Axis list) (to': Axis list) (tensor: Tensor) : Tensor =
        tensor.permute [| for axis in to' -> Axis.place from axis |]

    let private shapeOf (spec: Spec) (axes: Axis list) = [| for axis in axes -> int64 (Spec.dim axis spec) |]

    /// Truncated SVDs from the leaves to the root, each of what the ones before have left of the target (ST-HOSVD, TT-SVD from both ends,
    /// HT-SVD by successive truncation). Each core but the root becomes the leading basis of its unfolding, the root what is left in the
    /// end. Projections on nested or separate branches commute, so that their squared errors add up, and a projected unfolding has no
    /// larger singular values.
    let sequential (sketch: Sketch option) (generator: torch.Generator) (spec: Spec) (target: Tensor) : Tensor list =
        let root = root spec
        let results = Dictionary<string, Tensor>()

        /// What is left of the target, and its axes, after all branches below a core.
        let rec below (up: Axis option) (core: Core) (given: Axis list * Tensor) : Axis list * Tensor =
            linksOf core spec
            |> List.filter (fun axis -> Some axis <> up)
            |> List.sortBy (fun axis -> Spec.size (openAxesBehind spec core axis) spec)
            |> List.fold (branch core) given

        and branch (from: Core) (given: Axis list * Tensor) (axis: Axis) : Axis list * Tensor =
            let core = behind spec from axis
            let axes, left = below (Some axis) core given
            let own = core.Axes |> List.except [ axis ]
            let others = axes |> List.except own
            let matrix = (permuted axes (own @ others) left).reshape(Spec.size own spec, -1L)
            let rank = Spec.dim axis spec
            let basis = RangeFinder.leading sketch generator rank matrix
            // Noise openAxesBehind what the branch has is no part of the projection.
            let kept = min (int64 rank) (min matrix.shape[0] matrix.shape[1])
            let projected = basis.narrow(1L, 0L, kept).mT.matmul matrix

            let rest =
                torch.zeros ([| int64 rank - kept; matrix.shape[1] |], dtype = matrix.dtype, device = matrix.device)

            results[core.Name] <- permuted (own @ [ axis ]) core.Axes (basis.reshape (shapeOf spec (own @ [ axis ])))
            axis :: others, torch.cat([| projected; rest |], 0L).reshape(shapeOf spec (axis :: others))

        let axes, left = below None root (spec.Output, target)
        results[root.Name] <- permuted axes root.Axes left
        spec.Cores |> List.map (fun core -> results[core.Name])
