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
    /// One cycle that lowers S by less than this share of it is the last: a few units of rounding.
    let private standstill = 1e-13

    let internal maxCycles = 200

    /// Eigenvalues of P or Q below this share of the largest are rounding: the bond is rank deficient.
    let private nullShare = 1e-14

    type internal Bond =
        /// An ordinary bond between cores i and j, with plans for P and Q.
        | Matrix of axis: Axis * i: int * j: int * p: Plan * q: Plan
        /// An axis along which only scalings are free, with the cores that carry it and the plans of c_k.
        | Scaling of axis: Axis * cores: int list * terms: Plan list

    let internal bonds (spec: Spec) : Bond list =
        let opened = Set.ofList spec.Output
        let position (core: Core) = List.findIndex ((=) core) spec.Cores

        let doubleLayer (core: Core) axis both =
            let shared = opened + Set.ofList core.Axes

            let shared, output = if both then shared.Remove axis, [ axis; Axis.primed axis ] else shared, [ axis ]

            Spec.doubled (Spec.without core.Name spec) shared output spec |> Plan.make Order.Auto

        [
            for axis in spec.Dims.Keys do
                match Spec.carriers axis spec with
                | [ first; second ] when not (opened.Contains axis) ->
                    Matrix(axis, position first, position second, doubleLayer first axis true, doubleLayer second axis true)
                | carriers when carriers.Length >= 2 ->
                    Scaling(axis, List.map position carriers, carriers |> List.map (fun core -> doubleLayer core axis false))
                | _ -> ()
        ]

    let private axisIndex (spec: Spec) (i: int) (axis: Axis) = int64 (List.findIndex ((=) axis) spec.Cores[i].Axes)

    /// The core with a matrix applied along one axis: the axis of the core meets the rows of the matrix.
    let private apply (tensor: Tensor) (dim: int64) (matrix: Tensor) : Tensor =
        tensor.movedim([| dim |], [| -1L |]).matmul(matrix).movedim([| -1L |], [| dim |]).contiguous()

    /// M = H^½ and its inverse for the H with H Q H = P; or the numerical rank where P or Q is singular.
    let private root (p: Tensor) (q: Tensor) : Result<Tensor * Tensor, int> =
        let rank (matrix: Tensor) =
            let values = torch.linalg.eigvalsh matrix
            int (values.gt(values.max().maximum(Num.tensor 0.0).mul(Num.tensor nullShare)).sum().ToInt64())

        let symmetric (a: Tensor) = a.add(a.mT).mul(Num.tensor 0.5)
        let p, q = symmetric p, symmetric q
        let dimension = int p.shape[0]
        let least = min (rank p) (rank q)

        if least < dimension then
            Error least
        else
            // P = F Fᵀ, FᵀQF = U k Uᵀ: H = F U k^-½ UᵀFᵀ, and F U k^-¼ is a square root of it. Its singular value decomposition turns it into the symmetric one.
            let struct (values, vectors) = torch.linalg.eigh p
            let f = vectors.mul (values.sqrt ())
            let struct (k, u) = torch.linalg.eigh (symmetric (f.mT.matmul(q).matmul f))
            let k = k.clamp (min = k.max().mul(Num.tensor nullShare))
            let half = f.matmul(u).mul(k.pow (Num.tensor -0.25))
            let struct (a, s, _) = torch.linalg.svd (half, fullMatrices = false)
            Ok((a.mul s).matmul a.mT, (a.div s).matmul a.mT)

    let private step (spec: Spec) (cores: Tensor[]) (run: Plan list -> Tensor list) (bond: Bond) : TensorNetError option =
        use scope = torch.NewDisposeScope()

        let set i (tensor: Tensor) =
            let old = cores[i]
            cores[i] <- scope.Detach tensor
            old.Dispose()

        match bond with
        | Matrix(axis, i, j, p, q) ->
            let layers = run [ p; q ]
            let size core = float (Spec.ownSize spec.Cores[core] spec)

            match root (layers[0].mul(Num.tensor (size i))) (layers[1].mul(Num.tensor (size j))) with
            | Error rank -> Some(TensorNetError.RankDeficientBond(axis.Name, rank, Spec.dim axis spec))
            | Ok(m, inverse) ->
                set i (apply cores[i] (axisIndex spec i axis) m)
                set j (apply cores[j] (axisIndex spec j axis) inverse.mT)
                None
        | Scaling(axis, carriers, terms) ->
            let c =
                List.map2
                    (fun i (term: Tensor) -> term.mul(Num.tensor (float (Spec.ownSize spec.Cores[i] spec))).maximum(Num.tensor 0.0))
                    carriers
                    (run terms)

            let logs = torch.stack(List.toArray c).log()
            // A slice of zeros in any core makes the whole slice of T zero: there is nothing to balance.
            let usable = logs.isfinite().all(0L)
            let mean = logs.mean ([| 0L |])

            carriers
            |> List.iteri (fun row i ->
                let factor =
                    torch.where(usable, logs[int64 row].sub(mean).mul(Num.tensor 0.5), torch.zeros_like mean).exp()

                let shape = Array.create spec.Cores[i].Axes.Length 1L
                let dim = axisIndex spec i axis
                shape[int dim] <- -1L
                set i (cores[i].mul(factor.reshape shape)))

            None

    /// Balances tensors in place (the array's entries are replaced and the old ones disposed) for at most the given number of cycles.
    let internal cycles (limit: int) (all: Bond list) (plan: SensitivityPlan) (cores: Tensor[]) : Result<float * int, TensorNetError list> =
        let spec = plan.Spec
        let index = spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict
        let lookup name = cores[index[Spec.original name]]
        let run plans = Contraction.runMany plans cores[0].dtype cores[0].device lookup

        let sensitivity () =
            use total = Sensitivity.totalOf plan cores[0].dtype cores[0].device lookup
            total.ToDouble()

        let rec loop cycle s =
            if all.IsEmpty || cycle >= limit then
                Ok(s, cycle)
            else
                match all |> List.tryPick (step spec cores run) with
                | Some error -> Error [ error ]
                | None ->
                    let next = sensitivity ()

                    if s - next <= standstill * s || all.Length = 1 then Ok(next, cycle + 1) else loop (cycle + 1) next

        loop 0 (sensitivity ())

    /// <summary>The network of least sensitivity among those that differ from the given one by a gauge: the same T, the least S.</summary>
    /// <remarks>Cycles over the bonds in closed form until S stands still; computed in float64, returned in the dtype of the network. Never raises S.
    /// Idempotent, and from any random gauge of the same network the same S. Errors: a bond whose environment is rank deficient, for which the least S
    /// is not attained.</remarks>
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
                    let best: Tensor seq = if s <= before.ToDouble() then cores else start.Cores
                    new Network(spec, [| for tensor in best -> tensor.``to`` (network.DType, copy = true) |> scope.MoveToOuter |]))
            finally
                for core in cores do
                    core.Dispose()
