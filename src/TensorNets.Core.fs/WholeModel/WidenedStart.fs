namespace TensorNets

open TorchSharp

/// Starts of least squares from smaller networks.
[<RequireQualifiedAccess>]
module internal WidenedStart =
    /// The noise with which cores are widened, as a share of their rms.
    let private fresh = 0.05

    /// A start for a spec from the cores of a smaller one of the same structure: they fill a corner, the rest is weak noise.
    let ofSmaller (spec: Spec) (smaller: Network) : Network =
        use scope = torch.NewDisposeScope()
        use noise = Network.random torch.float64 1UL spec

        let cores =
            [|
                for core, old in Seq.zip noise.Cores smaller.Cores ->
                    let scale = fresh * old.norm().number() / sqrt (float (old.numel ()))
                    let spread = core.std().number()
                    let start = core.mul (Num.tensor (scale / max spread 1e-300))
                    let mutable corner = start.alias ()

                    for axis in 0 .. int (old.dim ()) - 1 do
                        corner <- corner.narrow (int64 axis, 0L, old.shape[axis])

                    corner.copy_ old |> ignore
                    scope.MoveToOuter start
            |]

        new Network(spec, cores)
