namespace TensorNets

open System
open TorchSharp

/// Directions of bonds that T hardly needs: what may be cut, by the Grams of both sides of a bond in its whole network, so that loops
/// count.
[<RequireQualifiedAccess>]
module internal Redundancy =
    /// A bond as it may become.
    [<NoEquality; NoComparison>]
    type private Cut = { Bond: Axis; Width: int; Cores: (int * Tensor) list }

    /// Noise of a double in what a factorization computes, and of shorter numbers as a multiple of their spacing: as shares of ‖T‖. A
    /// rounded tensor has about a fifth of its spacing, one that was summed in its own dtype several times that.
    let private ofDouble, private ofSpacing = 1e-13, 2.0

    /// The spacing of numbers next to 1.
    let spacing (dtype: torch.ScalarType) =
        match dtype with
        | torch.ScalarType.Float32 -> 1.1920929e-7
        | torch.ScalarType.Float16 -> 9.765625e-4
        | torch.ScalarType.BFloat16 -> 7.8125e-3
        | _ -> 2.220446049250313e-16

    /// The share of a tensor's norm that is rounding of the numbers it came in: those of its dtype, or of the shortest one that holds all
    /// its entries.
    let noise (tensor: Tensor) : float =
        use _ = torch.NewDisposeScope()
        let holds (dtype: torch.ScalarType) = tensor.``to``(dtype).``to``(tensor.dtype).eq(tensor).all().truth()

        let source = if tensor.dtype = torch.float64 && holds torch.float32 then torch.float32 else tensor.dtype

        if source = torch.float64 then ofDouble else ofSpacing * spacing source

    /// The share of T below which a direction of a slice has been made zero before.
    let private empty = 1e-24

    /// How many directions of each slice have least of both sides, one number a slice, and all directions in that order: `own` is the Gram
    /// that decides, batch × w × w. The first is for all slices alike.
    let private basis (share: float) (own: Tensor) (other: Tensor) : struct (int * int[] * Tensor) option =
        let batch, width = int own.shape[0], int own.shape[2]
        let struct (values, vectors) = Decompose.eigh ((own.plus own.mT).mul(Num.tensor 0.5))
        let rows (x: Tensor) = ConstrainedQuadratics.toArray (x.maximum(Num.tensor 0.0).reshape -1L) |> Array.chunkBySize width
        let mine = rows values
        let its = rows ((vectors.mul (Kernels.matmul (other, vectors))).sum [| 1L |])
        let together (rows: float[][]) = rows |> Array.reduce (Array.map2 (+))
        let all = sqrt (Array.sumBy Array.sum mine) * sqrt (Array.sumBy Array.sum its)

        let dropped least (mine: float[]) (its: float[]) =
            let tails = Array.map2 (fun a b -> sqrt a * sqrt b) (Array.scan (+) 0.0 mine) (Array.scan (+) 0.0 its)
            let count = tails |> Array.findIndexBack (fun tail -> tail <= share * all)
            if tails[count] <= least * all then 0 else count

        if Double.IsFinite all then
            let everywhere = dropped -1.0 (together mine) (together its) |> min (width - 1)
            let each = if batch = 1 then [| everywhere |] else Array.map2 (dropped empty) mine its
            Some(struct (everywhere, each, vectors))
        else
            None

    let private matrixCut
        (share: float)
        (spec: Spec)
        (run: Plan list -> Tensor list)
        (cores: Tensor[])
        (link: FreeBonds.Link)
        : Cut option =
        let width, batch = Spec.size link.Bonds spec, Spec.size link.Along spec
        let layers = run [ link.P; link.Q ] |> List.map _.reshape(batch, width, width)

        if link.Bonds.Length > 1 || not (layers |> List.forall _.isfinite().all().truth()) then
            None
        else
            let candidate own other = Decompose.attempt (fun () -> basis share own other) |> Option.flatten

            let narrow (columns: Tensor) =
                let narrowed i =
                    let x, fold = BondGauge.unfolded spec link i cores[i]
                    i, fold (x.matmul columns)

                Some
                    {
                        Bond = link.Bonds.Head
                        Width = int columns.shape[2]
                        Cores = [ narrowed link.I; narrowed link.J ]
                    }

            match [ candidate layers[0] layers[1]; candidate layers[1] layers[0] ] |> List.choose id with
            | [] -> None
            | found ->
                let struct (dropped, _, vectors) = found |> List.maxBy (fun struct (dropped, _, _) -> dropped)

                if dropped > 0 then
                    narrow (vectors.narrow (2L, int64 dropped, width - int64 dropped))
                else
                    let struct (_, each, vectors) = found |> List.maxBy (fun struct (_, each, _) -> Array.sum each)

                    if Array.forall ((=) 0) each then
                        None
                    else
                        let mask =
                            Array.init (each.Length * int width) (fun i -> if i % int width < each[i / int width] then 0.0 else 1.0)

                        let mask = torch.tensor(mask, dtype = vectors.dtype, device = vectors.device).reshape(batch, 1L, width)
                        narrow ((vectors.mul mask).matmul vectors.mT)

    /// A hyperedge without the slices that have least of T.
    let private sliceCut (share: float) (spec: Spec) (cores: Tensor[]) (axis: Axis) (carriers: int list) : Cut option =
        let place i = int64 (spec.Cores[i].Axes |> List.findIndex ((=) axis))

        let sizes (i: int) =
            let core = cores[i].movedim([| place i |], [| 0L |])
            ConstrainedQuadratics.toArray (core.reshape(core.shape[0], -1L).norm 1)

        let terms = carriers |> List.map sizes |> List.reduce (Array.map2 (*))
        let limit = share * Array.sum terms

        let kept =
            [|
                for r in 0 .. terms.Length - 1 do
                    if terms[r] > limit then
                        int64 r
            |]

        if kept.Length = 0 || kept.Length = terms.Length then
            None
        else
            let index = torch.tensor (kept, dtype = torch.int64, device = torch.CPU)

            Some
                {
                    Bond = axis
                    Width = kept.Length
                    Cores = [ for i in carriers -> i, cores[i].index_select(place i, index) ]
                }

    /// Cuts every bond of the smallest directions, in place, where `accepts` what comes of it, the spec and the tensors; where a hyperedge
    /// runs along a bond, directions that single slices of it do not need become zero in them. T changes by about `share` of it at most at
    /// each bond where nothing cancels; what it changes by in truth is for `accepts` to find. The spec of what is left, and whether
    /// anything was cut.
    let cut (share: float) (accepts: Spec -> Tensor[] -> bool) (spec: Spec) (cores: Tensor[]) : struct (Spec * bool) =
        let mutable changed = false

        let evaluated (spec: Spec) =
            let bonds = FreeBonds.ofSpec spec
            spec, bonds, new BondGauge.Evaluation(bonds, [], cores)

        let tryBond (spec: Spec, bonds: FreeBonds.Bonds, evaluation: BondGauge.Evaluation) (axis: Axis) =
            use scope = torch.NewDisposeScope()

            let found =
                bonds.All
                |> List.tryPick (function
                    | FreeBonds.Matrix link when link.Bonds = [ axis ] -> matrixCut share spec evaluation.Run cores link
                    | FreeBonds.Scaling(bond, carriers, _) when bond = axis && carriers.Length = (Spec.carriers axis spec).Length ->
                        sliceCut share spec cores axis carriers
                    | _ -> None)

            match found with
            | None -> spec, bonds, evaluation
            | Some cut ->
                let smaller = Spec.resized [ axis, cut.Width ] spec

                let next =
                    cores
                    |> Array.mapi (fun i core -> cut.Cores |> List.tryFind (fst >> (=) i) |> Option.map snd |> Option.defaultValue core)

                if accepts smaller next then
                    changed <- true

                    for i, core in cut.Cores do
                        let old = cores[i]
                        cores[i] <- scope.Detach core
                        old.Dispose()

                    (evaluation :> IDisposable).Dispose()
                    evaluated smaller
                else
                    spec, bonds, evaluation

        let left, _, last =
            Spec.bonds spec
            |> List.filter (fun axis -> Spec.dim axis spec > 1)
            |> List.fold tryBond (evaluated spec)

        (last :> IDisposable).Dispose()

        struct (left, changed)
