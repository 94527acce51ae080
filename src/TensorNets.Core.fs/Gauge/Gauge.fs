namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>The least sensitivity at no change of the tensor.</summary>
/// <remarks>A network's tensor does not change when a matrix M and its inverse are inserted on a bond, or slices of the cores along a
/// hyperedge are scaled by factors of product one; its sensitivity does. For one bond the best H = M Mᵀ is known in closed form:
/// S(H) = const + tr(P H⁻¹) + tr(Q H) is least where H Q H = P. For one hyperedge, where all c_kr = m_k ‖E_k‖² at slice r are equal over
/// the cores.</remarks>
[<RequireQualifiedAccess>]
module Gauge =
    /// A cycle that lowers S by less than this share of it may be the last, if what is left to gain is small too; and one that lowers it by
    /// rounding.
    let private standstill, private rounding = 1e-13, 2e-15

    /// The share of S that may be left to gain where cycles gain little each.
    let private leftOver = 1e-12

    let internal maxCycles = 200

    /// The cores that bonds join, directly or through one another: numbers may be moved between them. Of three and more; two share their
    /// one bond.
    let private connected (count: int) (all: FreeBonds.Bonds) : int list list =
        let part = Array.init count id

        for bond in all.All do
            let cores = FreeBonds.coresOf bond
            let joined = cores |> List.map (fun i -> part[i]) |> Set.ofList

            for i in 0 .. count - 1 do
                if joined.Contains part[i] then
                    part[i] <- joined.MinimumElement

        [ 0 .. count - 1 ] |> List.groupBy (fun i -> part[i]) |> List.map snd

    /// Each core of a part times a number, the product of the numbers one, so that the terms of S become their geometric mean; how much
    /// that lowers S. Along a chain single bonds pass such numbers on by one core a cycle.
    let private level (terms: float[]) (multiply: int -> float -> unit) (cores: int list) : float =
        let own = cores |> List.map (fun i -> terms[i])

        if own |> List.forall (fun term -> term > 0.0 && Double.IsFinite term) then
            let mean = exp (own |> List.averageBy log)
            let gain = own |> List.sumBy (fun term -> term - mean)

            if gain > rounding * List.sum own then
                for i in cores do
                    multiply i (sqrt (terms[i] / mean))

                gain
            else
                0.0
        else
            0.0

    /// What is made of a bond that a step refuses.
    type private Deficient = BondGauge.Working -> FreeBonds.Bond -> TensorNetError -> Result<BondGauge.Step, TensorNetError>

    /// A step at every bond, then one number for each core of a part; how much they lower S together.
    let private pass (deficient: Deficient) (parts: int list list) (bonds: FreeBonds.Bonds) rotates (working: BondGauge.Working) =
        let terms = Array.create working.Cores.Length nan

        let rec steps gain (bonds: FreeBonds.Bond list) =
            match bonds with
            | [] -> Ok gain
            | bond :: others ->
                match BondGauge.step rotates working bond with
                | Error error -> deficient working bond error
                | step -> step
                |> Result.bind (fun step ->
                    // No later step at bonds of other cores changes them.
                    for i, term in step.Terms do
                        terms[i] <- term

                    steps (gain + step.Gain) others)

        let multiply i (factor: float) =
            let old = working.Cores[i]
            working.Cores[i] <- old.mul(Num.tensor factor).DetachFromDisposeScope()
            old.Dispose()

        steps 0.0 bonds.All
        |> Result.map (fun gain ->
            let more = parts |> List.sumBy (level terms multiply)

            if more > 0.0 then
                working.Evaluation.Clear()

            gain + more)

    /// As `cyclesWith`, of cores whose products stay in the range.
    let private cyclesWithin
        (deficient: Deficient)
        (limit: int)
        (all: FreeBonds.Bonds)
        (plan: SensitivityPlan)
        (cores: Tensor[])
        : Result<float * int, TensorNetError list> =
        let spec = plan.Spec
        let lookup = CoreArray.Lookup spec cores
        // S and the bonds meet the same products of cores.
        use evaluation = new BondGauge.Evaluation(all, Sensitivity.plans plan, cores)
        let working: BondGauge.Working = { Spec = spec; Cores = cores; Evaluation = evaluation }

        let sensitivity () =
            use total = Sensitivity.totalKeeping evaluation.Cache plan cores[0].dtype cores[0].device lookup
            total.number ()

        // Two share their one bond.
        let parts = connected spec.Cores.Length all |> List.filter (fun cores -> cores.Length > 2)

        // The first cycle leaves balanced cores as they are. Later ones lower S by about the same factor less each; the first ones by any,
        // so that the larger of the last two factors tells what is left. `calm`: the cycle before looked like the last one too, which a
        // single cycle can do by chance.
        let rec loop cycle s before ratioBefore calm =
            // Where S is no number, no cycle makes it one.
            if cycle >= limit || Double.IsNaN s then
                Ok(sensitivity (), cycle)
            else
                match pass deficient parts all (cycle > 0) working with
                | Error error -> Error [ error ]
                | Ok gain ->
                    let gain = if Double.IsNaN gain then s - sensitivity () else gain
                    let ratio = if before > 0.0 then gain / before else 1.0
                    let factor = max ratio ratioBefore
                    let rest = if factor < 1.0 then gain * factor / (1.0 - factor) else infinity

                    let isCalm = gain <= rounding * s || min gain rest <= standstill * s && rest <= leftOver * s

                    if isCalm && calm || all.All.Length = 1 then
                        Ok(sensitivity (), cycle + 1)
                    else
                        loop (cycle + 1) (s - gain) gain ratio isCalm

        if all.All.IsEmpty then
            Ok(sensitivity (), 0)
        else
            // One cycle compares with nothing.
            loop 0 (if limit = 1 then infinity else sensitivity ()) 0.0 1.0 false

    /// As `cycles`; `deficient` makes what a step makes of a bond that has directions without weight.
    let private cyclesWith deficient (limit: int) (all: FreeBonds.Bonds) (plan: SensitivityPlan) (cores: Tensor[]) =
        let logs = CoreSizes.taken plan.Spec cores

        if logs |> Array.forall ((=) 0.0) then
            cyclesWithin deficient limit all plan cores
        else
            try
                cyclesWithin deficient limit all plan cores
            finally
                CoreSizes.restore (connected plan.Spec.Cores.Length all) logs cores
            |> Result.map (fun (_, count) ->
                Sensitivity.numberOf plan cores[0].dtype cores[0].device (CoreArray.Lookup plan.Spec cores), count)

    /// Balances tensors in place (the array's entries are replaced and the old ones disposed) for at most the given number of cycles.
    let internal cycles limit all plan cores : Result<float * int, TensorNetError list> =
        cyclesWith (fun _ _ error -> Error error) limit all plan cores

    /// As `cycles` for cores in float64, of which no bond is refused: the directions of a deficient one that have no weight are left nearly
    /// as they are. S, the cycles, and whether there was such a bond.
    let internal lenient (limit: int) (all: FreeBonds.Bonds) (plan: SensitivityPlan) (cores: Tensor[]) : float * int * bool =
        let mutable found = false

        let deficient working bond error =
            found <- true

            match bond with
            | FreeBonds.Matrix link -> Ok(BondGauge.lenientStep working link)
            | FreeBonds.Scaling _ -> Error error

        match Decompose.attempt (fun () -> cyclesWith deficient limit all plan cores) with
        | Some(Ok(s, count)) -> s, count, found
        | _ -> Sensitivity.numberOf plan cores[0].dtype cores[0].device (CoreArray.Lookup plan.Spec cores), 0, true

    /// Cores that a dtype does not hold.
    let private outOfRange (spec: Spec) (cores: Tensor seq) (cast: Tensor seq) : TensorNetError list =
        [
            for core, before, after in Seq.zip3 spec.Cores cores cast do
                let largest (tensor: Tensor) = tensor.abs().max().number()
                let size, left = largest before, largest after

                if size > 0.0 && Double.IsFinite size && (left = 0.0 || not (Double.IsFinite left)) then
                    TensorNetError.OutOfRange($"Core '{core.Name}'", Math.Log10 size, string after.dtype)
        ]

    /// <summary>The network of least sensitivity among those that differ from the given one by a gauge: the same T, the least S.</summary>
    /// <remarks>Cycles over the bonds in closed form until S stands still; computed in float64, returned in the dtype of the network. Never
    /// raises S. Idempotent, and from any random gauge of the same network the same S, unless 200 cycles do not suffice: seldom, where the
    /// least S is only approached. T may be of any size, also beyond what the dtype holds. Errors: a bond whose environment is rank
    /// deficient, for which the least S is not attained: <c>truncate</c> it first.</remarks>
    /// <example><code>Gauge.balance network |> orStop</code></example>
    let balance (network: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof network) network
        use _ = Mode.left ()
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
            use work = CoreArray.Of start
            let cores = work.Cores
            let plan = Sensitivity.plan spec

            // With exponents apart: neither S need be a double.
            let isBetter () =
                let total lookup = Sensitivity.scaledTotal plan torch.float64 start.Device lookup
                let before, after = total (Network.lookup start), total (CoreArray.Lookup spec cores)
                let number (s: ScaledTensor) = Math.ScaleB(s.Value.number (), s.Exponent - before.Exponent)
                number after <= number before

            cycles maxCycles (FreeBonds.ofSpec spec) plan cores
            |> Result.bind (fun _ ->
                let best: Tensor list = if isBetter () then List.ofArray cores else List.ofSeq start.Cores
                let cast = [| for tensor in best -> tensor.``to`` (network.DType, copy = true) |]

                match outOfRange spec best cast with
                | [] -> Ok(new Network(spec, cast |> Array.map scope.MoveToOuter))
                | errors -> Error errors)

    /// <summary>The network of least sensitivity in a norm (<c>Sensitivity.totalIn</c>) among those that differ from the given one by a
    /// gauge.</summary>
    /// <remarks>As <c>balance</c>; in the Frobenius norm the same. Errors: those of <c>balance</c> and of a norm.</remarks>
    /// <example><code>Gauge.balanceIn Norm.Frobenius network |> orStop</code></example>
    let balanceIn (norm: Norm) (network: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof network) network
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()

        let owned (network: Network) =
            for core in network.Cores do
                scope.MoveToOuter core |> ignore

            network

        WhitenedNorm.beside norm network.Spec
        |> Result.bind (function
            | None -> balance network |> Result.map owned
            | Some w ->
                use whitened = WhitenedNorm.network w network

                balance whitened
                |> Result.map (fun balanced ->
                    use balanced = balanced
                    use plain = WhitenedNorm.plain w balanced
                    Network.copyAs network.DType plain |> owned))

    /// S of what `balanceIn` gives in float64; NaN where a bond has no gauge, as its rank is below its dimension. Errors: the others of
    /// `balanceIn`.
    let internal leastIn (norm: Norm) (network: Network) : Result<float, TensorNetError list> =
        use wide = Network.copyAs torch.float64 network

        match balanceIn norm wide with
        | Ok balanced ->
            use balanced = balanced
            Sensitivity.valueIn norm balanced
        | Error [ TensorNetError.RankDeficientBond _ ] -> Ok nan
        | Error errors -> Error errors

    /// <summary>The same T with every bond cut to its numerical rank in either of its cores, and hyperedges without slices that are zero in
    /// a core.</summary>
    /// <remarks>Exact to rounding (1e-13 of the largest singular value). What the whole environment makes deficient, as in a loop, stays;
    /// <c>balance</c> refuses that by name. The spec of the result has the smaller dimensions. A network whose cores are not all finite
    /// comes back as it is.</remarks>
    /// <example><code>Gauge.truncate network</code></example>
    let truncate (network: Network) : Network =
        Argument.notNull (nameof network) network
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()
        use work = CoreArray.Of network
        let spec = BondTruncation.truncate network.Spec work.Cores
        new Network(spec, [| for tensor in work.Cores -> tensor.``to`` (network.DType, copy = true) |> scope.MoveToOuter |])

    /// <summary>The network of least sensitivity with the same T, whatever its bonds: <c>truncate</c>, then <c>balance</c>.</summary>
    /// <remarks>For networks that <c>balance</c> refuses because a bond is wider than its rank. The spec of the result has the smaller
    /// dimensions. Errors: a bond that a loop makes deficient; cores that are not finite.</remarks>
    /// <example><code>Gauge.balanceTruncated network |> orStop</code></example>
    let balanceTruncated (network: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof network) network
        use cut = truncate network
        balance cut
