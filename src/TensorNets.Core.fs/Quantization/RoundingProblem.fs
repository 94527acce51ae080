namespace TensorNets

open System
open TorchSharp

/// A network whose cores are to be rounded, in a norm: with the root of the covariance as a fixed core behind the others, so that the cores
/// are those that are rounded.
[<NoEquality; NoComparison>]
type internal RoundingProblem =
    {
        /// The spec with that core.
        Spec: Spec
        /// Its cores, in float64.
        Cores: Tensor[]
        Whitening: WhitenedNorm option
    }

    /// What norms are in units of.
    member this.Unit = this.Whitening |> Option.map _.Unit |> Option.defaultValue NormUnit.One

[<RequireQualifiedAccess>]
module internal RoundingProblem =
    /// The problem of a network; its tensors belong to the scope of the caller.
    let create (norm: Norm) (network: Network) : Result<RoundingProblem, TensorNetError list> =
        WhitenedNorm.beside norm network.Spec
        |> Result.map (fun whitening ->
            let whole =
                match whitening with
                | Some w -> WhitenedNorm.network w network
                | None -> Network.copyAs torch.float64 network

            { Spec = whole.Spec; Cores = Seq.toArray whole.Cores; Whitening = whitening })

    /// K in the norm.
    let target (problem: RoundingProblem) (k: Tensor) : Tensor =
        match problem.Whitening with
        | Some w -> WhitenedNorm.target w k
        | None -> k
