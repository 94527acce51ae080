namespace TensorNets

open TorchSharp

/// What rounding to few bits does to the networks that a layer's candidates have at planning time.
[<NoComparison; NoEquality>]
type internal CandidateRounding =
    {
        /// The bits that are asked for.
        Bits: int list
        /// The norm in which errors are: networks are those of the whitened kernel.
        Inputs: InputNorm
        /// ‖K‖² in the norm.
        Norm2: float
    }

[<RequireQualifiedAccess>]
module internal CandidateRounding =
    /// The network of a format over a shape, of given cores.
    let networkOf (shape: int list) (format: Format) (cores: Tensor list) : Network =
        match Format.spec shape format with
        | Ok spec -> new Network(spec, List.toArray cores)
        | Error errors -> invalidOp (String.concat "; " (errors |> List.map _.Message))

    /// The network of a kernel of so many input channels from that of the whitened one; None where several cores share the first mode.
    let private unwhitened (norm: InputNorm) (channels: int64) (network: Network) : Network option =
        let first = network.Spec.Output.Head

        match Spec.carriers first network.Spec with
        | [ only ] when int64 (Spec.dim first network.Spec) = channels ->
            let applied (core: Core) (tensor: Tensor) =
                if core.Name = only.Name then
                    let place = Axis.place core.Axes first
                    let kernel = tensor.movedim ([| place |], [| 0L |])
                    (KernelProjection.unwhitened norm kernel).movedim([| 0L |], [| place |])
                else
                    tensor.alias ()

            Some(new Network(network.Spec, Seq.map2 applied network.Spec.Cores network.Cores |> Seq.toArray))
        | _ -> None

    /// E‖ΔT‖² / ‖K‖² at each number of bits once the network is balanced, a scale for each slice; what cannot be told is left out.
    let noise (rounding: CandidateRounding) (make: unit -> Network) : (int * float) list =
        if rounding.Bits.IsEmpty then
            []
        else
            use _ = torch.NewDisposeScope()

            // Balanced where it is whitened, which is the gauge of the norm of the inputs.
            let made = make ()
            let balanced = Gauge.balance made |> Result.defaultValue made

            let norm, plain =
                match rounding.Inputs with
                | InputNorm.OfInputs(sigma, _, _) -> Norm.Weighted([ 0 ], sigma), unwhitened rounding.Inputs sigma.shape[0] balanced
                | InputNorm.OfTokens _
                | InputNorm.Alike -> Norm.Frobenius, Some balanced

            match plain with
            | Some plain ->
                Quantization.predictions { Quantization.defaults with Norm = norm } rounding.Bits plain
                |> Result.map (List.map (fun (bits, noise) -> bits, noise / rounding.Norm2))
                |> Result.defaultValue []
            | None -> []
