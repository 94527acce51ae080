namespace TensorNets

open System
open TorchSharp

/// The root of residual(λ) = δ², where every coordinate J of a block has been made independent of the others:
/// minimise Σ_J w_J|Y_J|² subject to ρ² + Σ_J (−2⟨Y_J − Y⁰_J, d_J⟩ + g_J|Y_J − Y⁰_J|²) ≤ δ².
/// The minimiser for multiplier λ is Y_J = (g_J Y⁰_J + d_J)/(g_J + λ w_J). Y⁰ = 0 and ρ² = ‖K‖² is the plain form; with Y⁰ the current block and ρ²
/// its squared residual nothing cancels, so that a small δ keeps its digits.
type internal Secular =
    {
        G: float[]
        W: float[]
        /// Σ d², Σ d·Y⁰, Σ Y⁰² over the rows.
        DD: float[]
        DY: float[]
        YY: float[]
        Rho2: float
    }

[<RequireQualifiedAccess>]
type internal Multiplier =
    /// The bound holds with equality at this λ.
    | Root of lambda: float
    /// Even the least-squares block stays above the bound.
    | AboveBound
    /// The bound holds at X = 0.
    | Slack

[<RequireQualifiedAccess>]
module internal Secular =
    let residual (s: Secular) (lambda: float) =
        let mutable total = s.Rho2

        for j in 0 .. s.G.Length - 1 do
            let t = lambda * s.W[j]
            let q = s.G[j] + t

            if q > 0.0 then
                let du = (s.DD[j] - t * s.DY[j]) / q
                let uu = (s.DD[j] - 2.0 * t * s.DY[j] + t * t * s.YY[j]) / (q * q)
                total <- total - 2.0 * du + s.G[j] * uu

        total

    /// The bracket is narrowed until neighbouring multipliers differ by rounding only.
    let private rounding = 4e-16

    /// The λ at which the residual is δ², taken from the side that meets the bound.
    let solve (bound2: float) (start: float option) (s: Secular) : Multiplier =
        let sum (values: float[]) = Array.sum values

        let scale =
            let w = sum s.W
            if w > 0.0 then max (sum s.G / w) 1e-300 else 1.0

        // Beyond these the block no longer changes: λ w is below, or above, every g by more than the digits of a double.
        let lowest, highest = scale * 1e-32, scale * 1e32
        let h x = residual s (exp x) - bound2

        if residual s highest <= bound2 then
            Multiplier.Slack
        elif residual s lowest > bound2 then
            Multiplier.AboveBound
        else
            let clamp x = min (log highest) (max (log lowest) x)
            let first = clamp (log (defaultArg start scale))
            let mutable low, high = first, first
            let mutable step = 0.5

            if h first <= 0.0 then
                while h high <= 0.0 && high < log highest do
                    low <- high
                    high <- clamp (high + step)
                    step <- 2.0 * step
            else
                while h low > 0.0 && low > log lowest do
                    high <- low
                    low <- clamp (low - step)
                    step <- 2.0 * step

            // Illinois' regula falsi on the bracket, halving it where that is slow.
            let mutable hl, hh = h low, h high
            let mutable side = 0
            let mutable iteration = 0

            while iteration < 200 && high - low > rounding * (1.0 + abs low) && hl < 0.0 do
                let middle =
                    if iteration % 4 = 3 || not (Double.IsFinite(hl / (hh - hl))) then
                        0.5 * (low + high)
                    else
                        let x = low - hl * (high - low) / (hh - hl)
                        if x <= low || x >= high then 0.5 * (low + high) else x

                let value = h middle

                if value <= 0.0 then
                    low <- middle
                    hl <- value

                    if side = -1 then
                        hh <- 0.5 * hh

                    side <- -1
                else
                    high <- middle
                    hh <- value

                    if side = 1 then
                        hl <- 0.5 * hl

                    side <- 1

                iteration <- iteration + 1

            Multiplier.Root(exp low)

/// <summary>The small solvers that factorisation and correction are made of.</summary>
[<RequireQualifiedAccess>]
module Linalg =
    let internal toArray (tensor: Tensor) : float[] =
        use flat = tensor.detach().cpu().``to``(torch.float64).contiguous()
        flat.data<float>().ToArray()

    let internal ofArray (like: Tensor) (shape: int64[]) (values: float[]) : Tensor =
        torch.tensor(values, dtype = torch.float64).reshape(shape).``to``(like.device)

    /// Singular values below this share of the largest are rounding in a Gram of float64.
    let private nullShare = 1e-14

    /// W X = G X diag: V with VᵀGV = diag g and VᵀWV = diag w for positive semidefinite G and W, batch × p × p. Also M with VᵀMV = 1, so that
    /// V⁻¹ = VᵀM. Directions that both annihilate get V = 0.
    let internal pencil (diagonal: bool) (gram: Tensor) (weight: Tensor) : {| V: Tensor; M: Tensor; G: Tensor; W: Tensor |} =
        use scope = torch.NewDisposeScope()

        let symmetric (a: Tensor) = a.plus(a.mT).mul(Num.tensor 0.5)

        let inverseRoot (m: Tensor) =
            let largest = m.amax ([| -1L |], keepdim = true)

            torch.where (m.gt (largest.mul (Num.tensor nullShare)), m.maximum(Num.tensor 1e-300).rsqrt(), torch.zeros_like m)

        let weightValues =
            if diagonal then
                weight.diagonal (dim1 = -2L, dim2 = -1L)
            else
                torch.linalg.eigvalsh (symmetric weight)

        // Plain W where it is well conditioned: small g then keep their digits. W + αG where it is not: its null space is that of both.
        let share = weightValues.amin([| -1L |]).div(weightValues.amax ([| -1L |])).min().number()

        let definite = share > 1e-10

        let alpha =
            if definite then
                torch.zeros_like (weight.diagonal(dim1 = -2L, dim2 = -1L).sum(-1L))
            else
                weight
                    .diagonal(dim1 = -2L, dim2 = -1L)
                    .sum(-1L)
                    .div(gram.diagonal(dim1 = -2L, dim2 = -1L).sum(-1L).maximum(Num.tensor 1e-300))

        let m = symmetric (weight.plus (gram.mul (alpha.unsqueeze(-1L).unsqueeze -1L)))

        let root =
            if definite && diagonal then
                torch.diag_embed (inverseRoot weightValues)
            else
                let struct (values, vectors) = torch.linalg.eigh m
                vectors.mul ((inverseRoot values).unsqueeze -2L)

        let struct (g, u) = torch.linalg.eigh (symmetric (root.mT.matmul(gram).matmul root))
        let g = g.maximum (Num.tensor 0.0)
        let v = root.matmul u
        let w = torch.ones_like(g).minus(g.mul (alpha.unsqueeze -1L)).maximum(Num.tensor 0.0)

        {|
            V = scope.MoveToOuter v
            M = scope.MoveToOuter m
            G = scope.MoveToOuter g
            W = scope.MoveToOuter w
        |}

    let private bad (what: string) (found: string) expected = TensorNetError.Shape($"{what} ({found})", [], expected)

    let private matrix (what: string) (tensor: Tensor) =
        if tensor.dim () <> 2L then
            [ TensorNetError.Shape(what, Check.shapeOf tensor, "a matrix") ]
        else
            Check.finite what tensor

    /// <summary>The X of least norm that meets a bound: min ‖X‖_F subject to ‖X A − B‖_F ≤ δ.</summary>
    /// <remarks>Unique. X = 0 where δ ≥ ‖B‖; the least-squares solution of least norm where δ is the least-squares residual. Computed by the SVD of A
    /// in float64 and returned in the dtype of B. Cost: that SVD, then O(p) per step of a scalar root search.</remarks>
    /// <param name="bound">δ ≥ 0. Below the least-squares residual: <c>Unreachable</c>, naming it.</param>
    /// <param name="a">A, p × n.</param>
    /// <param name="b">B, m × n.</param>
    /// <returns>X, m × p.</returns>
    let leastNorm (bound: float) (a: Tensor) (b: Tensor) : Result<Tensor, TensorNetError list> =
        let errors =
            matrix "A" a
            @ matrix "B" b
            @ [
                if a.dim () = 2L && b.dim () = 2L && a.shape[1] <> b.shape[1] then
                    TensorNetError.Shape("B", Check.shapeOf b, $"{a.shape[1]} columns, as A")
                if not (bound >= 0.0) || Double.IsInfinity bound then
                    TensorNetError.ErrorBound(string bound, "a number of at least 0")
            ]

        if not errors.IsEmpty then
            Error errors
        else
            use scope = torch.NewDisposeScope()
            let a64, b64 = Check.double a, Check.double b
            let struct (u, s, vh) = torch.linalg.svd (a64, fullMatrices = false)
            let kept = s.gt (s.max().mul(Num.tensor (1e-15 * float (max a.shape[0] a.shape[1]))))
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

            let build lambda =
                let denominator = s.squared().plus(Num.tensor lambda)

                let y =
                    torch.where (kept, d.div (torch.where (kept, denominator, torch.ones_like denominator)), torch.zeros_like d)

                Ok(y.matmul(u.mT).``to``(b.dtype) |> scope.MoveToOuter)

            // Rounding of the residual itself, relative to ‖B‖.
            if bound < reached - 1e-12 * sqrt b2 then
                Error [ TensorNetError.Unreachable(bound, reached) ]
            elif bound >= sqrt b2 then
                Ok(torch.zeros (b.shape[0], a.shape[0], dtype = b.dtype, device = b.device) |> scope.MoveToOuter)
            else
                match Secular.solve (bound * bound) None secular with
                | Multiplier.Root lambda -> build lambda
                | Multiplier.AboveBound -> build 0.0
                | Multiplier.Slack -> Ok(torch.zeros (b.shape[0], a.shape[0], dtype = b.dtype, device = b.device) |> scope.MoveToOuter)

    /// <summary>The global minimum of a diagonal quadratic on the unit sphere: min ½ xᵀdiag(q)x + bᵀx subject to ‖x‖ = 1.</summary>
    /// <remarks>(q − λ)x = −b with λ ≤ min q. In the hard case (b vanishes where q is least and λ = min q) the remaining length goes along the first
    /// of those coordinates, with a positive sign; the other sign is as good. Cost: O(n) per step of a scalar root search.</remarks>
    /// <param name="q">The diagonal, in any order, n ≥ 1.</param>
    /// <param name="b">The linear part, n.</param>
    /// <returns>x, n.</returns>
    let sphereQuadratic (q: Tensor) (b: Tensor) : Result<Tensor, TensorNetError list> =
        let vector what (tensor: Tensor) =
            if tensor.dim () <> 1L || tensor.shape[0] < 1L then
                [ TensorNetError.Shape(what, Check.shapeOf tensor, "a vector of at least one entry") ]
            else
                Check.finite what tensor

        let errors =
            vector "q" q
            @ vector "b" b
            @ [
                if q.dim () = 1L && b.dim () = 1L && q.shape[0] <> b.shape[0] then
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

            use scope = torch.NewDisposeScope()
            Ok((ofArray q [| int64 n |] x).``to``(q.dtype) |> scope.MoveToOuter)
