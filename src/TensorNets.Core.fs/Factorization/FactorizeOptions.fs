namespace TensorNets

open TorchSharp

/// <summary>Where alternating least squares starts.</summary>
[<RequireQualifiedAccess>]
type Start =
    /// <summary>Singular value decompositions of the target (<c>SvdStart.start</c>).</summary>
    | Svd
    /// <summary>Singular value decompositions made as the options say: sequentially (ST-HOSVD), or with sketches
    /// (<c>SvdStart.startWith</c>).</summary>
    | SvdWith of options: SvdOptions
    /// White noise from the seed.
    | Random

[<RequireQualifiedAccess>]
module internal Initializer =
    /// The making of start i from a seed: the first one as it is asked for, the others noise.
    let network (start: Start) (i: int) : uint64 -> Spec -> Tensor -> Result<Network, TensorNetError list> =
        match start with
        | Start.Svd when i = 0 -> SvdStart.start
        | Start.SvdWith options when i = 0 -> SvdStart.startWith options
        | _ -> SvdStart.noise

    /// What is wrong with it.
    let check (start: Start) =
        match start with
        | Start.SvdWith options -> SvdOptions.check options
        | _ -> []

/// <summary>How a tensor is factorized.</summary>
type FactorizeOptions =
    {
        /// The iteration; by default 200 sweeps at most, until a sweep changes the error by less than 1e-7 of it.
        Sweeps: SweepOptions
        /// Where it starts; by default singular value decompositions.
        Start: Start
        /// The seed of whatever noise the start needs; by default 0.
        Seed: uint64
        /// <summary>The number of starts, 1 or more; by default 1. The second and further ones are white noise, each from a seed of its own
        /// that follows from Seed; the best result is kept.</summary>
        Starts: int
    }
