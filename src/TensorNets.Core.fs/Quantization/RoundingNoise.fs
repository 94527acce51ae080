namespace TensorNets

open TorchSharp

/// What independent rounding of cores does to T, from the same double layers as S.
[<RequireQualifiedAccess>]
module internal RoundingNoise =
    /// The plan of ‖∂T/∂θ‖² for every entry θ of a core, over the axes of the core that other cores carry as well.
    let private entryPlan (spec: Spec) (core: Core) : Axis list * Plan =
        let edge = Spec.sharedAxes core spec

        edge,
        Spec.doubled (Spec.without core.Name spec) (Set.ofList (spec.Output @ core.Axes)) edge spec
        |> Plan.make Order.Auto

    /// ‖∂T/∂θ‖² for the entries of each free core, over the axes that other cores carry as well, and the places of the axes that the core
    /// has for itself.
    let weights (spec: Spec) (cores: Tensor[]) : (Tensor * int64[]) list =
        let lookup = CoreArray.Lookup spec cores

        [
            for core in Spec.freeCores spec ->
                let edge, plan = entryPlan spec core
                let weights = Contraction.runMany [ plan ] torch.float64 cores[0].device lookup |> List.head

                weights,
                [|
                    for axis in core.Axes do
                        if not (List.contains axis edge) then
                            Axis.place core.Axes axis
                |]
        ]

    /// Σ over the entries of all cores of variance × ‖∂T/∂θ‖², for tensors of variances in the shapes of the free cores: E‖ΔT‖² to first
    /// order, and so Σ_k m_k-weighted noise; S where all variances are one.
    let predicted (weights: (Tensor * int64[]) list) (variances: Tensor list) : float =
        use _ = torch.NewDisposeScope()

        List.map2
            (fun (weight: Tensor, own: int64[]) (variance: Tensor) ->
                let summed: Tensor = if own.Length = 0 then variance else variance.sum own
                weight.mul(summed).sum().number())
            weights
            variances
        |> List.sum
