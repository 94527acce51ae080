namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>The least sensitivity at no change of the tensor.</summary>
/// <remarks>A network's tensor does not change when a matrix M and its inverse are inserted on a bond, or slices of the cores along a hyperedge are
/// scaled by factors of product one; its sensitivity does. For one bond the best H = M Mᵀ is known in closed form:
/// S(H) = const + tr(P H⁻¹) + tr(Q H) is least where H Q H = P. For one hyperedge, where all c_kr = m_k ‖E_k‖² at slice r are equal over the cores.</remarks>
[<RequireQualifiedAccess>]
module Gauge =
    /// A cycle that lowers S by less than this share of it may be the last, if what is left to gain is small too; and one that lowers it by rounding.
    let private standstill, private rounding = 1e-13, 2e-15

    /// The share of S that may be left to gain where cycles gain little each.
    let private leftOver = 1e-12

    let internal maxCycles = 200

    /// The ordinary bonds between two cores, taken as one axis. Where both cores carry an open axis or a hyperedge as well, the matrix may differ along it.
    type internal Link = { Bonds: Axis list; Along: Axis list; I: int; J: int; P: Plan; Q: Plan }

    type internal Bond =
        | Matrix of Link
        /// An axis along which only scalings are free, with the cores that carry it and the plans of c_k.
        | Scaling of axis: Axis * cores: int list * terms: Plan list

    let internal bonds (spec: Spec) : Bond list =
        let opened = Set.ofList spec.Output
        let position (core: Core) = List.findIndex ((=) core) spec.Cores

        let free axis = Spec.carriers axis spec |> List.filter (fun core -> not (Spec.isFixed core spec))

        let ordinary axis = not (opened.Contains axis) && (Spec.carriers axis spec).Length = 2 && (free axis).Length = 2

        let doubleLayer (core: Core) (free: Axis list) (output: Axis list) =
            let shared = (opened + Set.ofList core.Axes) - Set.ofList free
            Spec.doubled (Spec.without core.Name spec) shared output spec |> Plan.make Order.Auto

        let links =
            spec.Dims.Keys
            |> Seq.filter ordinary
            |> Seq.groupBy (fun axis -> Spec.carriers axis spec)
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
    let private unfolded (spec: Spec) (link: Link) (i: int) (core: Tensor) : Tensor * (Tensor -> Tensor) =
        let front, back = List.map (axisIndex spec i) link.Along, List.map (axisIndex spec i) link.Bonds
        let middle = [ 0L .. core.dim () - 1L ] |> List.except (front @ back)
        let order = front @ middle @ back
        let permuted = core.permute (List.toArray order)
        let size (dims: int64 list) = dims |> List.fold (fun n d -> n * core.shape[int d]) 1L
        let inverse = order |> List.indexed |> List.sortBy snd |> List.map (fst >> int64) |> List.toArray
        let matrix = permuted.reshape (size front, size middle, size back)
        matrix, (fun (m: Tensor) -> (m.reshape permuted.shape).permute(inverse).contiguous())

    /// The two cores of a link with its singular values shared out evenly: T stays. P and Q then have the condition of the bond itself, not its square.
    let private evened (spec: Spec) (link: Link) (cores: Tensor[]) : (Tensor * Tensor) option =
        let a, foldA = unfolded spec link link.I cores[link.I]
        let b, foldB = unfolded spec link link.J cores[link.J]
        let width = a.shape[2]

        if a.shape[1] < width || b.shape[1] < width then
            None
        else
            let struct (qa, ra) = torch.linalg.qr a
            let struct (qb, rb) = torch.linalg.qr b
            let struct (u, s, vh) = torch.linalg.svd (ra.matmul rb.mT, fullMatrices = false)
            let half = s.sqrt().unsqueeze -2L
            Some(foldA (qa.matmul(u).mul half), foldB (qb.matmul(vh.mT).mul half))

    /// One bond; how much it lowers S, of which only the terms of the cores that are changed depend on the gauge of this bond: what they were, less what they are at
    /// their least. Cores may come out turned along it (`turns`), which costs less.
    let private step
        (turns: bool)
        (spec: Spec)
        (cores: Tensor[])
        (kept: Kept)
        (run: Plan list -> Tensor list)
        (bond: Bond)
        : Result<float, TensorNetError> =
        use scope = torch.NewDisposeScope()

        let set i (tensor: Tensor) =
            let old = cores[i]
            cores[i] <- scope.Detach tensor
            old.Dispose()
            kept.Forget spec.Cores[i].Name

        match bond with
        | Matrix link ->
            let size core = Num.tensor (Spec.multiplicity spec.Cores[core] spec)
            let width, batch = Spec.size link.Bonds spec, Spec.size link.Along spec

            let layers () =
                let layers = run [ link.P; link.Q ] |> List.map _.reshape(batch, width, width)
                layers[0].mul(size link.I), layers[1].mul(size link.J)

            let solve (p, q) =
                let quick () = MatrixPair.diagonalRoot p q |> Option.orElseWith (fun () -> MatrixPair.anyRoot p q)

                match if turns then quick () else None with
                | Some found -> Ok found
                | None -> MatrixPair.root p q

            let p, q = layers ()

            let solution =
                match solve (p, q) with
                | Ok found -> Ok found
                | Error rank ->
                    match evened spec link cores with
                    | None -> Error rank
                    | Some(a, b) ->
                        set link.I a
                        set link.J b
                        solve (layers ())

            match solution with
            | Error rank ->
                let name = System.String.Join("·", link.Bonds |> List.map Axis.name)
                Error(TensorNetError.RankDeficientBond(name, rank, int width))
            | Ok root ->
                let a, foldA = unfolded spec link link.I cores[link.I]
                let b, foldB = unfolded spec link link.J cores[link.J]
                set link.I (foldA (root.After a))
                set link.J (foldB (root.InverseTAfter b))
                let trace (x: Tensor) = x.diagonal(dim1 = -2L, dim2 = -1L).sum()
                // The difference of the traces is taken before they meet the sum, so that a pair in balance gains nothing to rounding.
                Ok((trace p).plus(trace q).number() - 2.0 * root.Trace)
        | Scaling(axis, carriers, terms) ->
            let c =
                List.map2
                    (fun i (term: Tensor) -> term.mul(Num.tensor (Spec.multiplicity spec.Cores[i] spec)).maximum(Num.tensor 0.0))
                    carriers
                    (run terms)

            // Against those of the first core, so that the size of the network leaves no rounding.
            let logs = torch.stack(List.toArray c).div(c.Head).log()
            // A slice of zeros in any core makes the whole slice of T zero: there is nothing to balance.
            let usable = logs.isfinite().all(0L)
            let mean = logs.mean ([| 0L |])
            // Balanced, the terms of a slice are their geometric mean.
            let gains =
                torch.where (
                    usable,
                    logs.exp().sum(0L).minus(mean.exp().mul(Num.tensor (float c.Length))).mul(c.Head),
                    torch.zeros_like mean
                )

            carriers
            |> List.iteri (fun row i ->
                let factor =
                    torch.where(usable, logs[int64 row].minus(mean).mul(Num.tensor 0.5), torch.zeros_like mean).exp()

                let shape = Array.create spec.Cores[i].Axes.Length 1L
                let dim = axisIndex spec i axis
                shape[int dim] <- -1L
                set i (cores[i].mul(factor.reshape shape)))

            Ok(gains.sum().number())

    /// Balances tensors in place (the array's entries are replaced and the old ones disposed) for at most the given number of cycles.
    let internal cycles (limit: int) (all: Bond list) (plan: SensitivityPlan) (cores: Tensor[]) : Result<float * int, TensorNetError list> =
        let spec = plan.Spec
        let index = spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict
        let lookup name = cores[index[Spec.original name]]

        let plans =
            function
            | Matrix link -> [ link.P; link.Q ]
            | Scaling(_, _, terms) -> terms

        // S and the bonds meet the same products of cores.
        use kept = new Kept(Sensitivity.plans plan @ List.collect plans all)
        let run plans = Contraction.runKeeping (Some kept) plans cores[0].dtype cores[0].device lookup

        let sensitivity () =
            use total = Sensitivity.totalKeeping (Some kept) plan cores[0].dtype cores[0].device lookup
            total.number ()

        // The first cycle leaves balanced cores as they are. Later ones lower S by about the same factor less each; the first ones by any, so that the larger of the
        // last two factors tells what is left. `calm`: the cycle before looked like the last one too, which a single cycle can do by chance.
        let rec loop cycle s before ratioBefore calm =
            if cycle >= limit then
                Ok(sensitivity (), cycle)
            else
                match
                    all
                    |> List.fold
                        (fun sum bond -> sum |> Result.bind (fun sum -> step (cycle > 0) spec cores kept run bond |> Result.map ((+) sum)))
                        (Ok 0.0)
                with
                | Error error -> Error [ error ]
                | Ok gain ->
                    let gain = if Double.IsNaN gain then s - sensitivity () else gain
                    let ratio = if before > 0.0 then gain / before else 1.0
                    let factor = max ratio ratioBefore
                    let rest = if factor < 1.0 then gain * factor / (1.0 - factor) else infinity

                    let isCalm = gain <= rounding * s || min gain rest <= standstill * s && rest <= leftOver * s

                    if isCalm && calm || all.Length = 1 then
                        Ok(sensitivity (), cycle + 1)
                    else
                        loop (cycle + 1) (s - gain) gain ratio isCalm

        if all.IsEmpty then
            Ok(sensitivity (), 0)
        else
            // One cycle compares with nothing.
            loop 0 (if limit = 1 then infinity else sensitivity ()) 0.0 1.0 false

    /// <summary>The network of least sensitivity among those that differ from the given one by a gauge: the same T, the least S.</summary>
    /// <remarks>Cycles over the bonds in closed form until S stands still; computed in float64, returned in the dtype of the network. Never raises S.
    /// Idempotent, and from any random gauge of the same network the same S, unless 200 cycles do not suffice: seldom, where the least S is only approached.
    /// Errors: a bond whose environment is rank deficient, for which the least S is not attained: <c>truncate</c> it first.</remarks>
    let balance (network: Network) : Result<Network, TensorNetError list> =
        use _ = torch.no_grad ()
        let spec = network.Spec

        let errors =
            List.map2 (fun (core: Core) tensor -> Check.finite $"Core '{core.Name}'" tensor) spec.Cores (List.ofSeq network.Cores)
            |> List.concat

        if not errors.IsEmpty then
            Error errors
        else
            use scope = torch.NewDisposeScope()
            use start = Network.copyAs torch.float64 network
            let cores = [| for tensor in start.Cores -> tensor.clone () |> scope.Detach |]

            try
                cycles maxCycles (bonds spec) (Sensitivity.plan spec) cores
                |> Result.map (fun (s, _) ->
                    use before = Sensitivity.total start
                    let best: Tensor seq = if s <= before.number () then cores else start.Cores
                    new Network(spec, [| for tensor in best -> tensor.``to`` (network.DType, copy = true) |> scope.MoveToOuter |]))
            finally
                for core in cores do
                    core.Dispose()

    /// <summary>The network of least sensitivity in a norm (<c>Sensitivity.totalIn</c>) among those that differ from the given one by a gauge.</summary>
    /// <remarks>As <c>balance</c>; in the Frobenius norm the same. Errors: those of <c>balance</c> and of a norm.</remarks>
    let balanceIn (norm: Norm) (network: Network) : Result<Network, TensorNetError list> =
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()

        let owned (network: Network) =
            for core in network.Cores do
                scope.MoveToOuter core |> ignore

            network

        Whitening.beside norm network.Spec
        |> Result.bind (function
            | None -> balance network |> Result.map owned
            | Some w ->
                use whitened = Whitening.network w network

                balance whitened
                |> Result.map (fun balanced ->
                    use balanced = balanced
                    use plain = Whitening.plain w balanced
                    Network.copyAs network.DType plain |> owned))

    /// <summary>The same T with every bond cut to its numerical rank in either of its cores, and hyperedges without slices that are zero in a core.</summary>
    /// <remarks>Exact to rounding (1e-13 of the largest singular value). What the whole environment makes deficient, as in a loop, stays; <c>balance</c>
    /// refuses that by name. The spec of the result has the smaller dimensions.</remarks>
    let truncate (network: Network) : Network =
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()
        use start = Network.copyAs torch.float64 network
        let cores = [| for tensor in start.Cores -> tensor.clone () |> scope.Detach |]

        try
            let spec = Truncation.truncate network.Spec cores
            new Network(spec, [| for tensor in cores -> tensor.``to`` (network.DType, copy = true) |> scope.MoveToOuter |])
        finally
            for core in cores do
                core.Dispose()
