namespace TensorNets

open System

/// The root of residual(λ) = δ², where every coordinate J of a block has been made independent of the others:
/// minimise Σ_J w_J|Y_J|² subject to ρ² + Σ_J (−2⟨Y_J − Y⁰_J, d_J⟩ + g_J|Y_J − Y⁰_J|²) ≤ δ².
/// The minimiser for multiplier λ is Y_J = (g_J Y⁰_J + d_J)/(g_J + λ w_J). Y⁰ = 0 and ρ² = ‖K‖² is the plain form; with Y⁰ the current
/// block and ρ² its squared residual nothing cancels, so that a small δ keeps its digits.
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

    /// Steps of the root search; regula falsi takes about ten, halving about sixty.
    let private mostSteps = 200

    /// Every how many steps the bracket is halved, whatever regula falsi says.
    let private halvingPeriod = 4

    /// How far the bracket is sought at first, in log λ.
    let private firstWidth = 0.5

    /// log λ/scale beyond which the block no longer changes: λ w is below, or above, every g by more than the digits of a double.
    let private lowest, private highest = log 1e-32, log 1e32

    /// Σ g / Σ w: about where λ changes the block.
    let scale (g: float) (w: float) = if w > 0.0 then max (g / w) 1e-300 else 1.0

    /// Two neighbours of a root of a rising h, the first of them not above it, from a first guess.
    let private bracket (h: float -> float) (first: float) : float * float =
        let clamp x = min highest (max lowest x)

        let rec up low high step = if h high <= 0.0 && high < highest then up high (clamp (high + step)) (2.0 * step) else low, high

        let rec down low high step = if h low > 0.0 && low > lowest then down (clamp (low - step)) low (2.0 * step) else low, high

        if h first <= 0.0 then up first first firstWidth else down first first firstWidth

    /// The root of a rising h in a bracket, from below: Illinois' regula falsi, halving the bracket where that is slow.
    let private root (h: float -> float) (first: float * float) : float =
        let mutable low, high = first
        let mutable hl, hh = h low, h high
        let mutable side = 0
        let mutable step = 0

        while step < mostSteps && high - low > rounding * (1.0 + abs low) && hl < 0.0 do
            let middle =
                if step % halvingPeriod = halvingPeriod - 1 || not (Double.IsFinite(hl / (hh - hl))) then
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

            step <- step + 1

        low

    /// The λ at which a residual that rises with it is δ², taken from the side that meets the bound.
    let solveFor (bound2: float) (start: float option) (scale: float) (residual: float -> float) : Multiplier =
        // x = log λ/scale: a target of another size has the same x.
        let at x = scale * exp x
        let h x = residual (at x) - bound2

        if h highest <= 0.0 then
            Multiplier.Slack
        elif h lowest > 0.0 then
            Multiplier.AboveBound
        else
            let first =
                match start with
                | Some lambda -> min highest (max lowest (log (lambda / scale)))
                | None -> 0.0

            Multiplier.Root(at (root h (bracket h first)))

    /// The λ of a block in independent coordinates.
    let solve (bound2: float) (start: float option) (s: Secular) : Multiplier =
        solveFor bound2 start (scale (Array.sum s.G) (Array.sum s.W)) (residual s)
