namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>Starting points from singular value decompositions.</summary>
[<RequireQualifiedAccess>]
module Svd =
    /// The leading left singular vectors of a matrix, n × r, by the eigenvectors of its smaller Gram; noise where there are fewer than r.
    let private leading (generator: torch.Generator) (rank: int) (unfolding: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let n, columns = int unfolding.shape[0], int unfolding.shape[1]
        let kept = min rank (min n columns)

        let last (count: int) (vectors: Tensor) = vectors.narrow(1L, vectors.shape[1] - int64 count, int64 count).flip [| 1L |]

        let u =
            if n <= columns then
                let struct (_, vectors) = torch.linalg.eigh (unfolding.matmul unfolding.mT)
                last kept vectors
            else
                let struct (_, vectors) = torch.linalg.eigh (unfolding.mT.matmul unfolding)
                // Orthonormal again: directions of small singular values come out of the product imprecise.
                let struct (q, _) = torch.linalg.qr (unfolding.matmul (last kept vectors))
                q

        let result =
            if kept = rank then
                u
            else
                let noise =
                    torch.randn ([| int64 n; int64 (rank - kept) |], dtype = torch.float64, generator = generator)

                torch.cat ([| u; noise.div (Num.tensor (sqrt (float n))) |], 1L)

        result.contiguous () |> scope.MoveToOuter

    let private unfold (tensor: Tensor) (mode: int) = tensor.movedim([| int64 mode |], [| 0L |]).reshape(tensor.shape[mode], -1L)

    /// One leading basis for each core: the start of a CP decomposition.
    let private perMode generator (rank: int) (target: Tensor) =
        [ for mode in 0 .. int (target.dim ()) - 1 -> leading generator rank (unfold target mode) ]

    let private dimOf (spec: Spec) axes = axes |> List.fold (fun n axis -> n * int64 (Spec.dim axis spec)) 1L

    /// Truncated SVDs of the unfoldings at every bond of a tree (HOSVD, TT-SVD and HT-SVD without the order of truncation). Each core but the root
    /// becomes the leading basis of its branch, written in the bases of the branches below it; the root is what is left of the target.
    let private tree (generator: torch.Generator) (spec: Spec) (target: Tensor) : Tensor list =
        let openAxes = spec.Output

        /// The open axes on the far side of a bond.
        let rec beyond (from: Core) (axis: Axis) : Axis list =
            let next = Spec.carriers axis spec |> List.find (fun core -> core.Name <> from.Name)

            next.Axes
            |> List.collect (fun a ->
                if a = axis then []
                elif Spec.isOpen a spec then [ a ]
                else beyond next a)

        // The root where the largest unfolding below it is smallest.
        let cost (core: Core) =
            core.Axes
            |> List.filter (fun a -> not (Spec.isOpen a spec))
            |> List.map (fun a -> dimOf spec (beyond core a))
            |> List.fold max 1L

        let root = spec.Cores |> List.minBy cost
        let results = Dictionary<string, Tensor>()

        /// The basis of the branch behind a bond: (open axes of the branch, bond).
        let rec branch (from: Core) (axis: Axis) : Axis list * Tensor =
            let core = Spec.carriers axis spec |> List.find (fun core -> core.Name <> from.Name)
            let inside = beyond from axis
            let rank = Spec.dim axis spec

            let unfolding =
                (target.permute [| for a in inside @ List.except inside openAxes -> int64 (List.findIndex ((=) a) openAxes) |])
                    .reshape(dimOf spec inside, -1L)

            let basis =
                (leading generator rank unfolding).reshape [| for a in inside @ [ axis ] -> int64 (Spec.dim a spec) |]

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

        results[root.Name] <- project root None openAxes target
        spec.Cores |> List.map (fun core -> results[core.Name])

    /// Sequential SVDs along the chain; the first bond's rank is shared out over the ring (TR-SVD).
    let private tensorChain (generator: torch.Generator) (ranks: int list) (target: Tensor) =
        let n = ranks.Length
        let ranks = List.toArray ranks
        let shape = target.shape
        let closing = int64 ranks[0]

        let pad (matrix: Tensor) (rows: int64) (columns: int64) : Tensor =
            let noise =
                torch.randn([| rows; columns |], dtype = torch.float64, generator = generator).mul(Num.tensor 1e-3)

            let r, c = min rows matrix.shape[0], min columns matrix.shape[1]

            noise.narrow(0L, 0L, r).narrow(1L, 0L, c).copy_(matrix.narrow(0L, 0L, r).narrow(1L, 0L, c))
            |> ignore

            noise

        // Core 0: the leading singular vectors of the first unfolding, its columns folded into (bond 0, bond 1).
        let split = closing * int64 ranks[1]
        let first = leading generator (int split) (unfold target 0)
        let core0 = first.reshape(shape[0], closing, int64 ranks[1]).permute(1L, 0L, 2L)
        // What remains: (bond 0, bond 1, modes 1 …), with bond 0 moved to the end, where the ring closes.
        let rest = first.mT.matmul (unfold target 0)

        let mutable remaining =
            rest.reshape(closing, int64 ranks[1], -1L).permute(1L, 2L, 0L).reshape(int64 ranks[1] * shape[1], -1L)

        [
            core0
            for i in 1 .. n - 2 do
                let next = int64 ranks[i + 1]
                let u = leading generator (int next) remaining
                let folded = pad u u.shape[0] next
                folded.reshape (int64 ranks[i], shape[i], next)
                let projected = folded.mT.matmul remaining
                remaining <- projected.reshape (next * shape[i + 1], -1L)
            remaining.reshape (int64 ranks[n - 1], shape[n - 1], closing)
        ]

    let private bondsOf (core: Core) (spec: Spec) = core.Axes |> List.filter (fun axis -> not (Spec.isOpen axis spec))

    /// Cores joined by ordinary bonds, every axis where it belongs to one place, without cycles and in one piece.
    let private isTree (spec: Spec) =
        let links = Spec.bonds spec

        let rec reach seen (core: Core) =
            if Set.contains core.Name seen then
                seen
            else
                bondsOf core spec
                |> List.collect (fun axis -> Spec.carriers axis spec)
                |> List.fold reach (Set.add core.Name seen)

        links |> List.forall (fun axis -> (Spec.carriers axis spec).Length = 2)
        && spec.Output |> List.forall (fun axis -> (Spec.carriers axis spec).Length = 1)
        && links.Length = spec.Cores.Length - 1
        && (reach Set.empty spec.Cores.Head).Count = spec.Cores.Length

    /// One open axis and the same single bond in every core.
    let private isCp (spec: Spec) =
        match Spec.bonds spec with
        | [ rank ] -> spec.Cores |> List.map _.Axes = (spec.Output |> List.map (fun axis -> [ axis; rank ]))
        | _ -> false

    /// Each core (bond, open axis, next bond), in the order of the output, the last bond closing the ring.
    let private isRing (spec: Spec) =
        let n = spec.Cores.Length
        let bonds = spec.Cores |> List.map (fun core -> List.tryHead core.Axes)

        n > 2
        && spec.Output.Length = n
        && List.distinct bonds |> List.length = n
        && spec.Cores
           |> List.mapi (fun i core ->
               match core.Axes with
               | [ _; mode; next ] -> mode = spec.Output[i] && Some next = bonds[(i + 1) % n]
               | _ -> false)
           |> List.forall id

    let private owned (spec: Spec) (cores: Tensor list) (scope: DisposeScope) =
        new Network(spec, [| for core in cores -> core.contiguous () |> scope.MoveToOuter |])

    /// <summary>A start of white noise from a seed, in float64, of the norm of the target.</summary>
    let noise (seed: uint64) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        match Check.forSpec spec target with
        | [] ->
            use scope = torch.NewDisposeScope()
            use network = Network.random torch.float64 seed spec
            let norm = (Check.double target).norm().number()
            let ratio = norm / (Contraction.reconstruct network).norm().number()
            let share = Num.tensor (Math.Pow(ratio, 1.0 / float network.Cores.Count))
            Ok(owned spec [ for core in network.Cores -> core.mul share ] scope)
        | errors -> Error errors

    /// <summary>A start from singular value decompositions: truncated at every bond of a tree (Tucker, Tucker-2, tensor train, hierarchical Tucker, or any
    /// other), the leading singular vectors of the unfoldings for CP, sequential for a ring. Any other network starts from noise.</summary>
    /// <remarks>Computed in float64, by the eigenvectors of the smaller Gram. Where a rank exceeds what a branch has, the rest is noise from the seed.
    /// For a tree ‖K − T‖² ≤ Σ over bonds of the squared singular values left out there. Source: Kolda and Bader 2009, §3.4 and §4.2; Oseledets 2011 (TT-SVD);
    /// Grasedyck 2010 (HT); Zhao et al. 2016 (TR-SVD).</remarks>
    let start (seed: uint64) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        let from (cores: torch.Generator -> Tensor -> Tensor list) =
            match Check.forSpec spec target with
            | [] ->
                use scope = torch.NewDisposeScope()
                use generator = new torch.Generator(seed)
                Ok(owned spec (cores generator (Check.double target)) scope)
            | errors -> Error errors

        if isTree spec then
            from (fun generator k -> tree generator spec k)
        elif isCp spec then
            from (fun generator k -> perMode generator (Spec.dim (Spec.bonds spec).Head spec) k)
        elif isRing spec then
            let ranks = spec.Cores |> List.map (fun core -> Spec.dim core.Axes.Head spec)
            from (fun generator k -> tensorChain generator ranks k)
        else
            noise seed spec target
