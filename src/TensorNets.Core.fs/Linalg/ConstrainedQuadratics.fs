namespace TensorNets

open System
open TorchSharp

/// <summary>Global minima of quadratics subject to one quadratic constraint, by one scalar equation each.</summary>
[<RequireQualifiedAccess>]
module ConstrainedQuadratics =
    let internal toArray (tensor: Tensor) : float[] =
        use _ = torch.NewDisposeScope()
        use flat = tensor.detach().cpu().``to``(torch.float64).contiguous()
        flat.data<float>().ToArray()

    let internal ofArray (like: Tensor) (shape: int64[]) (values: float[]) : Tensor = (Fresh.doubles shape values).``to`` like.device

    let private matrix (what: string) (tensor: Tensor) =
        match Check.readable what tensor with
        | [] when tensor.dim () <> 2L -> [ TensorNetError.Shape(what, Check.shapeOf tensor, "a matrix") ]
        | [] -> Check.finite what tensor
        | errors -> errors

    /// Singular values below this share of the largest, for each row or column, are zero.
    let private nullShare = 1e-15

    /// Rounding of a residual, relative to ‖B‖.
    let private rounding = 1e-12

    let private leastNormErrors (bound: float) (a: Tensor) (b: Tensor) : TensorNetError list =
        let wrong = matrix "A" a @ matrix "B" b

        wrong
        @ [
            if wrong.IsEmpty && a.shape[1] <> b.shape[1] then
                TensorNetError.Shape("B", Check.shapeOf b, $"{a.shape[1]} columns, as A")
            if not (bound >= 0.0) || Double.IsInfinity bound then
                TensorNetError.ErrorBound(string bound, "a number of at least 0")
        ]

    /// <summary>The X of least norm that meets a bound: min ‖X‖_F subject to ‖X A − B‖_F ≤ δ.</summary>
    /// <remarks>Unique. X = 0 where δ ≥ ‖B‖; the least-squares solution of least norm where δ is the least-squares residual. Computed by
    /// the SVD of A in float64 and returned in the dtype of B. Cost: that SVD, then O(p) per step of a scalar root search.</remarks>
    /// <param name="bound">δ ≥ 0. Below the least-squares residual: <c>Unreachable</c>, naming it.</param>
    /// <param name="a">A, p × n.</param>
    /// <param name="b">B, m × n.</param>
    /// <returns>X, m × p.</returns>
    /// <example><code>ConstrainedQuadratics.leastNorm 0.1 matrix (matrix.mul (torch.tensor 2.0)) |> orStop // 6 × 6</code></example>
    let leastNorm (bound: float) (a: Tensor) (b: Tensor) : Result<Tensor, TensorNetError list> =
        match leastNormErrors bound a b with
        | [] ->
            use scope = torch.NewDisposeScope()
            let a64, b64 = Check.double a, Check.double b
            let struct (u, s, vh) = Decompose.svd false a64
            let kept = s.gt (s.max().mul(Num.tensor (nullShare * float (max a.shape[0] a.shape[1]))))
            let s = torch.where (kept, s, torch.zeros_like s)
            // In the basis of U and V every column is a problem of its own: g = σ², w = 1, d = σ·(B V).
            let bv = b64.matmul vh.mT
            let rest = b64.minus (bv.mul(kept.``to`` torch.float64).matmul vh)
            let rest2 = rest.squared().sum().number()
            let d = bv.mul s
            let zeros = Array.zeroCreate (int s.shape[0])
            let gs = toArray (s.squared ())
            let dd = toArray (d.squared().sum 0L)
            let b2 = b64.squared().sum().number()

            // residual(λ) = rest² + Σ |bv|² (λ/(σ²+λ))²: as an anchored problem at the least-squares solution nothing cancels.
            let secular =
                {
                    G = gs
                    W = Array.map (fun _ -> 1.0) zeros
                    DD = zeros
                    DY = zeros
                    YY = Array.map2 (fun g dd -> if g > 0.0 then dd / (g * g) else 0.0) gs dd
                    Rho2 = rest2
                }

            let reached = sqrt rest2

            let zero () = torch.zeros (b.shape[0], a.shape[0], dtype = b.dtype, device = b.device) |> scope.MoveToOuter

            let build lambda =
                let denominator = s.squared().plus(Num.tensor lambda)

                let y =
                    torch.where (kept, d.div (torch.where (kept, denominator, torch.ones_like denominator)), torch.zeros_like d)

                Ok(y.matmul(u.mT).``to``(b.dtype) |> scope.MoveToOuter)

            if bound < reached - rounding * sqrt b2 then
                Error [ TensorNetError.Unreachable(bound, reached) ]
            elif bound >= sqrt b2 then
                Ok(zero ())
            else
                match Secular.solve (bound * bound) None secular with
                | Multiplier.Root lambda -> build lambda
                | Multiplier.AboveBound -> build 0.0
                | Multiplier.Slack -> Ok(zero ())
        | errors -> Error errors

    /// <summary>The global minimum of a diagonal quadratic on the unit sphere: min ½ xᵀdiag(q)x + bᵀx subject to ‖x‖ = 1.</summary>
    /// <remarks>(q − λ)x = −b with λ ≤ min q. In the hard case (b vanishes where q is least and λ = min q) the remaining length goes along
    /// the first of those coordinates, with a positive sign; the other sign is as good. Cost: O(n) per step of a scalar root
    /// search.</remarks>
    /// <param name="q">The diagonal, in any order, n ≥ 1.</param>
    /// <param name="b">The linear part, n.</param>
    /// <returns>x, n.</returns>
    /// <example><code>ConstrainedQuadratics.sphereQuadratic matrix[0L] matrix[1L] |> orStop // of norm 1</code></example>
    let sphereQuadratic (q: Tensor) (b: Tensor) : Result<Tensor, TensorNetError list> =
        use scope = torch.NewDisposeScope()

        let vector what (tensor: Tensor) =
            match Check.readable what tensor with
            | [] when tensor.dim () <> 1L || tensor.shape[0] < 1L ->
                [ TensorNetError.Shape(what, Check.shapeOf tensor, "a vector of at least one entry") ]
            | [] -> Check.finite what tensor
            | errors -> errors

        let wrong = vector "q" q @ vector "b" b

        let errors =
            wrong
            @ [
                if wrong.IsEmpty && q.shape[0] <> b.shape[0] then
                    TensorNetError.Shape("b", Check.shapeOf b, $"{q.shape[0]} entries, as q")
            ]

        if not errors.IsEmpty then
            Error errors
        else
            let qs, bs = toArray q, toArray b
            let n = qs.Length
            let least = Array.min qs
            // λ = least − μ, μ ≥ 0: gaps are exact where q is least.
            let gaps = qs |> Array.map (fun v -> v - least)

            let norm2 mu =
                Array.fold2 (fun total gap bj -> if bj = 0.0 then total else total + (bj / (gap + mu)) ** 2.0) 0.0 gaps bs

            let bNorm = sqrt (bs |> Array.sumBy (fun v -> v * v))
            let atLeast = Array.exists2 (fun gap bj -> gap = 0.0 && bj <> 0.0) gaps bs
            let hardNorm2 = if atLeast then infinity else norm2 0.0

            let x =
                if hardNorm2 < 1.0 then
                    let x = Array.map2 (fun gap bj -> if bj = 0.0 then 0.0 else -bj / gap) gaps bs
                    let first = Array.findIndex ((=) 0.0) gaps
                    x[first] <- sqrt (max 0.0 (1.0 - hardNorm2))
                    x
                elif bNorm = 0.0 then
                    Array.init n (fun i -> if i = Array.findIndex ((=) 0.0) gaps then 1.0 else 0.0)
                else
                    // ‖x(μ)‖ falls with μ from at least 1 to below 1 at μ = ‖b‖. Bisection on μ, to the last bit.
                    let mutable low, high = 0.0, bNorm
                    let mutable running = true

                    while running do
                        let middle = 0.5 * (low + high)

                        if middle <= low || middle >= high then running <- false
                        elif norm2 middle >= 1.0 then low <- middle
                        else high <- middle

                    let x = Array.map2 (fun gap bj -> if bj = 0.0 then 0.0 else -bj / (gap + high)) gaps bs
                    let length = sqrt (x |> Array.sumBy (fun v -> v * v))
                    x |> Array.map (fun v -> v / length)

            Ok((ofArray q [| int64 n |] x).``to``(q.dtype) |> scope.MoveToOuter)
