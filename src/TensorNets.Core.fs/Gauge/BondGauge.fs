namespace TensorNets

open TorchSharp

/// The gauge of one bond or hyperedge at a time: where it is free, and where it leaves S least (<c>Gauge</c>).
[<RequireQualifiedAccess>]
module internal BondGauge =
    /// Contracts what bonds ask for, and keeps what they have in common, also with other plans of the same cores.
    [<Sealed>]
    type Evaluation(bonds: FreeBonds.Bonds, others: Plan list, cores: Tensor[]) =
        let cache =
            match bonds.Messages with
            | Some _ -> None
            | None -> Some(new IntermediateCache(others @ List.collect FreeBonds.plansOf bonds.All))

        let values =
            bonds.Messages |> Option.map (fun messages -> new MessageValues(messages, bonds.Spec, cores))

        let names = bonds.Spec.Cores |> List.map _.Name |> List.toArray
        let lookup = CoreArray.Lookup bonds.Spec cores

        /// What other plans of these cores may keep in as well.
        member _.Cache = cache

        /// The steps that have been made.
        member _.Made =
            (values |> Option.map _.Made |> Option.defaultValue 0)
            + (cache |> Option.map _.Made |> Option.defaultValue 0)

        /// The caller's scope owns the results.
        member _.Run(plans: Plan list) : Tensor list =
            match values with
            | Some values -> values.Run plans
            | None -> Contraction.runKeeping cache plans cores[0].dtype cores[0].device lookup

        /// The core has changed.
        member _.Forget(core: int) : unit =
            values |> Option.iter _.Forget(core)
            cache |> Option.iter _.Forget(names[core])

        /// Every core may have changed.
        member _.Clear() : unit =
            values |> Option.iter _.Clear()
            cache |> Option.iter _.Clear()

        interface System.IDisposable with
            member this.Dispose() = this.Clear()

    /// The cores whose gauge is sought, replaced as steps go on, and what is kept of their contractions.
    [<NoEquality; NoComparison>]
    type Working =
        {
            Spec: Spec
            Cores: Tensor[]
            Evaluation: Evaluation
        }

        /// Replaces a core and disposes the old one.
        member this.Replace(i: int, tensor: Tensor) : unit =
            let old = this.Cores[i]
            this.Cores[i] <- tensor.DetachFromDisposeScope()
            old.Dispose()
            this.Evaluation.Forget i

    /// What a step at a bond did.
    type Step =
        {
            /// How much it lowered S; NaN where rounding leaves that fewer digits than S has.
            Gain: float
            /// The terms of S of the bond's cores after it.
            Terms: (int * float) list
        }


    /// A core as (along, everything else, bonds), with what leads back.
    let unfolded (spec: Spec) (link: FreeBonds.Link) (i: int) (core: Tensor) : Tensor * (Tensor -> Tensor) =
        let front, back =
            List.map (Axis.place spec.Cores[i].Axes) link.Along, List.map (Axis.place spec.Cores[i].Axes) link.Bonds

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
    let private evened (spec: Spec) (link: FreeBonds.Link) (cores: Tensor[]) : (Tensor * Tensor) option =
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
    let private layers (working: Working) (link: FreeBonds.Link) : Tensor * Tensor =
        let size core = Num.tensor (Spec.multiplicity working.Spec.Cores[core] working.Spec)
        let width, batch = Spec.size link.Bonds working.Spec, Spec.size link.Along working.Spec
        let layers = working.Evaluation.Run [ link.P; link.Q ] |> List.map _.reshape(batch, width, width)
        layers[0].mul(size link.I), layers[1].mul(size link.J)

    /// M into one core of a link and M⁻ᵀ into the other.
    let private insert (working: Working) (link: FreeBonds.Link) (root: GeometricMean) : unit =
        let a, foldA = unfolded working.Spec link link.I working.Cores[link.I]
        let b, foldB = unfolded working.Spec link link.J working.Cores[link.J]
        working.Replace(link.I, foldA (root.After a))
        working.Replace(link.J, foldB (root.InverseTAfter b))

    let private matrixStep (rotates: bool) (working: Working) (link: FreeBonds.Link) : Result<Step, TensorNetError> =
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
                (fun i (term: Tensor) -> (term.reshape -1L).mul(Num.tensor (Spec.multiplicity spec.Cores[i] spec)).maximum(Num.tensor 0.0))
                carriers
                (working.Evaluation.Run terms)

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
            let dim = Axis.place spec.Cores[i].Axes axis
            shape[int dim] <- -1L
            working.Replace(i, working.Cores[i].mul(factor.reshape shape)))

        let after (term: Tensor) = torch.where(usable, mean.exp().mul c.Head, term).sum().number()
        { Gain = gains.sum().number(); Terms = List.map2 (fun i term -> i, after term) carriers c }

    /// One bond; of S only the terms of the cores that are changed depend on the gauge of this bond: what they were, less what they are at
    /// their least. Cores may come out rotated along it (`rotates`), which costs less.
    let step (rotates: bool) (working: Working) (bond: FreeBonds.Bond) : Result<Step, TensorNetError> =
        use _ = torch.NewDisposeScope()

        match bond with
        | FreeBonds.Matrix link -> matrixStep rotates working link
        | FreeBonds.Scaling(axis, carriers, terms) -> Ok(scalingStep working axis carriers terms)

    /// What is added to the Grams of a bond that has directions without weight, as a share of their mean.
    let private ridge = 1e-10

    /// A step at a bond that `step` refuses: as if directions without weight had a little, where that lowers S.
    let lenientStep (working: Working) (link: FreeBonds.Link) : Step =
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
