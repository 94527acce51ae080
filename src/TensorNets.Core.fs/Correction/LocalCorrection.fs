namespace TensorNets

open TorchSharp

/// What the correction makes of one core.
[<RequireQualifiedAccess>]
type internal BlockResult =
    | Moved of core: Tensor * lambda: float
    | LeastSquares of core: Tensor
    /// The core stays: its system is not finite, or does not lead to the bound.
    | Unchanged

/// What the correction made of one core.
type internal BlockOutcome =
    {
        Result: BlockResult
        /// ‖K − T‖² after it, where its Grams tell it.
        Residual: float option
        /// `LocalAlgebra.reach` after it, where it moved.
        Reach: float option
    }

/// One core to be corrected, all others fixed.
[<NoEquality; NoComparison>]
type internal LocalCorrectionInput =
    {
        /// What is kept from blocks before.
        Cache: IntermediateCache option
        /// The plan of T.
        Full: Plan
        Block: Block
        Lookup: string -> Tensor
        Target: Tensor
        /// ‖K‖².
        Norm2: float
        /// δ.
        Bound: float
        /// ‖K − T‖ as it stands.
        Error: Lazy<float>
        /// The largest reach (`LocalAlgebra.reach`) of the other cores.
        Reach: float
        /// λ of the last time, near which the next one is looked for.
        Lambda: float option
    }

/// The system of one core in coordinates in which it is solved for any multiplier.
[<NoEquality; NoComparison>]
type internal BlockSystem =
    {
        /// About where λ changes the block.
        Scale: float
        /// ‖K − T‖² at the block of λ.
        Residual: float -> float
        /// X(λ).
        At: float -> Tensor
        /// Whether coordinates are long, along which the residual loses digits: those of a singular weight.
        IsRough: bool
    }

/// The correction of one core, all others fixed: min tr(X W Xᵀ) subject to ‖K − T‖ ≤ δ, by one scalar equation.
[<RequireQualifiedAccess>]
module internal LocalCorrection =
    /// Below this δ/‖K‖ the residual is followed from the current block, where nothing cancels; above, it is cheaper from zero: its
    /// relative rounding is about 1e-16 (‖K‖/δ)².
    let private anchorBelow = 3e-2

    /// The part of a block's bound given up to rounding, so that explicit and algebraic residual agree on which side they are.
    let private guard = 1e-13

    /// How often a block above the bound is solved again at a lower one, and the relative excess in ‖K − T‖² for that.
    let private mostAttempts, private excess = 2, 1e-10

    /// The bound on the rounding of a residual from Grams above which the explicit difference is asked: what rounding is found is a
    /// hundredth of it.
    let private vague = 1e-8

    /// λ where the bound holds at X = 0: beyond every ratio of G to W.
    let private slackMultiplier = 1e300

    /// Squares above this multiple of the largest that Cauchy and Schwarz allow are no rounding of such a one.
    let private slack = 2.0

    /// In the basis that makes every branch's Gram and weight diagonal. `start`: the block from which the residual `rho2` is followed, or
    /// none, for zero.
    let internal spectral (grams: Tensor list) (weights: Tensor list) (c: Tensor) (start: Tensor option) (rho2: float) : BlockSystem =
        let pencils = List.map2 Pencil.pencil grams weights
        let batch = c.shape[0]

        // Each branch's g and w along its own dimension; products over the other branches fill the grid.
        let g, w =
            match pencils with
            | [] ->
                torch.ones ([| batch |], dtype = c.dtype, device = c.device), torch.zeros ([| batch |], dtype = c.dtype, device = c.device)
            | several ->
                let grid = Pencil.grid (several |> List.map (fun p -> p.G, p.W))
                grid.G, grid.W

        let transform (pick: Pencil -> Tensor) x = pencils |> List.indexed |> List.fold (fun x (i, p) -> LocalAlgebra.along i (pick p) x) x

        let sum (a: Tensor) : Tensor = a.sum ([| 1L |])
        let d = transform _.V c

        // ⟨K, T⟩ for the tensor T of a coordinate, whose squared norm is g: what exceeds ‖K‖ √g is rounding, which a small g + λw would
        // blow up where two branches vanish.
        let d, dd =
            let dd = sum (d.squared ())
            let isFelt = dd.le (g.mul (Num.tensor (slack * rho2)))

            if isFelt.all().truth() then
                d, dd
            else
                torch.where (isFelt.unsqueeze 1L, d, torch.zeros_like d), torch.where (isFelt, dd, torch.zeros_like dd)

        let y0 =
            match start with
            | Some x -> x |> transform (fun p -> Kernels.matmul (p.M, p.V))
            | None -> torch.zeros_like d

        let entries (a: Tensor) = ConstrainedQuadratics.toArray (a.reshape -1L)

        let secular =
            {
                G = entries g
                W = entries w
                DD = entries dd
                DY = entries (sum (d.mul y0))
                YY = entries (sum (y0.squared ()))
                Rho2 = rho2
            }

        {
            Scale = Secular.scale (Array.sum secular.G) (Array.sum secular.W)
            Residual = Secular.residual secular
            At =
                fun lambda ->
                    let q = g.plus(w.mul (Num.tensor lambda)).unsqueeze 1L
                    let numerator = y0.mul(g.unsqueeze 1L).plus(d)

                    torch.where (q.gt (Num.tensor 0.0), numerator.div q, torch.zeros_like d)
                    |> transform (fun p -> p.V.mT)
            IsRough = pencils |> List.exists (fun p -> not p.IsDefinite)
        }

    /// From this many columns of one branch on, its Gram becomes tridiagonal instead of diagonal; below, what surrounds that costs more
    /// than eigenvectors.
    let private wide = 96L

    /// The least ratio of the pivots of a tridiagonal Gram at which it is used.
    let private regular = 1e-10

    /// In the basis that makes the weight of the only branch the identity and its Gram tridiagonal, where both are well conditioned.
    let internal tridiagonal (gram: Tensor) (weight: Tensor) (c: Tensor) (start: Tensor option) (rho2: float) : BlockSystem option =
        Pencil.congruence gram weight
        |> Option.bind (fun congruence ->
            let t = Tridiagonal.reduce (congruence.Reduced.squeeze 0L)

            if Tridiagonal.share t < regular then
                None
            else
                // Everything transposed, so that the entries of a coordinate lie side by side.
                let coordinates (x: Tensor) = Tridiagonal.into t ((congruence.Adjoint x.mT).squeeze 0L)
                let d = coordinates c

                let y0 = start |> Option.map (LocalAlgebra.along 0 weight >> coordinates)

                let anchor: Tensor | null =
                    match y0 with
                    | Some y -> y
                    | None -> null

                let u = torch.empty_like d

                Some
                    {
                        Scale = Secular.scale (Array.sum t.Diagonal) (float t.Diagonal.Length)
                        Residual = fun lambda -> rho2 - Tridiagonal.solve t lambda d anchor u
                        At =
                            fun lambda ->
                                Tridiagonal.solve t lambda d anchor u |> ignore

                                let y =
                                    match y0 with
                                    | Some y -> u.plus y
                                    | None -> u

                                (congruence.Times(Tridiagonal.back t y |> _.unsqueeze(0L))).mT
                        IsRough = false
                    })

    /// In the basis that is the cheaper one: the block at any multiplier.
    let systemOf (grams: Tensor list) (weights: Tensor list) c start rho2 : BlockSystem =
        match grams, weights with
        | [ gram ], [ weight ] when gram.shape[0] = 1L && gram.shape[2] >= wide -> tridiagonal gram weight c start rho2
        | _ -> None
        |> Option.defaultWith (fun () -> spectral grams weights c start rho2)

    /// What of K the block has to make up for, and its squared norm: followed from the current block (`anchored`), K − T.
    let private source (given: LocalCorrectionInput) (anchored: bool) : Tensor * float =
        if anchored then
            let tensor =
                Contraction.runMany [ given.Full ] given.Target.dtype given.Target.device given.Lookup |> List.head

            let rest = given.Target.minus (tensor)
            rest, rest.squared().sum().number()
        else
            given.Target, given.Norm2

    let private current (given: LocalCorrectionInput) = LocalProblem.toX given.Block (given.Lookup given.Block.Core.Name)

    /// S without the term that this core does not change.
    let private ownS (grams: Tensor list) (weights: Tensor list) (x: Tensor) : float =
        use _ = torch.NewDisposeScope()
        x.mul(LocalAlgebra.timesWeight grams weights x).sum().number()

    let private unmoved result = { Result = result; Residual = None; Reach = None }

    /// From the Grams and weights of the block.
    let private solveSystem (given: LocalCorrectionInput) (grams: Tensor list) (weights: Tensor list) : BlockOutcome =
        use scope = torch.NewDisposeScope()
        let block, norm2, bound = given.Block, given.Norm2, given.Bound

        let anchored = bound * bound < anchorBelow * anchorBelow * norm2 && given.Error.Value < sqrt norm2

        let source, rho2 = source given anchored
        let c = LocalProblem.targetOf (if anchored then None else given.Cache) block given.Lookup source
        let start = if anchored then Some(current given) else None

        let system = systemOf grams weights c start rho2
        let bound2 = bound * bound * (1.0 - guard)

        // A lower bound costs S: where that leaves nothing to gain, the core stays.
        let isWorse x = given.Error.Value <= bound && ownS grams weights x > ownS grams weights (current given)

        /// The block at a bound; a lower one in its place where the block turns out above the bound.
        let rec solved (attempts: int) (bound2': float) : BlockOutcome =
            let moved lambda =
                let x = system.At lambda
                let core = LocalProblem.ofX block x
                let own = LocalAlgebra.reach grams x
                let largest = max own given.Reach

                // What the Grams cannot tell the explicit difference does.
                let explicitly () =
                    let withCore name = if Spec.original name = block.Core.Name then core else given.Lookup name
                    Fit.explicitError given.Full given.Target withCore |> fun error -> error * error

                let value = if anchored then bound2 else LocalAlgebra.residual norm2 grams c x
                let residual = if anchored then None else LocalAlgebra.exact norm2 largest value

                let isVague =
                    residual.IsNone && (system.IsRough || not (LocalAlgebra.rounding norm2 largest value <= vague))

                let found = if isVague then explicitly () else value

                if attempts > 0 && found > bound2 * (1.0 + excess) then
                    solved (attempts - 1) (bound2' - 2.0 * (found - bound2))
                elif attempts < mostAttempts && isWorse x then
                    unmoved BlockResult.Unchanged
                else
                    {
                        Result = BlockResult.Moved(scope.MoveToOuter core, lambda)
                        Residual = residual
                        Reach = Some own
                    }

            match Secular.solveFor bound2' given.Lambda system.Scale system.Residual with
            | Multiplier.Root lambda -> moved lambda
            | Multiplier.Slack -> moved slackMultiplier
            | Multiplier.AboveBound when given.Error.Value <= bound -> unmoved BlockResult.Unchanged
            | Multiplier.AboveBound ->
                unmoved (BlockResult.LeastSquares(Als.solveBlock given.Cache block given.Lookup given.Target |> scope.MoveToOuter))

        solved mostAttempts bound2

    let private toOuter (scope: DisposeScope) (result: BlockResult) =
        match result with
        | BlockResult.Moved(core, _)
        | BlockResult.LeastSquares core -> scope.MoveToOuter core |> ignore
        | BlockResult.Unchanged -> ()

        result

    /// The exact minimiser of S over one core subject to the bound.
    let solve (given: LocalCorrectionInput) : BlockOutcome =
        use scope = torch.NewDisposeScope()
        let grams = LocalProblem.grams given.Cache given.Block given.Lookup given.Target
        let weights = LocalProblem.weights given.Cache given.Block given.Lookup given.Target

        // Decompositions would throw.
        if grams @ weights |> List.exists (fun matrix -> not (matrix.isfinite().all().truth())) then
            unmoved BlockResult.Unchanged
        else
            let outcome = solveSystem given grams weights
            { outcome with Result = toOuter scope outcome.Result }
