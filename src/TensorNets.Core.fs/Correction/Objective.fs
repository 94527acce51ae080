namespace TensorNets

open TorchSharp

/// S and r = ‖K − T‖² over all cores at once, with their gradients, for methods that move every core together. A point is a vector: the
/// cores' entries, one core after the other. With the blocks' X, G, W and C: ∇S = 2 X W, ∇r = 2 (X G − C).
type internal Objective =
    {
        Blocks: Block list
        Shapes: int64[][]
        Target: Tensor
        Norm2: float
        /// T, where r must come from the explicit difference: the sum of its terms loses r below 1e-16 ‖K‖².
        Explicit: Plan option
        /// Blocks whose G and W are made together: all, or one at a time where they are larger than the target.
        Groups: Block list list
    }

/// The values and the gradients at a point.
type internal Evaluation =
    {
        S: float
        Residual: float
        SlopeS: Tensor
        SlopeResidual: Tensor
        /// Each block's G and W, one for each of its branches, where they are not larger than the target: what else they serve is made from
        /// them.
        Matrices: (Tensor list * Tensor list) list
    }

[<RequireQualifiedAccess>]
module internal Evaluation =
    let private tensors (evaluation: Evaluation) =
        [
            evaluation.SlopeS
            evaluation.SlopeResidual
            for grams, weights in evaluation.Matrices do
                yield! grams
                yield! weights
        ]

    let release (evaluation: Evaluation) =
        for tensor in tensors evaluation do
            tensor.Dispose()

    /// The tensors moved to the scope around the given one.
    let toOuter (scope: DisposeScope) (evaluation: Evaluation) : Evaluation =
        for tensor in tensors evaluation do
            scope.MoveToOuter tensor |> ignore

        evaluation

[<RequireQualifiedAccess>]
module internal Objective =
    /// Below this δ/‖K‖ r is computed from the explicit difference.
    let private explicitBelow = 3e-2

    /// For residuals down to a bound.
    let make (spec: Spec) (target: Tensor) (bound: float) : Objective =
        let blocks = LocalProblem.blocks spec
        // Without a tensor of squares.
        let norm2 = target.norm().number() ** 2.0

        let matrices =
            blocks
            |> List.sumBy (fun block ->
                let entries (branch: Branch) =
                    float (LocalProblem.size branch.Columns block) ** 2.0 * float (LocalProblem.size block.Batch block)

                block.Branches |> List.sumBy entries)

        let small = bound * bound < explicitBelow * explicitBelow * norm2

        {
            Blocks = blocks
            Shapes = [| for block in blocks -> [| for axis in block.Core.Axes -> int64 block.Dims[axis] |] |]
            Target = target
            Norm2 = norm2
            Explicit = if small then Some(Plan.make Order.Auto spec) else None
            Groups = if matrices > float (target.numel ()) then List.map List.singleton blocks else [ blocks ]
        }

    /// Twice a gradient with respect to X, which is overwritten, as one with respect to the core.
    let private pulled (block: Block) (half: Tensor) : Tensor =
        // ofX spreads a value over the lone axes; each of their entries has the full slope.
        (LocalProblem.ofX block half).mul_(Num.tensor (2.0 * float (LocalProblem.size block.OwnSummedAxes block)))

    /// Σ m_i W_i; the terms are disposed.
    let weighted (terms: (float * Tensor) list) : Tensor =
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

    let lookup (objective: Objective) (point: Tensor) : string -> Tensor =
        let all = CoreVector.cores objective.Shapes point
        let index = objective.Blocks |> List.mapi (fun i block -> block.Core.Name, i) |> dict
        fun name -> all[index[name]]

    /// For each block what an act makes of its G and of its weights with their factors, for every branch; what it is to keep the act gives
    /// to a function. Nothing else is left when the next block, or the next group of them, comes.
    let withMatrices
        (objective: Objective)
        (lookup: string -> Tensor)
        (act: (Tensor -> Tensor) -> Block -> Tensor list -> (float * Tensor) list list -> 'T)
        : 'T list =
        use kept = LocalProblem.keeping (if objective.Groups.Length > 1 then objective.Blocks else [])

        [
            for group in objective.Groups do
                use scope = torch.NewDisposeScope()

                let plans (block: Block) =
                    (block.Branches |> List.map _.Gram) @ (block.Branches |> List.collect (_.Weights >> List.map snd))

                let mutable rest =
                    LocalProblem.evaluateKeeping (Some kept) group.Head lookup objective.Target (List.collect plans group)

                for block in group do
                    use inner = torch.NewDisposeScope()
                    let own, others = rest |> List.splitAt (plans block).Length
                    rest <- others
                    let grams, weights = own |> List.splitAt block.Branches.Length
                    let batch = LocalProblem.size block.Batch block

                    let square (branch: Branch) (m: Tensor) =
                        let p = LocalProblem.size branch.Columns block
                        m.reshape (batch, p, p)

                    let weights, _ =
                        (weights, block.Branches)
                        ||> List.mapFold (fun rest branch ->
                            let own, rest = List.splitAt branch.Weights.Length rest
                            let shape = LocalProblem.weightShape block branch
                            List.map2 (fun (factor, _) (w: Tensor) -> factor, w.reshape shape) branch.Weights own, rest)

                    let keep (tensor: Tensor) = inner.MoveToOuter tensor |> scope.MoveToOuter
                    act keep block (List.map2 square block.Branches grams) weights
        ]

    /// X and C of each block by the core's name, and T where r is explicit. The largest products are made and gone before there are any
    /// matrices.
    let private targets (objective: Objective) (lookup: string -> Tensor) =
        let results =
            LocalProblem.evaluate
                objective.Blocks.Head
                lookup
                objective.Target
                (Option.toList objective.Explicit @ (objective.Blocks |> List.map _.Target))

        let explicitly, own = results |> List.splitAt (Option.toList objective.Explicit).Length

        explicitly,
        List.map2
            (fun (block: Block) (c: Tensor) ->
                block.Core.Name, (LocalProblem.toX block (lookup block.Core.Name), c.reshape (LocalProblem.solveShape block)))
            objective.Blocks
            own
        |> dict

    /// Everything at a point. The caller's scope owns the tensors.
    let at (objective: Objective) (point: Tensor) : Evaluation =
        use scope = torch.NewDisposeScope()
        let lookup = lookup objective point
        let explicitly, targets = targets objective lookup
        let last = List.last objective.Blocks

        // ‖K‖² + ⟨X, X G − 2 C⟩ of any one block.
        let residual (x: Tensor) (half: Tensor) (target: Tensor) =
            match objective.Explicit with
            | Some _ -> objective.Target.minus(explicitly.Head).squared().sum().number()
            | None -> objective.Norm2 + x.mul(half.minus target).sum().number()

        let pieces =
            withMatrices objective lookup (fun keep block grams weights ->
                let x, target = targets[block.Core.Name]
                let weights = weights |> List.map weighted
                let xw = LocalAlgebra.timesWeight grams weights x
                let half = (LocalAlgebra.times grams x).minus target

                let residual = if block.Core.Name = last.Core.Name then residual x half target else nan

                {|
                    Residual = residual
                    SlopeS = pulled block xw |> keep
                    SlopeResidual = pulled block half |> keep
                    Matrices = if objective.Groups.Length > 1 then [] else [ List.map keep grams, List.map keep weights ]
                |})

        let slopeS = pieces |> List.map _.SlopeS |> CoreVector.ofCores

        {
            // Each term of S holds every core but one, so that ½⟨θ, ∇S⟩ counts it once less than there are cores.
            S = 0.5 * CoreVector.dot point slopeS / float (max 1 (objective.Blocks.Length - 1))
            Residual = (List.last pieces).Residual
            SlopeS = slopeS
            SlopeResidual = pieces |> List.map _.SlopeResidual |> CoreVector.ofCores
            Matrices = pieces |> List.collect _.Matrices
        }
        |> Evaluation.toOuter scope

    /// ∇S + μ ∇r alone, which is less work than everything: one product for each core. The caller's scope owns it.
    let slope (objective: Objective) (mu: float) (point: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let lookup = lookup objective point
        let _, targets = targets { objective with Explicit = None } lookup

        withMatrices objective lookup (fun keep block grams weights ->
            let x, target = targets[block.Core.Name]

            // X Σ_i (W_i ⊗ the other G) + μ X ⊗ G: the second goes with the first branch.
            let product =
                match grams, weights with
                | gram :: _, first :: others ->
                    LocalAlgebra.timesWeight grams (LocalAlgebra.combined mu gram (weighted first) :: List.map weighted others) x
                | _ -> x.mul (Num.tensor mu)

            pulled block (CoreVector.along -mu target product) |> keep)
        |> CoreVector.ofCores
        |> scope.MoveToOuter
