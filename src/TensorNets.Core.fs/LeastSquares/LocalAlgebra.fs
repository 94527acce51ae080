namespace TensorNets

open TorchSharp

/// What is made of a block's X (batch × rows × columns of each branch), its Grams, weights and C.
[<RequireQualifiedAccess>]
module internal LocalAlgebra =
    /// X times a matrix along the columns of branch i: matrices are batch × columns × columns, or batch × columns where they are diagonal.
    let along (i: int) (matrix: Tensor) (x: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()

        let result =
            if x.dim () = 3L then
                if matrix.dim () = 2L then x.mul (matrix.unsqueeze 1L) else Kernels.matmul (x, matrix)
            elif matrix.dim () = 2L then
                let shape = Array.create (int (x.dim ())) 1L
                shape[i + 2] <- matrix.shape[1]
                x.mul (matrix.reshape shape)
            else
                // Several branches only occur without batch axes, so that there is one matrix. Where other branches follow, it stands left
                // of what lies as stacks of matrices: nothing is copied.
                let shape = x.shape
                let size (places: int64[]) = Array.fold (*) 1L places

                if i + 3 = shape.Length then
                    let rows = x.reshape (size shape[.. i + 1], shape[i + 2])
                    Kernels.matmul(rows, matrix[0L]).reshape shape
                else
                    let stack = x.reshape (size shape[.. i + 1], shape[i + 2], size shape[i + 3 ..])
                    Kernels.matmul(matrix[0L].t(), stack).reshape shape

        scope.MoveToOuter result

    /// μ G + W.
    let combined (mu: float) (gram: Tensor) (weight: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let sum = gram.mul (Num.tensor mu)
        let place = if weight.dim () = 2L then sum.diagonal (dim1 = -2L, dim2 = -1L) else sum
        place.add_ (weight, Num.one) |> ignore
        scope.MoveToOuter sum

    /// X times a matrix for each branch.
    let times (matrices: Tensor list) (x: Tensor) : Tensor = matrices |> List.indexed |> List.fold (fun x (i, m) -> along i m x) x

    /// X W, where W is the sum over the branches of one's weight times the Grams of the others.
    let timesWeight (grams: Tensor list) (weights: Tensor list) (x: Tensor) : Tensor =
        weights
        |> List.mapi (fun i w -> times (grams |> List.mapi (fun l g -> if l = i then w else g)) x)
        |> function
            | [] -> torch.zeros_like x
            | parts -> parts |> List.reduce (fun a b -> a.plus b)

    /// ‖K − T‖² = y² − 2⟨X, C⟩ + ⟨X G, X⟩ without forming T.
    let residual (norm2: float) (grams: Tensor list) (c: Tensor) (x: Tensor) : float =
        use _ = torch.NewDisposeScope()
        let xg = times grams x
        norm2 + x.mul(xg.minus(c).minus c).sum().number()

    /// Σ_c ‖x_c‖ √G_cc, the sum of the norms of the terms of T that belong to the columns of X: how large the terms are that cancel at this
    /// core, whatever the columns are scaled by.
    let reach (grams: Tensor list) (x: Tensor) : float =
        use _ = torch.NewDisposeScope()
        let columns = x.norm (1, false)

        // Of each branch along its own place.
        let size (i: int) (gram: Tensor) =
            let shape = Array.create (int (columns.dim ())) 1L
            shape[0] <- gram.shape[0]
            shape[i + 1] <- gram.shape[1]
            gram.diagonal(dim1 = -2L, dim2 = -1L).maximum(Num.tensor 0.0).sqrt().reshape shape

        (columns, List.indexed grams)
        ||> List.fold (fun product (i, gram) -> product.mul (size i gram))
        |> _.sum()
        |> _.number()

    /// The rounding of a product of Grams, relative to its terms.
    let private termRounding = 4e-16

    /// The relative rounding of a residual from Grams that is due to cancelling terms, for the largest reach of all cores: a bound, seldom
    /// near.
    let rounding (norm2: float) (reach: float) (residual: float) : float =
        let largest = sqrt norm2 + reach
        termRounding * largest * largest / residual

    /// The bound on the rounding of a residual from Grams up to which it stands for the explicit difference: what rounding is found is a
    /// hundredth of it.
    let private known = 1e-10

    /// A residual from Grams, or None where its rounding might show: then only the explicit difference tells.
    let exact (norm2: float) (reach: float) (residual: float) : float option =
        if residual > 0.0 && rounding norm2 reach residual <= known then Some residual else None
