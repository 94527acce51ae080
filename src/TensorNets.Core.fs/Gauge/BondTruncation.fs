namespace TensorNets

open TorchSharp

/// Exact reduction of bonds: to the numerical rank of either core, and of hyperedges to the slices that are not zero.
[<RequireQualifiedAccess>]
module internal BondTruncation =
    let private axisIndex (spec: Spec) (i: int) (axis: Axis) = int64 (List.findIndex ((=) axis) spec.Cores[i].Axes)

    /// Singular values below this share of the largest, and slices below this share of the largest slice, are rounding of a double.
    let private exactShare = 1e-13

    /// The bond cut to the numerical rank of one of its cores, if that is less than its dimension: both cores anew.
    let private cut (spec: Spec) (axis: Axis) (i: int) (j: int) (cores: Tensor[]) : (int * Tensor * Tensor) option =
        let move index (core: Tensor) = core.movedim ([| axisIndex spec index axis |], [| -1L |])
        let back index (core: Tensor) = (core.movedim ([| -1L |], [| axisIndex spec index axis |])).contiguous()
        let near, far = move i cores[i], move j cores[j]

        let struct (u, s, vh) = Decompose.svd false (near.reshape (-1L, near.shape[int near.ndim - 1]))

        let rank = max 1L (s.gt(s.max().mul(Num.tensor exactShare)).sum().integer())
        let width = near.shape[int near.ndim - 1]

        if rank = width then
            None
        else
            let shape = Array.append near.shape[.. near.shape.Length - 2] [| rank |]
            let kept = (u.narrow(1L, 0L, rank).mul(s.narrow (0L, 0L, rank))).reshape shape
            Some(int rank, back i kept, back j (far.matmul (vh.narrow(0L, 0L, rank).mT)))

    /// The slices of a hyperedge that no core has as zeros, if there are others.
    let private alive (spec: Spec) (axis: Axis) (carriers: int list) (cores: Tensor[]) : int64[] option =
        let norms =
            carriers
            |> List.map (fun i ->
                let core = cores[i].movedim([| axisIndex spec i axis |], [| 0L |])
                // The largest entry of a slice instead of its norm: no square leaves the range of a double.
                let size = (core.reshape (core.shape[0], -1L)).abs().amax [| 1L |]
                size.gt (size.max().mul(Num.tensor exactShare)))

        let usable = torch.stack(List.toArray norms).all 0L
        let width = int64 (Spec.dim axis spec)

        let kept =
            [|
                for r in 0L .. width - 1L do
                    if usable[r].truth() then
                        r
            |]

        // Where no slice is left, T is zero: one slice stands for it.
        let kept = if kept.Length = 0 then [| 0L |] else kept
        if int64 kept.Length = width then None else Some kept

    let private resized (axis: Axis) (dim: int) (spec: Spec) : Spec = Spec.resized [ axis, dim ] spec

    /// Bonds of a fixed core stay as they are.
    let private isFree (spec: Spec) (axis: Axis) = Spec.carriers axis spec |> List.forall (fun core -> not (Spec.isFixed core spec))

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
                        set i (cores[i].index_select(axisIndex spec i axis, Fresh.longs cores[i] kept))

                    resized axis kept.Length spec)
            | _ -> None

        match Spec.bonds spec |> List.filter (isFree spec) |> List.tryPick tryAxis with
        | Some smaller -> cutAll smaller cores
        | None -> spec

    /// Cuts what can be cut, in place: entries of the array are replaced and the old ones disposed. Returns the smaller spec. Cores that
    /// are not finite have no rank: then everything stays.
    let truncate (spec: Spec) (cores: Tensor[]) : Spec =
        if cores |> Array.forall _.isfinite().all().truth() then cutAll spec cores else spec
