namespace TensorNets

open TorchSharp

/// The curvature 2 (W + μ G) of S + μ ‖K − T‖² in each core by itself: what block descent takes for the whole.
[<RequireQualifiedAccess>]
module internal BlockCurvature =
    /// The ridge of a block's curvature, as a share of its mean diagonal: at first, what it grows by where that is not definite, and up to
    /// where.
    let private ridge, private ridgeGrowth, private mostRidge = 1e-12, 100.0, 1e-3

    /// `scale` times the inverse of μ G + W. Few matrices are held at a time: they may be larger than the target.
    let private scaledInverse (mu: float) (scale: Tensor) (gram: Tensor) (weight: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let matrix = LocalAlgebra.combined mu gram weight
        let diagonal = matrix.diagonal (dim1 = -2L, dim2 = -1L)
        let mean = diagonal.mean([| -1L |]).unsqueeze -1L

        let rec attempt (before: float) share =
            diagonal.add_ (mean.mul (Num.tensor (share - before)), Num.one) |> ignore
            let struct (factor, isDefinite) = Decompose.cholesky matrix

            if isDefinite || share > mostRidge then
                factor
            else
                factor.Dispose()
                attempt share (share * ridgeGrowth)

        let factor = attempt 0.0 ridge
        matrix.zero_ () |> ignore
        diagonal.fill_ Num.one |> ignore
        let half = Decompose.solveTriangular false factor matrix
        factor.Dispose()
        matrix.Dispose()
        Kernels.matmul(half.mT, half).mul_ scale |> scope.MoveToOuter

    /// X times the inverse of the block's own curvature 2 (W + μ G), once over the lone axes in and out again; what the map holds is given
    /// to `keep`.
    let private blockSolver (mu: float) (keep: Tensor -> Tensor) (block: Block) (grams: Tensor list) (weights: Tensor list) =
        // Half, for the 2 of the curvature.
        let scale = Num.tensor (0.5 / float (LocalProblem.size block.OwnSummedAxes block)) |> keep

        match grams, weights with
        | [], [] -> fun (x: Tensor) -> x.mul scale
        | [ g ], [ w ] -> LocalAlgebra.along 0 (scaledInverse mu scale g w |> keep)
        | grams, weights ->
            let pencils = List.map2 Pencil.pencil grams weights
            let grid = Pencil.grid (pencils |> List.map (fun p -> p.G, p.W))
            let q = grid.W.plus(grid.G.mul (Num.tensor mu)).unsqueeze 1L

            let reciprocal =
                torch.where(q.gt (Num.tensor 0.0), q.reciprocal (), torch.zeros_like q).mul scale |> keep

            let vs = pencils |> List.map (_.V >> keep)
            let transposed = vs |> List.map (_.mT >> keep)
            fun x -> LocalAlgebra.times transposed ((LocalAlgebra.times vs x).mul reciprocal)

    /// Divides by it: a map of vectors.
    let divided (objective: Objective) (mu: float) (point: Tensor) (evaluation: Evaluation) : Tensor -> Tensor =
        use outer = torch.NewDisposeScope()
        let solver (keep: Tensor -> Tensor) = blockSolver mu (fun tensor -> keep tensor |> outer.MoveToOuter)

        let solvers =
            match evaluation.Matrices with
            | [] ->
                Objective.withMatrices objective (Objective.lookup objective point) (fun keep block grams ->
                    List.map Objective.weighted >> solver keep block grams)
            | matrices ->
                List.map2
                    (fun block (grams, weights) ->
                        use inner = torch.NewDisposeScope()
                        solver inner.MoveToOuter block grams weights)
                    objective.Blocks
                    matrices

        fun vector ->
            use scope = torch.NewDisposeScope()
            let parts = CoreVector.cores objective.Shapes vector

            List.map3
                (fun (block: Block) solve (part: Tensor) -> LocalProblem.toX block part |> solve |> LocalProblem.ofX block)
                objective.Blocks
                solvers
                (List.ofArray parts)
            |> CoreVector.ofCores
            |> scope.MoveToOuter
