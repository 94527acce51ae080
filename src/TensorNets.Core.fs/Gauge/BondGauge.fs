namespace TensorNets

open TorchSharp

/// The gauge of one bond or hyperedge at a time: where it is free, and where it leaves S least (<c>Gauge</c>).
[<RequireQualifiedAccess>]
module internal BondGauge =
    /// The ordinary bonds between two cores, taken as one axis. Where both cores carry an open axis or a hyperedge as well, the matrix may
    /// differ along it.
    type Link = { Bonds: Axis list; Along: Axis list; I: int; J: int; P: Plan; Q: Plan }

    type Bond =
        | Matrix of Link
        /// An axis along which only scalings are free, with the cores that carry it and the plans of c_k.
        | Scaling of axis: Axis * cores: int list * terms: Plan list

    /// The cores that a bond is between.
    let coresOf (bond: Bond) : int list =
        match bond with
        | Matrix link -> [ link.I; link.J ]
        | Scaling(_, cores, _) -> cores

    /// The cores whose gauge is sought, replaced as steps go on, and what is kept of their contractions.
    [<NoEquality; NoComparison>]
    type Working =
        {
            Spec: Spec
            Cores: Tensor[]
            Cache: IntermediateCache
            /// Contracts the cores as they are.
            Run: Plan list -> Tensor list
        }

        /// Replaces a core and disposes the old one.
        member this.Replace(i: int, tensor: Tensor) : unit =
            let old = this.Cores[i]
            this.Cores[i] <- tensor.DetachFromDisposeScope()
            old.Dispose()
            this.Cache.Forget this.Spec.Cores[i].Name

    /// What a step at a bond did.
    type Step =
        {
            /// How much it lowered S; NaN where rounding leaves that fewer digits than S has.
            Gain: float
            /// The terms of S of the bond's cores after it.
            Terms: (int * float) list
        }

    /// Every bond and hyperedge along which there is a gauge.
    let ofSpec (spec: Spec) : Bond list =
        let opened = Set.ofList spec.Output
        let position (core: Core) = List.findIndex ((=) core) spec.Cores

        let free axis = Spec.carriers axis spec |> List.filter (fun core -> not (Spec.isFixed core spec))

        let ordinary axis = not (opened.Contains axis) && (Spec.carriers axis spec).Length = 2 && (free axis).Length = 2

        let planned = DoubleLayerOrder.planner spec

        let doubleLayer (core: Core) (free: Axis list) (output: Axis list) =
            planned core ((opened + Set.ofList core.Axes) - Set.ofList free) output

        let links =
            spec.Dims.Keys
            |> Seq.filter ordinary
            |> Seq.groupBy (fun axis -> Spec.carriers axis spec)
            // In the order of the cores, so that a step leaves most of what the next one needs.
            |> Seq.sortBy (fst >> List.map position)
            |> Seq.map (fun (carriers, axes) ->
                let first, second = carriers[0], carriers[1]
                let bonds = List.ofSeq axes

                let along =
                    first.Axes
                    |> List.filter (fun axis -> List.contains axis second.Axes && not (List.contains axis bonds))

                let output = along @ bonds @ List.map Axis.primed bonds

                Matrix
                    {
                        Bonds = bonds
                        Along = along
                        I = position first
                        J = position second
                        P = doubleLayer first bonds output
                        Q = doubleLayer second bonds output
                    })

        let scalings =
            spec.Dims.Keys
            |> Seq.filter (ordinary >> not)
            |> Seq.choose (fun axis ->
                match free axis with
                | carriers when carriers.Length >= 2 ->
                    Some(Scaling(axis, List.map position carriers, carriers |> List.map (fun core -> doubleLayer core [] [ axis ])))
                | _ -> None)

        List.ofSeq links @ List.ofSeq scalings

    let private axisIndex (spec: Spec) (i: int) (axis: Axis) = int64 (List.findIndex ((=) axis) spec.Cores[i].Axes)

    /// A core as (along, everything else, bonds), with what leads back.
    let unfolded (spec: Spec) (link: Link) (i: int) (core: Tensor) : Tensor * (Tensor -> Tensor) =
        let front, back = List.map (axisIndex spec i) link.Along, List.map (axisIndex spec i) link.Bonds
        let middle = [ 0L .. core.dim () - 1L ] |> List.except (front @ back)
        let order = front @ middle @ back
        let permuted = core.permute (List.toArray order)
        let size (dims: int64 list) = dims |> List.fold (fun n d -> n * core.shape[int d]) 1L
        let inverse = order |> List.indexed |> List.sortBy snd |> List.map (fst >> int64) |> List.toArray
        let matrix = permuted.reshape (size front, size middle, size back)
        let shape = permuted.shape
        // What comes back may have another number of columns, where there is one bond.
        let shapeOf (m: Tensor) = if link.Bonds.Length = 1 then Array.append shape[.. shape.Length - 2] [| m.shape[2] |] else shape
        matrix, (fun (m: Tensor) -> (m.reshape (shapeOf m)).permute(inverse).contiguous())

    /// The two cores of a link with its singular values shared out evenly: T stays. P and Q then have the condition of the bond itself, not
    /// its square.
    let private evened (spec: Spec) (link: Link) (cores: Tensor[]) : (Tensor * Tensor) option =
        let a, foldA = unfolded spec link link.I cores[link.I]
        let b, foldB = unfolded spec link link.J cores[link.J]
        let width = a.shape[2]

        if a.shape[1] < width || b.shape[1] < width then
            None
        else
            let struct (qa, ra) = Decompose.qr a
            let struct (qb, rb) = Decompose.qr b
            let struct (u, s, vh) = Decompose.svd false (ra.matmul rb.mT)
            let half = s.sqrt().unsqueeze -2L
            Some(foldA (qa.matmul(u).mul half), foldB (qb.matmul(vh.mT).mul half))

    let private trace (x: Tensor) = x.diagonal(dim1 = -2L, dim2 = -1L).sum()

    /// P and Q of a link: the terms of S of its two cores are tr P and tr Q.
    let private layers (working: Working) (link: Link) : Tensor * Tensor =
        let size core = Num.tensor (Spec.multiplicity working.Spec.Cores[core] working.Spec)
        let width, batch = Spec.size link.Bonds working.Spec, Spec.size link.Along working.Spec
        let layers = working.Run [ link.P; link.Q ] |> List.map _.reshape(batch, width, width)
        layers[0].mul(size link.I), layers[1].mul(size link.J)

    /// M into one core of a link and M⁻ᵀ into the other.
    let private insert (working: Working) (link: Link) (root: GeometricMean) : unit =
        let a, foldA = unfolded working.Spec link link.I working.Cores[link.I]
        let b, foldB = unfolded working.Spec link link.J working.Cores[link.J]
        working.Replace(link.I, foldA (root.After a))
        working.Replace(link.J, foldB (root.InverseTAfter b))

    let private matrixStep (rotates: bool) (working: Working) (link: Link) : Result<Step, TensorNetError> =
        let solve (p, q) =
            let quick () = Pencil.diagonalRoot p q |> Option.orElseWith (fun () -> Pencil.anyRoot p q)

            match if rotates then quick () else None with
            | Some found -> Ok found
            | None -> Pencil.root p q

        let p, q = layers working link

        let solution =
            match solve (p, q) with
            | Ok found -> Ok found
            | Error rank ->
                match evened working.Spec link working.Cores with
                | None -> Error rank
                | Some(a, b) ->
                    working.Replace(link.I, a)
                    working.Replace(link.J, b)
                    solve (layers working link)

        match solution with
        | Error rank ->
            let name = System.String.Join("·", link.Bonds |> List.map Axis.name)
            Error(TensorNetError.RankDeficientBond(name, rank, int (Spec.size link.Bonds working.Spec)))
        | Ok root ->
            insert working link root
            // The difference of the traces is taken before they meet the sum, so that a pair in balance gains nothing to rounding.
            Ok
                {
                    Gain = (trace p).plus(trace q).number() - 2.0 * root.Trace
                    Terms = [ link.I, root.Trace; link.J, root.Trace ]
                }

    let private scalingStep (working: Working) (axis: Axis) (carriers: int list) (terms: Plan list) : Step =
        let spec = working.Spec

        let c =
            List.map2
                (fun i (term: Tensor) -> term.mul(Num.tensor (Spec.multiplicity spec.Cores[i] spec)).maximum(Num.tensor 0.0))
                carriers
                (working.Run terms)

        // Against those of the first core, so that the size of the network leaves no rounding.
        let logs = torch.stack(List.toArray c).div(c.Head).log()
        // A slice of zeros in any core makes the whole slice of T zero: there is nothing to balance.
        let usable = logs.isfinite().all(0L)
        let mean = logs.mean ([| 0L |])
        // Balanced, the terms of a slice are their geometric mean.
        let gains =
            torch.where (usable, logs.exp().sum(0L).minus(mean.exp().mul(Num.tensor (float c.Length))).mul(c.Head), torch.zeros_like mean)

        carriers
        |> List.iteri (fun row i ->
            let factor =
                torch.where(usable, logs[int64 row].minus(mean).mul(Num.tensor 0.5), torch.zeros_like mean).exp()

            let shape = Array.create spec.Cores[i].Axes.Length 1L
            let dim = axisIndex spec i axis
            shape[int dim] <- -1L
            working.Replace(i, working.Cores[i].mul(factor.reshape shape)))

        let after (term: Tensor) = torch.where(usable, mean.exp().mul c.Head, term).sum().number()
        { Gain = gains.sum().number(); Terms = List.map2 (fun i term -> i, after term) carriers c }

    /// One bond; of S only the terms of the cores that are changed depend on the gauge of this bond: what they were, less what they are at
    /// their least. Cores may come out rotated along it (`rotates`), which costs less.
    let step (rotates: bool) (working: Working) (bond: Bond) : Result<Step, TensorNetError> =
        use _ = torch.NewDisposeScope()

        match bond with
        | Matrix link -> matrixStep rotates working link
        | Scaling(axis, carriers, terms) -> Ok(scalingStep working axis carriers terms)

    /// What is added to the Grams of a bond that has directions without weight, as a share of their mean.
    let private ridge = 1e-10

    /// A step at a bond that `step` refuses: as if directions without weight had a little, where that lowers S.
    let lenientStep (working: Working) (link: Link) : Step =
        use _ = torch.NewDisposeScope()
        let p, q = layers working link
        let width, batch = p.shape[1], p.shape[0]
        let eye = torch.eye (width, dtype = p.dtype, device = p.device)
        let raised (x: Tensor) = x.plus (eye.mul ((trace x).mul(Num.tensor (ridge / float (width * batch)))))
        let before = (trace p).plus(trace q).number()

        let found =
            if before > 0.0 && System.Double.IsFinite before then
                Decompose.attempt (fun () -> Pencil.root (raised p) (raised q))
            else
                None

        let terms =
            match found with
            | Some(Ok root) ->
                let m, n = root.M, root.InverseT
                (trace (n.mT.matmul(p).matmul n)).number(), (trace (m.mT.matmul(q).matmul m)).number()
            | _ -> nan, nan

        match found with
        | Some(Ok root) when fst terms + snd terms < before -> insert working link root
        | _ -> ()

        // A refused step may have changed the cores already: how much S fell must be asked.
        { Gain = nan; Terms = [ link.I, fst terms; link.J, snd terms ] }
