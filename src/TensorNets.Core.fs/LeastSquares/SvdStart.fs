namespace TensorNets

open System
open TorchSharp

/// <summary>Starting points from singular value decompositions.</summary>
[<RequireQualifiedAccess>]
module SvdStart =
    let private unfold (tensor: Tensor) (mode: int) = tensor.movedim([| int64 mode |], [| 0L |]).reshape(tensor.shape[mode], -1L)

    /// The share of the largest singular value below which a direction is none of the target's.
    let private nothing = 1e-6

    /// ‖uᵀA‖ of each column u of a basis, to about 1e-8 of ‖A‖. The product with a wide A would be larger than the target as often as there
    /// are columns more than rows; its Gram is not.
    let private weightsOf (unfolding: Tensor) (basis: Tensor) : Tensor =
        if unfolding.shape[0] <= unfolding.shape[1] then
            let gram = unfolding.matmul unfolding.mT
            basis.mul(gram.matmul basis).sum([| 0L |]).maximum(Num.tensor 0.0).sqrt()
        else
            basis.mT.matmul(unfolding).norm(1)

    /// The leading basis of a mode; in place of directions that the target has nothing of, noise: a term that is orthogonal to the target
    /// in one mode is zero after a step in any other, and least squares never move it again.
    let private basisOf sketch generator (rank: int) (unfolding: Tensor) : Tensor =
        let basis = RangeFinder.leading sketch generator rank unfolding
        let weights = weightsOf unfolding basis
        let isNone = weights.le (weights.max().mul(Num.tensor nothing))

        if isNone.any().truth() then
            let noise = Fresh.noise generator torch.float64 basis.device basis.shape
            torch.where (isNone, noise, basis)
        else
            basis

    /// One leading basis for each core: the start of a CP decomposition. Its columns have one norm in all cores, the power of two (so that
    /// nothing rounds) for which the squared norms of the terms add up to about that of the target.
    let private perMode sketch generator (rank: int) (target: Tensor) =
        let modes = int (target.dim ())
        let norm = target.norm().number()
        let exponent = Math.Log2(norm / sqrt (float rank)) / float modes
        let size = if Double.IsFinite exponent then Math.ScaleB(1.0, int (round exponent)) else 1.0

        [
            for mode in 0 .. modes - 1 ->
                let basis = basisOf sketch generator rank (unfold target mode)
                // What a mode has fewer of is noise, of any norm.
                basis.div(basis.norm (0, true)).mul(Num.tensor size)
        ]

    /// The standard deviation of the noise in directions that a chain has no singular vectors for: small beside those, and not zero, where
    /// least squares would stand still.
    let private padding = 1e-3

    /// Sequential SVDs along the chain; the first bond's rank is shared out over the ring (TR-SVD).
    let private tensorChain (sketch: Sketch option) (generator: torch.Generator) (ranks: int list) (target: Tensor) =
        let n = ranks.Length
        let ranks = List.toArray ranks
        let shape = target.shape
        let closing = int64 ranks[0]

        let pad (matrix: Tensor) (rows: int64) (columns: int64) : Tensor =
            let noise =
                (Fresh.noise generator torch.float64 matrix.device [| rows; columns |]).mul(Num.tensor padding)

            let r, c = min rows matrix.shape[0], min columns matrix.shape[1]

            noise.narrow(0L, 0L, r).narrow(1L, 0L, c).copy_(matrix.narrow(0L, 0L, r).narrow(1L, 0L, c))
            |> ignore

            noise

        // Core 0: the leading singular vectors of the first unfolding, its columns folded into (bond 0, bond 1).
        let split = closing * int64 ranks[1]
        let first = RangeFinder.leading sketch generator (int split) (unfold target 0)
        let core0 = first.reshape(shape[0], closing, int64 ranks[1]).permute(1L, 0L, 2L)
        // What remains: (bond 0, bond 1, modes 1 …), with bond 0 moved to the end, where the ring closes.
        let rest = first.mT.matmul (unfold target 0)

        let mutable remaining =
            rest.reshape(closing, int64 ranks[1], -1L).permute(1L, 2L, 0L).reshape(int64 ranks[1] * shape[1], -1L)

        [
            core0
            for i in 1 .. n - 2 do
                let next = int64 ranks[i + 1]
                let u = RangeFinder.leading sketch generator (int next) remaining
                let folded = pad u u.shape[0] next
                folded.reshape (int64 ranks[i], shape[i], next)
                let projected = folded.mT.matmul remaining
                remaining <- projected.reshape (next * shape[i + 1], -1L)
            remaining.reshape (int64 ranks[n - 1], shape[n - 1], closing)
        ]

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
    /// <example><code>SvdStart.noise 1UL spec target |> orStop</code></example>
    let noise (seed: uint64) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof spec) spec
        use _ = Mode.left ()

        match Check.forSpec spec target with
        | [] ->
            use scope = torch.NewDisposeScope()
            use network = Network.random torch.float64 seed spec
            let units = TargetUnits.ofTarget spec target
            let norm = (TargetUnits.target units (Check.double target)).norm().number()
            let ratio = norm / (Contraction.reconstruct network).norm().number()
            let share = Num.tensor (Math.Pow(ratio, 1.0 / float network.Cores.Count))
            let cores = [ for core in network.Cores -> core.mul share ]
            Ok(owned spec (TargetUnits.cores units spec cores) scope)
        | errors -> Error errors

    /// <summary>A start from singular value decompositions, made as the options say: truncated at every bond of a tree (Tucker, Tucker-2,
    /// tensor train, hierarchical Tucker, or any other), the leading singular vectors of the unfoldings for CP, sequential for a ring. Any
    /// other network starts from noise.</summary>
    /// <remarks><para>Computed in float64. Where a rank exceeds what a branch has, the rest is noise from the seed. For a tree whose ranks
    /// do not, with τ_b² the sum of the squared singular values of the target that the rank of bond b leaves out: ‖K − T‖² ≤ Σ_b τ_b², so
    /// that ‖K − T‖ is at most √(number of bonds) times the least error at these ranks. Sequential, T is a projection of K: ‖K − T‖² = ‖K‖²
    /// − ‖T‖², with the same bound; each decomposition is of a smaller matrix, the smallest branches first.</para>
    /// <para>With a sketch of p vectors beyond rank r: E‖A − U Uᵀ A‖_F ≤ √(2 + r/(p − 1)) τ for each decomposition. It is used where
    /// (r + p)(2q + 2), with q power iterations, is at most the smaller dimension, so that it never takes more products of the unfolding
    /// than the Gram: O(r n m) for n × m. The same seed gives the same bits.</para>
    /// <para>Sources: Kolda and Bader 2009, §3.4 and §4.2; De Lathauwer, De Moor and Vandewalle 2000 (HOSVD); Vannieuwenhoven, Vandebril
    /// and Meerbergen, "A New Truncation Strategy for the Higher-Order Singular Value Decomposition", SIAM J. Sci. Comput. 34(2), 2012
    /// (ST-HOSVD); Oseledets 2011 (TT-SVD); Grasedyck 2010 (HT); Zhao et al. 2016 (TR-SVD); Halko, Martinsson and Tropp, SIAM Review 53(2),
    /// 2011 (sketches).</para></remarks>
    /// <param name="options">Errors: fewer than two vectors of oversampling; a negative number of power iterations.</param>
    /// <param name="seed">The seed of sketches and noise.</param>
    /// <param name="spec">The network.</param>
    /// <param name="target">K, of the shape of the spec's output.</param>
    /// <example><code>SvdStart.startWith { SvdOptions.defaults with Sequential = true } 1UL spec target |> orStop</code></example>
    let startWith (options: SvdOptions) (seed: uint64) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof spec) spec
        use _ = Mode.left ()

        let from (cores: torch.Generator -> Tensor -> Tensor list) =
            match SvdOptions.check options @ Check.forSpec spec target with
            | [] ->
                use scope = torch.NewDisposeScope()
                use generator = new torch.Generator(seed)
                let units = TargetUnits.ofTarget spec target
                let k = TargetUnits.target units (Check.double target)
                Ok(owned spec (TargetUnits.cores units spec (cores generator k)) scope)
            | errors -> Error errors

        let sketch = options.Sketch

        if TreeSvd.isTree spec then
            from (fun generator k ->
                if options.Sequential then
                    TreeSvd.sequential sketch generator spec k
                else
                    TreeSvd.independent sketch generator spec k)
        elif isCp spec then
            from (fun generator k -> perMode sketch generator (Spec.dim (Spec.bonds spec).Head spec) k)
        elif isRing spec then
            let ranks = spec.Cores |> List.map (fun core -> Spec.dim core.Axes.Head spec)
            from (fun generator k -> tensorChain sketch generator ranks k)
        else
            match SvdOptions.check options with
            | [] -> noise seed spec target
            | errors -> Error errors

    /// <summary>A start from singular value decompositions of the target by the smaller Gram: equivalent to <c>startWith
    /// SvdOptions.defaults</c>.</summary>
    /// <example><code>SvdStart.start 1UL spec target |> orStop</code></example>
    let start (seed: uint64) (spec: Spec) (target: Tensor) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof spec) spec
        startWith SvdOptions.defaults seed spec target
