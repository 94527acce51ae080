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

    /// The width of a bond without the directions that have the least of both sides, and a basis of the others: `own` is the Gram that
    /// decides, batch × w × w.
    let private basis (share: float) (own: Tensor) (other: Tensor) : (int64 * Tensor) option =
        let width = own.shape[2]
        let struct (values, vectors) = Decompose.eigh ((own.plus own.mT).mul(Num.tensor 0.5))
        let mine = ConstrainedQuadratics.toArray (values.maximum(Num.tensor 0.0).sum([| 0L |]))

        let its =
            ConstrainedQuadratics.toArray (
                (vectors.mul (Kernels.matmul (other, vectors))).sum([| 1L |]).maximum(Num.tensor 0.0).sum([| 0L |])
            )

        let all = sqrt (Array.sum mine) * sqrt (Array.sum its)
        let tails = Array.map2 (fun a b -> sqrt a * sqrt b) (Array.scan (+) 0.0 mine) (Array.scan (+) 0.0 its)
        let dropped = tails |> Array.findIndexBack (fun tail -> tail <= share * all) |> min (int width - 1)

        if dropped = 0 || not (Double.IsFinite all) then
            None
        else
            Some(width - int64 dropped, vectors.narrow (2L, int64 dropped, width - int64 dropped))

    let private matrixCut
        (share: float)
        (spec: Spec)
        (run: Plan list -> Tensor list)
        (cores: Tensor[])
        (link: BondGauge.Link)
        : Cut option =
        let width, batch = Spec.size link.Bonds spec, Spec.size link.Along spec
        let layers = run [ link.P; link.Q ] |> List.map _.reshape(batch, width, width)

        if link.Bonds.Length > 1 || not (layers |> List.forall _.isfinite().all().truth()) then
            None
        else
            let candidate own other = ConstrainedQuadratics.guarded (fun () -> basis share own other) |> Option.flatten

            match [ candidate layers[0] layers[1]; candidate layers[1] layers[0] ] |> List.choose id with
            | [] -> None
            | found ->
                let rank, vectors = List.minBy fst found

                let narrowed i =
                    let x, fold = BondGauge.unfolded spec link i cores[i]
                    i, fold (x.matmul vectors)

                Some { Bond = link.Bonds.Head; Width = int rank; Cores = [ narrowed link.I; narrowed link.J ] }

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

    /// Cuts every bond of the smallest directions, in place, where `accepts` what comes of it, the spec and the tensors. T changes by about
    /// `share` of it at most at each bond where nothing cancels; what it changes by in truth is for `accepts` to find. The spec of what is
    /// left.
    let cut (share: float) (accepts: Spec -> Tensor[] -> bool) (spec: Spec) (cores: Tensor[]) : Spec =
        let tryBond (spec: Spec, bonds: BondGauge.Bond list) (axis: Axis) : Spec * BondGauge.Bond list =
            use scope = torch.NewDisposeScope()
            let core name = cores[spec.Cores |> List.findIndex (fun core -> core.Name = Spec.original name)]
            let run plans = Contraction.runMany plans cores[0].dtype cores[0].device core

            let found =
                bonds
                |> List.tryPick (function
                    | BondGauge.Matrix link when link.Bonds = [ axis ] -> matrixCut share spec run cores link
                    | BondGauge.Scaling(bond, carriers, _) when bond = axis && carriers.Length = (Spec.carriers axis spec).Length ->
                        sliceCut share spec cores axis carriers
                    | _ -> None)

            match found with
            | None -> spec, bonds
            | Some cut ->
                let smaller = Spec.resized [ axis, cut.Width ] spec

                let next =
                    cores
                    |> Array.mapi (fun i core -> cut.Cores |> List.tryFind (fst >> (=) i) |> Option.map snd |> Option.defaultValue core)

                if accepts smaller next then
                    for i, core in cut.Cores do
                        let old = cores[i]
                        cores[i] <- scope.Detach core
                        old.Dispose()

                    smaller, BondGauge.ofSpec smaller
                else
                    spec, bonds

        Spec.bonds spec
        |> List.filter (fun axis -> Spec.dim axis spec > 1)
        |> List.fold tryBond (spec, BondGauge.ofSpec spec)
        |> fst
