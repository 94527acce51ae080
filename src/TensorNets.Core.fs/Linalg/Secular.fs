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

    /// Σ g / Σ w: about where λ changes the block.
    let scale (g: float) (w: float) = if w > 0.0 then max (g / w) 1e-300 else 1.0

    /// The λ at which a residual that rises with it is δ², taken from the side that meets the bound.
    let solveFor (bound2: float) (start: float option) (scale: float) (residual: float -> float) : Multiplier =
        // x = log λ/scale: a target of another size has the same x. Beyond these the block no longer changes: λ w is below, or above, every
        // g by more than the digits of a double.
        let lowest, highest = log 1e-32, log 1e32
        let at x = scale * exp x
        let h x = residual (at x) - bound2

        if h highest <= 0.0 then
            Multiplier.Slack
        elif h lowest > 0.0 then
            Multiplier.AboveBound
        else
            let clamp x = min highest (max lowest x)

            let first =
                match start with
                | Some lambda -> clamp (log (lambda / scale))
                | None -> 0.0

            let mutable low, high = first, first
            let mutable step = 0.5

            if h first <= 0.0 then
                while h high <= 0.0 && high < highest do
                    low <- high
                    high <- clamp (high + step)
                    step <- 2.0 * step
            else
                while h low > 0.0 && low > lowest do
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

            Multiplier.Root(at low)

    /// The λ of a block in independent coordinates.
    let solve (bound2: float) (start: float option) (s: Secular) : Multiplier =
        solveFor bound2 start (scale (Array.sum s.G) (Array.sum s.W)) (residual s)
