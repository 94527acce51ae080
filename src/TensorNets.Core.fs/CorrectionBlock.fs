namespace TensorNets

open TorchSharp

/// What the correction makes of one core.
[<RequireQualifiedAccess>]
type internal BlockResult =
    | Moved of core: Tensor * lambda: float
    | LeastSquares of core: Tensor
    /// The core stays: its system is not finite, or does not lead to the bound.
    | Kept

/// The correction of one core, all others fixed: min tr(X W Xᵀ) subject to ‖K − T‖ ≤ δ, by one scalar equation.
[<RequireQualifiedAccess>]
module internal CorrectionBlock =
    /// Below this δ/‖K‖ the residual is followed from the current block, where nothing cancels; above, it is cheaper from zero: its relative
    /// rounding is about 1e-16 (‖K‖/δ)².
    let private anchorBelow = 3e-2

    /// The part of a block's bound given up to rounding, so that explicit and algebraic residual agree on which side they are.
    let private guard = 1e-13

    /// How often a block above the bound is solved again at a lower one.
    let private mostAttempts = 2

    /// From the Grams and weights of the block.
    let private solveSystem
        measured
        (kept: Kept option)
        full
        (block: Block)
        lookup
        (target: Tensor)
        norm2
        bound
        (current: Lazy<float>)
        lambda
        grams
        weights
        =
        use scope = torch.NewDisposeScope()
        let anchored = bound * bound < anchorBelow * anchorBelow * norm2 && current.Value < sqrt norm2

        let pencils =
            List.map3 (fun branch gram weight -> Linalg.pencil branch.Diagonal gram weight) block.Branches grams weights

        let batch = Environment.size block.Batch block

        // Each branch's g and w along its own dimension; products over the other branches fill the grid.
        let g, w =
            match pencils with
            | [] ->
                torch.ones ([| batch |], dtype = target.dtype, device = target.device),
                torch.zeros ([| batch |], dtype = target.dtype, device = target.device)
            | several ->
                let grid = Linalg.grid (several |> List.map (fun p -> p.G, p.W))
                grid.G, grid.W

        let transform (pick: Pencil -> Tensor) x = pencils |> List.indexed |> List.fold (fun x (i, p) -> Environment.along i (pick p) x) x

        let source, rho2 =
            if anchored then
                let tensor = Contraction.runMany [ full ] target.dtype target.device lookup |> List.head

                let rest = target.minus (tensor)
                rest, rest.squared().sum().number()
            else
                target, norm2

        let c = Environment.targetOf (if anchored then None else kept) block lookup source
        let d = transform _.V c

        let y0 =
            if anchored then
                Environment.toX block (lookup block.Core.Name) |> transform (fun p -> p.M.matmul p.V)
            else
                torch.zeros_like d

        let over (a: Tensor) = Linalg.toArray (a.sum([| 1L |]).reshape -1L)

        let secular =
            {
                G = Linalg.toArray (g.reshape -1L)
                W = Linalg.toArray (w.reshape -1L)
                DD = over (d.squared ())
                DY = over (d.mul y0)
                YY = over (y0.squared ())
                Rho2 = rho2
            }

        let blockAt lambda =
            let q = g.plus(w.mul (Num.tensor lambda)).unsqueeze 1L
            let numerator = y0.mul(g.unsqueeze 1L).plus(d)

            torch.where (q.gt (Num.tensor 0.0), numerator.div q, torch.zeros_like d)
            |> transform (fun p -> p.V.mT)

        // The basis of a singular weight has long vectors, along which d and with it the residual lose digits.
        let isRough = pencils |> List.exists (fun p -> not p.IsDefinite)
        let bound2 = bound * bound * (1.0 - guard)

        /// The block at a bound; a lower one in its place where the block turns out above the bound.
        let rec solved (attempts: int) (bound2': float) : BlockResult * float option =
            let moved lambda =
                let x = blockAt lambda
                let core = Environment.ofX block x

                let residual =
                    if not anchored && (measured || isRough) then Environment.residual norm2 grams c x else None

                // What the Grams cannot tell the explicit difference does.
                let explicitly () =
                    let withCore name = if Spec.original name = block.Core.Name then core else lookup name
                    Fit.explicitError full target withCore |> fun error -> error * error

                match residual with
                | _ when isRough && not anchored && attempts > 0 ->
                    let found = residual |> Option.defaultWith explicitly

                    if found > bound2 then
                        solved (attempts - 1) (bound2' - 2.0 * (found - bound2))
                    else
                        BlockResult.Moved(scope.MoveToOuter core, lambda), residual
                | _ -> BlockResult.Moved(scope.MoveToOuter core, lambda), residual

            match Secular.solve bound2' lambda secular with
            | Multiplier.Root lambda -> moved lambda
            | Multiplier.Slack -> moved 1e300
            | Multiplier.AboveBound when current.Value <= bound -> BlockResult.Kept, None
            | Multiplier.AboveBound -> BlockResult.LeastSquares(Als.solveBlock kept block lookup target |> scope.MoveToOuter), None

        solved mostAttempts bound2

    /// As `solve`, with what is kept from blocks before, and ‖K‖². Beside it ‖K − T‖² after the block, where that was asked for and its Grams tell it.
    let solveKeeping measured kept full block lookup target norm2 bound current lambda : BlockResult * float option =
        use scope = torch.NewDisposeScope()
        let grams = Environment.grams kept block lookup target
        let weights = Environment.weights kept block lookup target

        // Decompositions would throw.
        if grams @ weights |> List.exists (fun matrix -> not (matrix.isfinite().all().truth())) then
            BlockResult.Kept, None
        else
            let result, residual =
                solveSystem measured kept full block lookup target norm2 bound current lambda grams weights

            match result with
            | BlockResult.Moved(core, _)
            | BlockResult.LeastSquares core -> scope.MoveToOuter core |> ignore
            | BlockResult.Kept -> ()

            result, residual

    /// The exact minimiser of S over one core subject to the bound. `current` is ‖K − T‖ as it stands.
    let solve (full: Plan) (block: Block) lookup (target: Tensor) (bound: float) (current: float) (lambda: float option) : BlockResult =
        let norm2 = target.squared().sum().number()
        solveKeeping false None full block lookup target norm2 bound (lazy current) lambda |> fst
