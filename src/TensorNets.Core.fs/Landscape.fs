namespace TensorNets

open TorchSharp

/// S and r = ‖K − T‖² over all cores at once, with their gradients, for methods that move every core together. A point is a vector: the cores' entries, one
/// core after the other. With the blocks' X, G, W and C: ∇S = 2 X W, ∇r = 2 (X G − C).
type internal Landscape =
    {
        Blocks: Block list
        Shapes: int64[][]
        Target: Tensor
        Norm2: float
        /// T, where r must come from the explicit difference: the sum of its terms loses r below 1e-16 ‖K‖².
        Explicit: Plan option
        /// The target of each block, then for each block its Grams and its weights: the largest products are made and gone before there are any matrices.
        Plans: Plan list
    }

/// The landscape at a point: the values, the gradients, and each block's G and W, one for each of its branches.
type internal Ground =
    {
        S: float
        Residual: float
        SlopeS: Tensor
        SlopeResidual: Tensor
        Matrices: (Tensor list * Tensor list) list
    }

[<RequireQualifiedAccess>]
module internal Ground =
    let private tensors (ground: Ground) =
        [
            ground.SlopeS
            ground.SlopeResidual
            for grams, weights in ground.Matrices do
                yield! grams
                yield! weights
        ]

    let release (ground: Ground) =
        for tensor in tensors ground do
            tensor.Dispose()

    /// The tensors moved to the scope around the given one.
    let toOuter (scope: DisposeScope) (ground: Ground) : Ground =
        for tensor in tensors ground do
            scope.MoveToOuter tensor |> ignore

        ground

[<RequireQualifiedAccess>]
module internal Landscape =
    /// Below this δ/‖K‖ r is computed from the explicit difference.
    let private explicitBelow = 3e-2

    /// For residuals down to a bound.
    let make (spec: Spec) (target: Tensor) (bound: float) : Landscape =
        let blocks = Environment.blocks spec
        // Without a tensor of squares.
        let norm2 = target.norm().number() ** 2.0
        let small = bound * bound < explicitBelow * explicitBelow * norm2

        {
            Blocks = blocks
            Shapes = [| for block in blocks -> [| for axis in block.Core.Axes -> int64 block.Dims[axis] |] |]
            Target = target
            Norm2 = norm2
            Explicit = if small then Some(Plan.make Order.Auto spec) else None
            Plans =
                [
                    yield! blocks |> List.map _.Target
                    for block in blocks do
                        yield! block.Branches |> List.map _.Gram
                        yield! block.Branches |> List.collect (_.Weights >> List.map snd)
                ]
        }

    /// Twice a gradient with respect to X as one with respect to the core.
    let private pulled (block: Block) (half: Tensor) : Tensor =
        // ofX spreads a value over the lone axes; each of their entries has the full slope.
        (Environment.ofX block half).mul(Num.tensor (2.0 * float (Environment.size block.Lone block)))

    /// Σ m_i W_i; the terms are disposed.
    let private weighted (terms: (float * Tensor) list) : Tensor =
        let times (factor: float, term: Tensor) =
            if factor = 1.0 then
                term
            else
                let product = term.mul (Num.tensor factor)
                term.Dispose()
                product

        // Never in place: another block may have the same term.
        (times terms.Head, terms.Tail)
        ||> List.fold (fun sum term ->
            use before = sum
            use part = times term
            before.plus part)

    /// A block at a point: X, C, and G and the weights with their factors, one of each for every branch.
    let private parts
        (land: Landscape)
        (point: Tensor)
        : Tensor list * (Block * Tensor * Tensor * Tensor list * (float * Tensor) list list) list =
        let all = Point.cores land.Shapes point
        let index = land.Blocks |> List.mapi (fun i block -> block.Core.Name, i) |> dict
        let lookup name = all[index[name]]

        let results =
            Environment.evaluate land.Blocks.Head lookup land.Target (Option.toList land.Explicit @ land.Plans)

        let explicitly, results = results |> List.splitAt (Option.toList land.Explicit).Length
        let targets, matrices = results |> List.splitAt land.Blocks.Length

        /// What belongs to each block, from the list of all matrices.
        let rec share blocks targets (rest: Tensor list) =
            match blocks, targets with
            | (block: Block) :: blocks, (target: Tensor) :: targets ->
                let batch = Environment.size block.Batch block

                let square (branch: Branch) (m: Tensor) =
                    let p = Environment.size branch.Columns block
                    m.reshape (batch, p, p)

                let grams, rest = List.splitAt block.Branches.Length rest

                let weights, rest =
                    (rest, block.Branches)
                    ||> List.mapFold (fun rest branch ->
                        let own, rest = List.splitAt branch.Weights.Length rest
                        let shape = Environment.weightShape block branch
                        List.map2 (fun (factor, _) (w: Tensor) -> factor, w.reshape shape) branch.Weights own, rest)

                let x = Environment.toX block all[index[block.Core.Name]]
                let c = target.reshape (Environment.solveShape block)
                (block, x, c, List.map2 square block.Branches grams, weights) :: share blocks targets rest
            | _ -> []

        explicitly, share land.Blocks targets matrices

    /// Everything at a point. The caller's scope owns the tensors.
    let at (land: Landscape) (point: Tensor) : Ground =
        use scope = torch.NewDisposeScope()
        let explicitly, parts = parts land point

        let last = List.last land.Blocks

        // ‖K‖² + ⟨X, X G − 2 C⟩ of any one block.
        let residual (x: Tensor) (half: Tensor) (target: Tensor) =
            match land.Explicit with
            | Some _ -> land.Target.minus(explicitly.Head).squared().sum().number()
            | None -> land.Norm2 + x.mul(half.minus target).sum().number()

        let pieces =
            parts
            |> List.map (fun (block, x, target, grams, weights) ->
                use inner = torch.NewDisposeScope()
                let weights = weights |> List.map weighted
                let xw = Environment.timesWeight grams weights x
                let half = (Environment.times grams x).minus target

                {|
                    SlopeS = pulled block xw |> inner.MoveToOuter
                    SlopeResidual = pulled block half |> inner.MoveToOuter
                    Residual = if block.Core.Name = last.Core.Name then residual x half target else nan
                    Matrices = grams, weights |> List.map inner.MoveToOuter
                |})

        let slopeS = pieces |> List.map _.SlopeS |> Point.ofCores

        {
            // Each term of S holds every core but one, so that ½⟨θ, ∇S⟩ counts it once less than there are cores.
            S = 0.5 * Point.dot point slopeS / float (max 1 (land.Blocks.Length - 1))
            Residual = (List.last pieces).Residual
            SlopeS = slopeS
            SlopeResidual = pieces |> List.map _.SlopeResidual |> Point.ofCores
            Matrices = pieces |> List.map _.Matrices
        }
        |> Ground.toOuter scope

    /// ∇S + μ ∇r alone, which is less work than everything: one product for each core. The caller's scope owns it.
    let slope (land: Landscape) (mu: float) (point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let _, parts = parts { land with Explicit = None } point

        parts
        |> List.map (fun (block, x, target, grams, weights) ->
            use inner = torch.NewDisposeScope()
            // X Σ_i (W_i ⊗ the other G) + μ X ⊗ G: the second goes with the first branch.
            let product =
                match grams, weights with
                | gram :: _, first :: others ->
                    Environment.timesWeight grams (Environment.combined mu gram (weighted first) :: List.map weighted others) x
                | _ -> x.mul (Num.tensor mu)

            pulled block (product.minus (target.mul (Num.tensor mu))) |> inner.MoveToOuter)
        |> Point.ofCores
        |> scope.MoveToOuter

    /// The inverse of the blocks' own curvature 2 (W + μ G), as a map of vectors: what block descent takes for the whole.
    let preconditioner (land: Landscape) (mu: float) (ground: Ground) : Tensor -> Tensor =
        let ridge = 1e-12

        /// Half the inverse, for the 2 of the curvature. Few matrices are held at a time: they may be larger than the target.
        let inverse (scale: Tensor) (gram: Tensor) (weight: Tensor) : Tensor =
            use scope = torch.NewDisposeScope()
            let matrix = Environment.combined mu gram weight
            let diagonal = matrix.diagonal (dim1 = -2L, dim2 = -1L)
            let mean = diagonal.mean([| -1L |]).unsqueeze -1L

            let rec attempt (before: float) share =
                diagonal.add_ (mean.mul (Num.tensor (share - before)), Num.one) |> ignore
                let struct (factor, info) = torch.linalg.cholesky_ex matrix

                if info.count_nonzero().integer() = 0L || share > 1e-3 then
                    factor
                else
                    factor.Dispose()
                    attempt share (share * 100.0)

            let factor = attempt 0.0 ridge
            matrix.zero_ () |> ignore
            diagonal.copy_ scale |> ignore
            matrix.cholesky_solve factor |> scope.MoveToOuter

        // Half, for the 2 of the curvature; once over the lone axes in and out again.
        let solvers =
            List.map2
                (fun (block: Block) (grams: Tensor list, weights: Tensor list) ->
                    let scale = Num.tensor (0.5 / float (Environment.size block.Lone block))

                    match grams, weights with
                    | [], [] -> fun (x: Tensor) -> x.mul scale
                    | [ g ], [ w ] -> Environment.along 0 (inverse scale g w)
                    | _ ->
                        let pencils = List.map2 Linalg.pencil grams weights

                        let grid = Linalg.grid (pencils |> List.map (fun p -> p.G, p.W))
                        let q = grid.W.plus(grid.G.mul (Num.tensor mu)).unsqueeze 1L
                        let reciprocal = torch.where(q.gt (Num.tensor 0.0), q.reciprocal (), torch.zeros_like q).mul scale
                        let vs = pencils |> List.map _.V
                        let turned = vs |> List.map _.mT
                        fun x -> Environment.times turned ((Environment.times vs x).mul reciprocal))
                land.Blocks
                ground.Matrices

        fun vector ->
            use scope = torch.NewDisposeScope()
            let parts = Point.cores land.Shapes vector

            List.map3
                (fun (block: Block) solve (part: Tensor) -> Environment.toX block part |> solve |> Environment.ofX block)
                land.Blocks
                solvers
                (List.ofArray parts)
            |> Point.ofCores
            |> scope.MoveToOuter
