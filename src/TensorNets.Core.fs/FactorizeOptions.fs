namespace TensorNets

/// <summary>Where alternating least squares starts.</summary>
[<RequireQualifiedAccess>]
type Start =
    /// Singular value decompositions of the target (<c>Svd.start</c>).
    | Svd
    /// White noise from the seed.
    | Random

/// <summary>How a tensor is factorised.</summary>
type FactorizeOptions =
    {
        /// The iteration; by default 200 sweeps at most, until a sweep changes the error by less than 1e-7 of it.
        Sweeps: SweepOptions
        /// Where it starts; by default singular value decompositions.
        Start: Start
        /// The seed of whatever noise the start needs.
        Seed: uint64
        /// How many starts; by default 1. The second and further ones are white noise, each from a seed of its own that follows from <c>Seed</c>; the
        /// best result is kept.
        Starts: int
    }
