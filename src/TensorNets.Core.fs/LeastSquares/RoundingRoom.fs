namespace TensorNets

open TorchSharp

/// What a bound leaves to the rounding of a result to the dtype of its target. Every method that rounds after it has met a bound asks here.
[<RequireQualifiedAccess>]
module internal RoundingRoom =
    /// The relative error above a bound that counts as meeting it.
    let private counted = 1e-9

    /// The part of the target's norm, as a multiple of the dtype's spacing, that a bound leaves to the rounding of the result; the share of
    /// the bound that this may be at first; and how often the bound is lowered for a result that rounding has taken above it.
    let private castShare, private mostOfBound = 0.5, 0.25
    let mostRetries = 5

    /// The room for a bound that is a share of the target's norm, as such a share.
    let first (dtype: torch.ScalarType) (share: float) : float =
        if dtype = torch.float64 || not (share > 0.0) then
            0.0
        else
            min (mostOfBound * share) (castShare * Redundancy.spacing dtype)

    /// The room after a result that rounding took above its bound by `over`, a share of the target's norm.
    let more (room: float) (over: float) : float = max (2.0 * room) (room + 2.0 * over)

    /// The room after one that left no result at all.
    let private lessBy, private least = 16.0, 1e-10

    /// Whether a fit meets δ.
    let meets (delta: float) (fit: Fit) : bool = fit.Error <= delta * (1.0 + counted)

    /// For methods that look for every result anew: `make` gives one, rounded, from the room that the bound gives it, which is a function
    /// of the bound as a share of the target's norm. Errors: those of `make`; <c>Unreachable</c> where rounding forbids the bound.
    let anew
        (dtype: torch.ScalarType)
        (bound: ErrorBound)
        (make: (float -> float) -> Result<Fit, TensorNetError list>)
        : Result<Fit, TensorNetError list> =
        let rec attempt retries room =
            match make room with
            | Ok fit ->
                let norm = fit.TargetNorm

                let delta =
                    match bound with
                    | ErrorBound.Relative epsilon -> epsilon * norm
                    | ErrorBound.Absolute delta -> delta

                if meets delta fit then
                    Ok fit
                else
                    let asked, error = delta / norm, fit.Error
                    let next = more (room asked) (error / norm - asked)
                    Fit.dispose fit

                    if retries > 0 && dtype <> torch.float64 && next < asked then
                        attempt (retries - 1) (fun _ -> next)
                    else
                        Error [ TensorNetError.Unreachable(delta, error) ]
            | Error _ when room 1.0 > 0.0 ->
                let smaller = room 1.0 / lessBy
                attempt (min retries 1) (if smaller > least then min smaller << room else fun _ -> 0.0)
            | Error errors -> Error errors

        attempt mostRetries (first dtype)
