namespace TensorNets

open TorchSharp

/// Exact reduction of bonds: to the directions that the product of their cores has, and of hyperedges to such slices.
[<RequireQualifiedAccess>]
module internal BondTruncation =

    /// What a direction of a bond, or a slice, brings to the product of the cores that share it is rounding of a double below this share of
    /// all, or of the largest.
    let private exactShare = 1e-13

    /// The bond cut to the directions that the product of its cores has, of the singular ones of the first, if they are fewer than its
    /// dimension: both cores anew. Their product is Σ_i s_i u_i f_iᵀ with orthonormal u_i: direction i brings s_i ‖f_i‖, however small it
    /// may be in its own core. The slices of the first core are made of one size before, at the cost of the other's, so that small ones
    /// keep their digits.
    let private cut (spec: Spec) (axis: Axis) (i: int) (j: int) (cores: Tensor[]) : (int * Tensor * Tensor) option =
        let move index (core: Tensor) = core.movedim ([| Axis.place spec.Cores[index].Axes axis |], [| -1L |])
        let back index (core: Tensor) = (core.movedim ([| -1L |], [| Axis.place spec.Cores[index].Axes axis |])).contiguous()
        let near, far = move i cores[i], move j cores[j]
        let width = near.shape[int near.ndim - 1]
        let rows = near.reshape (-1L, width)
        let sizes = rows.abs().amax [| 0L |]
        let units = torch.where (sizes.gt (Num.tensor 0.0), sizes, torch.ones_like sizes)
        let struct (u, s, vh) = Decompose.svd false (rows.div units)
        // What meets a slice of zeros does not count, whatever its size.
        let rotated = far.mul(sizes).matmul vh.mT
        let columns = rotated.reshape (-1L, s.shape[0])
        // In units of the largest entry, so that no square leaves the range of a double.
        let unit = columns.abs().max()
        let unit = torch.where (unit.gt (Num.tensor 0.0), unit, torch.ones_like unit)
        let brought = s.div(s.max ()).mul(columns.div(unit).squared().sum([| 0L |]).sqrt())
        let limit = brought.squared().sum().sqrt().mul(Num.tensor exactShare)

        let kept =
            [|
                for place, isKept in Array.indexed (brought.gt(limit).data<bool>().ToArray()) do
                    if isKept then
                        int64 place
            |]

        // Where nothing is brought T is zero: one direction stands for it.
        let kept = if kept.Length = 0 then [| 0L |] else kept

        if int64 kept.Length = width then
            None
        else
            let index = Fresh.longs near kept
            let shape = Array.append near.shape[.. near.shape.Length - 2] [| index.shape[0] |]
            let left = (u.index_select(1L, index).mul(s.index_select (0L, index))).reshape shape
            Some(kept.Length, back i left, back j (rotated.index_select (-1L, index)))

    /// The slices of a hyperedge that the product of its cores has, if there are others.
    let private alive (spec: Spec) (axis: Axis) (carriers: int list) (cores: Tensor[]) : int64[] option =
        let logs =
            carriers
            |> List.map (fun i ->
                let core = cores[i].movedim([| Axis.place spec.Cores[i].Axes axis |], [| 0L |])
                // The largest entry of a slice instead of its norm: no square leaves the range of a double.
                (core.reshape (core.shape[0], -1L)).abs().amax([| 1L |]).log())

        let brought = ConstrainedQuadratics.toArray (torch.stack(List.toArray logs).sum [| 0L |])
        let limit = Array.max brought + log exactShare

        let kept =
            [|
                for r in 0 .. brought.Length - 1 do
                    if brought[r] > limit then
                        int64 r
            |]

        // Where no slice is left, T is zero: one slice stands for it.
        let kept = if kept.Length = 0 then [| 0L |] else kept
        if kept.Length = brought.Length then None else Some kept

    let private resized (axis: Axis) (dim: int) (spec: Spec) : Spec = Spec.resized [ axis, dim ] spec

    /// Bonds of a fixed core stay as they are.
    let private isFree (spec: Spec) (axis: Axis) = Spec.carriers axis spec |> List.forall (fun core -> not (PlanInput.isFixed core))

    /// The distance, in powers of two, from the mean over the cores at which sizes of slices are brought there.
    let private farApart = 20

    let private mostPasses = 10

    /// The powers of two of the slices of a core; none of a slice of zeros.
    let private exponents (spec: Spec) (axis: Axis) (core: Tensor) (i: int) : int option[] =
        use _ = torch.NewDisposeScope()
        let slices = core.movedim ([| Axis.place spec.Cores[i].Axes axis |], [| 0L |])

        ConstrainedQuadratics.toArray ((slices.reshape (slices.shape[0], -1L)).abs().amax [| 1L |])
        |> Array.map (fun size -> if size > 0.0 then Some(System.Math.ILogB size) else None)

    /// Slices that are large in one core of a bond and small in another made alike by powers of two, in place: T to the bit. A
    /// decomposition of one core then loses nothing that T has. Whether there were any.
    let private levelled (spec: Spec) (cores: Tensor[]) (axis: Axis) : bool =
        let carriers = Spec.carriers axis spec |> List.map (fun core -> List.findIndex ((=) core) spec.Cores)
        let found = carriers |> List.map (fun i -> exponents spec axis cores[i] i)

        /// How far the slices of each core are to be shifted, together by nothing.
        let shifts =
            [|
                for r in 0 .. Spec.dim axis spec - 1 do
                    let own = found |> List.map (fun sizes -> sizes[r])

                    if own |> List.forall Option.isSome then
                        let own = List.choose id own
                        let mean = int (round (List.averageBy float own))
                        let rest = List.sum own - mean * own.Length
                        own |> List.mapi (fun k e -> if k = 0 then mean + rest - e else mean - e)
                    else
                        List.replicate own.Length 0
            |]

        let isFar = carriers.Length > 1 && shifts |> Array.exists (List.exists (fun e -> abs e >= farApart))

        if isFar then
            use scope = torch.NewDisposeScope()

            carriers
            |> List.iteri (fun k i ->
                let shape = [| for other in spec.Cores[i].Axes -> if other = axis then -1L else 1L |]

                // Each in two steps: the power itself may be no double.
                let factor part =
                    let powers = shifts |> Array.map (fun all -> System.Math.ScaleB(1.0, part all[k]))
                    (ConstrainedQuadratics.ofArray cores[i] [| powers.LongLength |] powers).reshape shape

                let old = cores[i]
                cores[i] <- old.mul(factor (fun e -> e / 2)).mul(factor (fun e -> e - e / 2)) |> scope.Detach
                old.Dispose())

        isFar

    let rec private cutAll (spec: Spec) (cores: Tensor[]) : Spec =
        let position (core: Core) = List.findIndex ((=) core) spec.Cores

        let tryAxis (axis: Axis) : Spec option =
            use scope = torch.NewDisposeScope()

            let set i (tensor: Tensor) =
                let old = cores[i]
                cores[i] <- scope.Detach tensor
                old.Dispose()

            match Spec.carriers axis spec |> List.map position with
            | [ i; j ] ->
                match cut spec axis i j cores with
                | Some(rank, a, b) ->
                    set i a
                    set j b
                    Some(resized axis rank spec)
                | None ->
                    cut spec axis j i cores
                    |> Option.map (fun (rank, b, a) ->
                        set j b
                        set i a
                        resized axis rank spec)
            | carriers when carriers.Length > 2 ->
                alive spec axis carriers cores
                |> Option.map (fun kept ->
                    for i in carriers do
                        set i (cores[i].index_select(Axis.place spec.Cores[i].Axes axis, Fresh.longs cores[i] kept))

                    resized axis kept.Length spec)
            | _ -> None

        match Spec.bonds spec |> List.filter (isFree spec) |> List.tryPick tryAxis with
        | Some smaller -> cutAll smaller cores
        | None -> spec

    /// Cuts what can be cut, in place: entries of the array are replaced and the old ones disposed. Returns the smaller spec. Cores that
    /// are not finite have no rank: then everything stays.
    let truncate (spec: Spec) (cores: Tensor[]) : Spec =
        if cores |> Array.forall _.isfinite().all().truth() then
            let bonds = Spec.bonds spec |> List.filter (isFree spec)

            let rec level passes =
                let changed = bonds |> List.map (levelled spec cores) |> List.exists id

                if changed && passes < mostPasses then
                    level (passes + 1)

            level 1
            cutAll spec cores
        else
            spec
