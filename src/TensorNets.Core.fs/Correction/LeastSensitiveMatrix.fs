namespace TensorNets

open System
open TorchSharp

/// <summary>The matrix case, whose least sensitive network is known exactly.</summary>
[<RequireQualifiedAccess>]
module LeastSensitiveMatrix =
    /// The spec of a matrix, rows × columns, of a given rank: `sa, at -> st`.
    let internal spec (rows: int) (columns: int) (rank: int) : Spec =
        let s, a, t = Axis "s", Axis "a", Axis "t"

        match
            Spec.create [ s, rows; a, rank; t, columns ] [ { Name = "A"; Axes = [ s; a ] }; { Name = "B"; Axes = [ a; t ] } ] [ s; t ]
        with
        | Ok spec -> spec
        | Error errors -> TensorNetError.raiseErrors (Error(errors |> List.map TensorNetError.Spec))

    /// Rounding of singular values, as a share of ‖K‖, and of the best error, as a share of it.
    let private rounding, private errorRounding = 1e-15, 1e-12

    /// The share of ‖K‖ from which on a bound does not see how a Gram rounds: squared errors by about 1e-16 ‖K‖².
    let private gramShare = 0.05

    /// Singular values in falling order, with the vectors of the leading ones: columns of U, rows of Vᵀ.
    type private Triplets = { Values: float[]; Leading: int -> struct (Tensor * Tensor) }

    /// By the SVD of K.
    let private bySvd (k: Tensor) : Triplets =
        let struct (u, s, vh) = Decompose.svd false k

        {
            Values = ConstrainedQuadratics.toArray s
            Leading = fun count -> u.narrow (1L, 0L, int64 count), vh.narrow (0L, 0L, int64 count)
        }

    /// By the eigenvectors of the smaller Gram: values below 1e-8 ‖K‖ are noise, and so are their vectors.
    let private byGram (k: Tensor) : Triplets =
        let isTall = k.shape[0] > k.shape[1]
        let wide = if isTall then k.mT else k
        let struct (squares, vectors) = Decompose.eigh (wide.matmul wide.mT)
        let values = squares.clamp_min(0.0.ToScalar()).sqrt().flip [| 0L |]

        let leading (count: int) =
            let count = int64 count
            let u = vectors.narrow(1L, vectors.shape[1] - count, count).flip [| 1L |]
            let vh = u.mT.matmul(wide).div(values.narrow(0L, 0L, count).unsqueeze 1L)
            if isTall then struct (vh.mT, u.mT) else struct (u, vh)

        { Values = ConstrainedQuadratics.toArray values; Leading = leading }

    /// The τ at which Σ_{i≤R} min(σ_i, τ)² + Σ_{i>R} σ_i² = δ²; singular values in falling order.
    let private threshold (sigma: float[]) (rank: int) (bound: float) =
        let rest = sigma[rank..] |> Array.sumBy (fun s -> s * s)
        let budget = bound * bound - rest
        let kept = sigma[.. rank - 1]

        // With n values above τ, n τ² + (the rest of the kept ones)² = budget: the first n that is consistent from below.
        let rec search n =
            let below = kept[n..] |> Array.sumBy (fun s -> s * s)

            if n = 0 then
                kept[0]
            else
                let tau = sqrt (max 0.0 (budget - below) / float n)
                if tau <= kept[n - 1] && (n = kept.Length || tau >= kept[n]) then tau else search (n - 1)

        search kept.Length

    let private norm (sigma: float[]) = sqrt (sigma |> Array.sumBy (fun x -> x * x))

    let private check (rank: int) (target: Tensor) : TensorNetError list =
        let shapeErrors =
            if not (Check.readable "The target" target).IsEmpty then
                []
            elif target.dim () <> 2L then
                [ TensorNetError.Shape("The target", Check.shapeOf target, "a matrix") ]
            else
                let largest = int (min target.shape[0] target.shape[1])

                [
                    if rank < 1 || rank > largest then
                        TensorNetError.Format(FormatError.RankOutOfRange("Matrix", "rank", rank, largest, "the smaller dimension"))
                ]

        shapeErrors @ Check.target "The target" target

    /// The least sensitive matrix within δ of K, in units of K, of which ‖K‖ and the least error of the rank are given.
    let private within (dtype: torch.ScalarType) (rank: int) (k: Tensor) (found: Triplets) (delta: float) : Fit =
        let m, n = int k.shape[0], int k.shape[1]
        let tau = threshold found.Values rank delta
        let limit = rounding * norm found.Values

        let kept =
            found.Values[.. rank - 1] |> Array.map (fun x -> x - tau) |> Array.filter (fun x -> x > limit)

        let r = kept.Length
        let struct (u, vh) = found.Leading r
        let values = ConstrainedQuadratics.ofArray k [| int64 r |] kept
        let a = u.mul (values.mul(Num.tensor (sqrt (float m / float n))).sqrt())
        let b = vh.mul (values.mul(Num.tensor (sqrt (float n / float m))).sqrt().unsqueeze 1L)
        Fit.make dtype (spec m n r) [| a; b |] k FitHistory.direct

    /// As `fit`, within a bound that is a function of the least error of the rank as a share of ‖K‖; and S of that rank's truncation, U
    /// times Σ Vᵀ.
    let internal near (ofBest: float -> ErrorBound) (rank: int) (target: Tensor) : Result<Fit * float, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match check rank target with
        | [] ->
            use scope = torch.NewDisposeScope()
            let m, n = int target.shape[0], int target.shape[1]
            let units = TargetUnits.ofTarget (spec m n rank) target
            let k = Check.double (TargetUnits.target units target)

            /// δ of a decomposition, its norm and its best error.
            let resolved (found: Triplets) =
                let norm, best = norm found.Values, norm found.Values[rank..]
                let bound = ofBest (best / norm)

                ErrorBound.resolve bound (Check.norm target)
                |> Result.bind (fun _ -> ErrorBound.resolve (TargetUnits.bound units bound) norm)
                |> Result.map (fun delta -> found, delta, norm, best)

            byGram k
            |> resolved
            |> Result.bind (fun (found, delta, norm, best) ->
                if delta >= gramShare * norm then Ok(found, delta, norm, best) else resolved (bySvd k))
            |> Result.bind (fun (found, delta, norm, best) ->
                let start = float n * float rank + float m * (norm * norm - best * best)
                let within delta = within target.dtype rank k found (max delta best)

                if delta < best * (1.0 - errorRounding) - rounding * norm then
                    Error [ TensorNetError.Unreachable(delta, best) ]
                elif target.dtype = torch.float64 then
                    Ok(within delta)
                else
                    // At the best of the rank where there is less room: rounding moves that least.
                    RoundingRoom.anew target.dtype (ErrorBound.Absolute delta) (fun room ->
                        Ok(within (delta - room (delta / norm) * norm)))
                |> Result.bind (TargetUnits.back units false)
                |> Result.map (fun fit -> Fit.askedFor (spec m n rank) fit |> Fit.toOuterScope, units.SensitivityOut start))
            |> Result.mapError (TargetUnits.errors units)
        | errors -> Error errors

    /// <summary>The least sensitive matrix of at most a given rank within an error bound of a target, exactly.</summary>
    /// <remarks>K is m × n with singular values σ. S_min = 2√(mn) Σ_{i≤R} (σ_i − τ)₊ where τ is set by the bound: Σ_{i≤R} min(σ_i, τ)² +
    /// Σ_{i>R} σ_i² = δ². Components that vanish are left out, so that the rank may be less. Computed in float64 from the eigenvectors of
    /// the smaller Gram; by a singular value decomposition where the bound is below ‖K‖/20, so that the error is right to 1e-9 of itself in
    /// any case. Errors: those of a target; a rank outside 1 … min(m, n); a bound that is negative, at least ‖K‖, or below the best error
    /// of that rank (<c>Unreachable</c>, naming it).</remarks>
    /// <example><code>LeastSensitiveMatrix.fit 2 (ErrorBound.Relative 0.9) matrix |> orStop</code></example>
    let fit (rank: int) (bound: ErrorBound) (target: Tensor) : Result<Fit, TensorNetError list> =
        near (fun _ -> bound) rank target |> Result.map fst
