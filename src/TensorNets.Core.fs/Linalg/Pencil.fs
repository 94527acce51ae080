namespace TensorNets

open TorchSharp

/// The basis V that makes two positive semidefinite matrices diagonal, VᵀGV = diag g and VᵀWV = diag w, each batch × p × p, and M with VᵀMV
/// = 1.
[<NoEquality; NoComparison>]
type internal Pencil =
    {
        V: Tensor
        M: Tensor
        G: Tensor
        W: Tensor
        /// Whether W is well conditioned; otherwise V has long columns.
        IsDefinite: bool
    }

/// R with RᵀWR = 1, or its diagonal as a column, and RᵀGR.
[<NoEquality; NoComparison>]
type internal Congruence =
    {
        Reduced: Tensor
        Root: Tensor
        IsDiagonal: bool
    }

    /// R X.
    member this.Times(x: Tensor) : Tensor = if this.IsDiagonal then x.mul this.Root else Kernels.matmul (this.Root, x)

    /// Rᵀ X.
    member this.Adjoint(x: Tensor) : Tensor = if this.IsDiagonal then x.mul this.Root else Kernels.matmul (this.Root.mT, x)

/// M with M Mᵀ = H, where H Q H = P for a pair of positive definite matrices, batch × p × p.
[<NoEquality; NoComparison>]
type internal GeometricMean =
    {
        /// M, or its diagonal as a row.
        M: Tensor
        /// M⁻ᵀ, or its diagonal as a row.
        InverseT: Tensor
        HasRows: bool
        /// tr(P H⁻¹) = tr(Q H), over the batch; NaN where rounding leaves it fewer digits than S has.
        Trace: float
    }

    /// X M.
    member this.After(x: Tensor) : Tensor = if this.HasRows then x.mul this.M else Kernels.matmul (x, this.M)

    /// X M⁻ᵀ.
    member this.InverseTAfter(x: Tensor) : Tensor = if this.HasRows then x.mul this.InverseT else Kernels.matmul (x, this.InverseT)

/// Pairs of positive semidefinite matrices, of batches of them: what makes both simple at once.
[<RequireQualifiedAccess>]
module internal Pencil =
    /// Singular values below this share of the largest are rounding in a Gram of float64.
    let private nullShare = 1e-14

    /// Above this share of the largest, squared pivots, and eigenvalues of what they reduce, are known well enough.
    let private wellKnown = 1e-8

    let private isWell (values: Tensor) = values.amin([| -1L |]).gt(values.amax([| -1L |]).mul(Num.tensor wellKnown)).all().truth()

    /// L with L Lᵀ the matrix, for each of a batch, or None where one is not well conditioned.
    let private wellFactored (matrix: Tensor) : Tensor option =
        let struct (factor, isDefinite) = Decompose.cholesky matrix

        if isDefinite && isWell (factor.diagonal(dim1 = -2L, dim2 = -1L).squared()) then
            Some factor
        else
            None

    let private symmetric (a: Tensor) = a.plus(a.mT).mul(Num.tensor 0.5)

    let private inverseRoot (m: Tensor) =
        let largest = m.amax ([| -1L |], keepdim = true)
        torch.where (m.gt (largest.mul (Num.tensor nullShare)), m.maximum(Num.tensor 1e-300).rsqrt(), torch.zeros_like m)

    let private isDefinite (values: Tensor) = values.amin([| -1L |]).div(values.amax ([| -1L |])).min().number() > 1e-10

    let private congruent (gram: Tensor) (root: Tensor) : Congruence =
        { Reduced = Kernels.matmul (Kernels.matmul (root.mT, gram), root); Root = root; IsDiagonal = false }

    /// R with RᵀWR = 1 and RᵀGR, for well conditioned W, of a batch or of a batch of diagonals. The caller's scope owns them.
    let congruence (gram: Tensor) (weight: Tensor) : Congruence option =
        use scope = torch.NewDisposeScope()

        let found =
            if weight.dim () > 2L then
                wellFactored weight
                |> Option.map (fun factor ->
                    let eye = torch.eye (weight.shape[2], dtype = weight.dtype, device = weight.device)
                    congruent gram ((Decompose.solveTriangular false factor (eye.expand_as factor)).mT))
            elif isDefinite weight then
                let scale = inverseRoot weight
                let column = scale.unsqueeze -1L

                Some { Reduced = gram.mul(column).mul(scale.unsqueeze -2L); Root = column; IsDiagonal = true }
            else
                None

        found
        |> Option.map (fun found -> { found with Reduced = scope.MoveToOuter found.Reduced; Root = scope.MoveToOuter found.Root })

    /// W X = G X diag, for positive semidefinite G and W: V⁻¹ = VᵀM. Directions that both annihilate get V = 0. W is batch × p × p, or
    /// batch × p if diagonal.
    let pencil (gram: Tensor) (weight: Tensor) : Pencil =
        use scope = torch.NewDisposeScope()
        let diagonal = weight.dim () = 2L
        let easy = congruence gram weight

        // Plain W where it is well conditioned: small g then keep their digits. W + αG where it is not: its null space is that of both.
        let definite = easy.IsSome || not diagonal && isDefinite (Decompose.eigvalsh (symmetric weight))
        let weightTrace = (if diagonal then weight else weight.diagonal (dim1 = -2L, dim2 = -1L)).sum -1L
        let none = weightTrace.le (Num.tensor 0.0)

        let alpha =
            if definite then
                torch.zeros_like weightTrace
            else
                let share = weightTrace.div (gram.diagonal(dim1 = -2L, dim2 = -1L).sum(-1L).maximum(Num.tensor 1e-300))
                torch.where (none, torch.ones_like share, share)

        let full = if diagonal then weight.diag_embed () else weight

        let m, found =
            match easy with
            | Some found -> full, found
            | None ->
                let m = symmetric (full.plus (gram.mul (alpha.unsqueeze(-1L).unsqueeze -1L)))
                let struct (values, vectors) = Decompose.eigh m
                m, congruent gram (vectors.mul ((inverseRoot values).unsqueeze -2L))

        let struct (g, u) = Decompose.eigh (symmetric found.Reduced)
        let g = g.maximum (Num.tensor 0.0)
        let v = found.Times u
        let w = torch.ones_like(g).minus(g.mul (alpha.unsqueeze -1L)).maximum(Num.tensor 0.0)
        let w = torch.where (none.unsqueeze -1L, torch.zeros_like w, w)

        {
            V = scope.MoveToOuter v
            M = scope.MoveToOuter(m.alias ())
            G = scope.MoveToOuter g
            W = scope.MoveToOuter w
            IsDefinite = definite
        }

    /// The pencils (g, w) of several branches as one: g and w over the grid of their dimensions, g = ⊗ g_i and w = Σ_i w_i ⊗_{l≠i} g_l. Of
    /// one: its own.
    let grid (pencils: (Tensor * Tensor) list) : {| G: Tensor; W: Tensor |} =
        let outer (parts: Tensor list) = parts |> List.reduce (fun (a: Tensor) b -> (a.unsqueeze -1L).mul b)

        match pencils with
        | [ g, w ] -> {| G = g; W = w |}
        | several ->
            // Several branches only occur without batch axes.
            let gs = several |> List.map (fun (g: Tensor, _) -> g[0L])

            let w =
                several
                |> List.mapi (fun i (_, w: Tensor) -> outer (gs |> List.mapi (fun l gl -> if l = i then w[0L] else gl)))
                |> List.reduce (fun a b -> a.plus b)

            {| G = (outer gs).unsqueeze 0L; W = w.unsqueeze 0L |}

    /// Above this share of the largest, eigenvalues of P leave its inverse root the digits that the square root of that share costs.
    let private wellShare = 1e-4

    /// The sum of the roots of eigenvalues k, or NaN where the rounding of the smallest is seen in it.
    let private traceOf (k: Tensor) (roots: Tensor) : float =
        let isClear = k.amin([| -1L |]).gt(k.amax([| -1L |]).mul(Num.tensor wellShare)).all().truth()
        if isClear then roots.sum().number() else nan

    /// M with M Mᵀ = H for the H with H Q H = P, for each matrix of a batch; or the numerical rank where P or Q is singular. M is the
    /// identity where P = Q.
    let root (p: Tensor) (q: Tensor) : Result<GeometricMean, int> =
        let extreme (values: Tensor) =
            values.amin ([| -1L |], keepdim = true), values.amax([| -1L |], keepdim = true).maximum(Num.tensor 0.0)

        let isAbove (share: float) (low: Tensor) (high: Tensor) = low.gt(high.mul (Num.tensor share)).all().truth()

        let rank (values: Tensor) =
            let _, largest = extreme values
            int (values.gt(largest.mul (Num.tensor nullShare)).sum([| -1L |]).min().integer())

        let p, q = symmetric p, symmetric q
        let width = int p.shape[1]
        let struct (values, vectors) = Decompose.eigh p
        let low, high = extreme values

        if not (isAbove nullShare low high) then
            Error(min (rank values) (rank (Decompose.eigvalsh q)))
        else
            // P = F Fᵀ, FᵀQF = U k Uᵀ: H = F U k^-½ UᵀFᵀ, and F U k^-¼ is a square root of it.
            let f = vectors.mul (values.sqrt().unsqueeze -2L)
            let struct (k, u) = Decompose.eigh (symmetric (Kernels.matmul (Kernels.matmul (f.mT, q), f)))
            let least, largest = extreme k
            // The smallest eigenvalue of Q is at least that of FᵀQF over the largest of P, its largest at most its trace.
            let trace = q.diagonal(dim1 = -2L, dim2 = -1L).sum(-1L).unsqueeze -1L
            let rankOfQ = if isAbove nullShare least (high.mul trace) then width else rank (Decompose.eigvalsh q)

            if rankOfQ < width then
                Error rankOfQ
            else
                let half = k.maximum(largest.mul (Num.tensor nullShare)).sqrt()
                let quarter = half.sqrt().unsqueeze -2L
                let made m inverseT = { M = m; InverseT = inverseT; HasRows = false; Trace = traceOf k half }

                if isAbove wellShare low high then
                    let rotated = Kernels.matmul (vectors, u)
                    let scaled = vectors.mul (values.rsqrt().unsqueeze -2L)

                    Ok(
                        made
                            (Kernels.matmul (Kernels.matmul (f, u.div quarter), rotated.mT))
                            (Kernels.matmul (scaled, Kernels.matmul (u, (rotated.mul quarter).mT)))
                    )
                else
                    // Its singular value decomposition turns it into the symmetric root, whose inverse keeps its digits.
                    let struct (a, s, _) = Decompose.svd false (Kernels.matmul(f, u).div quarter)
                    let s = s.unsqueeze -2L
                    Ok(made (Kernels.matmul (a.mul s, a.mT)) (Kernels.matmul (a.div s, a.mT)))

    /// Off the diagonal of a correlation, what is left out below this costs tr(QH) less than rounding: its square.
    let private nearlyDiagonal = 1e-9

    /// The diagonal root of a pair that is diagonal already, as `anyRoot` leaves it where later only its size changes; else None.
    let diagonalRoot (p: Tensor) (q: Tensor) : GeometricMean option =
        use scope = torch.NewDisposeScope()
        let both = torch.stack ([| p; q |], 0L)
        let diagonals = both.diagonal (dim1 = -2L, dim2 = -1L)
        let scale = diagonals.rsqrt ()
        let off = both.tril(-1L).mul_(scale.unsqueeze -1L).mul_(scale.unsqueeze -2L).abs().max()

        // Written so that NaN counts as a failure.
        if not (off.number () < nearlyDiagonal) then
            None
        else
            let roots = diagonals.sqrt ()
            let m = roots[0L].div(roots[1L]).sqrt().unsqueeze -2L

            Some
                {
                    M = scope.MoveToOuter m
                    InverseT = scope.MoveToOuter(m.reciprocal ())
                    HasRows = true
                    Trace = roots[0L].mul(roots[1L]).sum().number()
                }

    /// Some M with M Mᵀ = H, at half the cost of `root`, from which it differs by a rotation; None where P or Q is not well conditioned.
    let anyRoot (p: Tensor) (q: Tensor) : GeometricMean option =
        use scope = torch.NewDisposeScope()

        match wellFactored p with
        | None -> None
        | Some l ->
            // P = L Lᵀ, LᵀQL = U k Uᵀ: H = L U k^-½ UᵀLᵀ.
            let struct (k, u) = Decompose.eigh (Kernels.matmul (Kernels.matmul (l.mT, q), l))

            if not (isWell k) then
                None
            else
                let half = k.sqrt ()
                let quarter = half.sqrt().unsqueeze -2L
                let inverseT = Decompose.solveTriangular true l.mT (u.mul quarter)

                Some
                    {
                        M = scope.MoveToOuter(Kernels.matmul (l, u.div quarter))
                        InverseT = scope.MoveToOuter inverseT
                        HasRows = false
                        Trace = traceOf k half
                    }
