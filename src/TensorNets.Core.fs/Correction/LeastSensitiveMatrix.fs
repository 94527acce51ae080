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

    /// <summary>The least sensitive matrix of at most a given rank within an error bound of a target, exactly.</summary>
    /// <remarks>K is m × n with singular values σ. S_min = 2√(mn) Σ_{i≤R} (σ_i − τ)₊ where τ is set by the bound: Σ_{i≤R} min(σ_i, τ)² +
    /// Σ_{i>R} σ_i² = δ². Components that vanish are left out, so that the rank may be less. Computed in float64 by one singular value
    /// decomposition. Errors: those of a target; a rank outside 1 … min(m, n); a bound that is negative, at least ‖K‖, or below the best
    /// error of that rank (<c>Unreachable</c>, naming it).</remarks>
    /// <example><code>LeastSensitiveMatrix.fit 2 (ErrorBound.Relative 0.9) matrix |> orStop</code></example>
    let fit (rank: int) (bound: ErrorBound) (target: Tensor) : Result<Fit, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()

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

        match shapeErrors @ Check.target "The target" target with
        | [] ->
            use scope = torch.NewDisposeScope()
            let m, n = float target.shape[0], float target.shape[1]
            let units = TargetUnits.ofTarget (spec (int m) (int n) rank) target
            let k = Check.double (TargetUnits.target units target)
            let struct (u, s, vh) = Decompose.svd false k
            let sigma = ConstrainedQuadratics.toArray s
            let norm = sqrt (sigma |> Array.sumBy (fun x -> x * x))
            let best = sqrt (sigma[rank..] |> Array.sumBy (fun x -> x * x))

            ErrorBound.resolve bound (Check.norm target)
            |> Result.bind (fun _ -> ErrorBound.resolve (TargetUnits.bound units bound) norm)
            |> Result.bind (fun delta ->
                let within inner =
                    let tau = threshold sigma rank (max inner best)

                    let kept =
                        sigma[.. rank - 1] |> Array.map (fun x -> x - tau) |> Array.filter (fun x -> x > rounding * norm)

                    let r = int64 kept.Length
                    let values = ConstrainedQuadratics.ofArray k [| r |] kept
                    let a = u.narrow(1L, 0L, r).mul(values.mul(Num.tensor (sqrt (m / n))).sqrt())
                    let b = vh.narrow(0L, 0L, r).mul(values.mul(Num.tensor (sqrt (n / m))).sqrt().unsqueeze 1L)
                    Fit.make target.dtype (spec (int m) (int n) (int r)) [| a; b |] k FitHistory.direct

                if delta < best * (1.0 - errorRounding) - rounding * norm then
                    Error [ TensorNetError.Unreachable(delta, best) ]
                elif target.dtype = torch.float64 then
                    Ok(within delta)
                else
                    // At the best of the rank where there is less room: rounding moves that least.
                    RoundingRoom.anew target.dtype (ErrorBound.Absolute delta) (fun room ->
                        Ok(within (delta - room (delta / norm) * norm))))
            |> Result.bind (TargetUnits.back units false)
            |> Result.map (Fit.askedFor (spec (int m) (int n) rank) >> Fit.toOuterScope)
            |> Result.mapError (TargetUnits.errors units)
        | errors -> Error errors
