namespace TensorNets

open System
open TorchSharp

/// <summary>Factorized layers of few bits: their cores are floating-point numbers that small integers and scales stand for, and as those
/// they are written to files.</summary>
[<RequireQualifiedAccess>]
module LayerQuantization =
    /// A layer that was restored from integers remembers them.
    let internal remembered (integers: QuantizedNetwork option) (layer: Result<FactorizedLayer, TensorNetError list>) =
        match layer, integers with
        | Ok layer, Some integers ->
            for core in integers.Cores do
                core.Integers.DetachFromDisposeScope() |> ignore
                core.Scales.DetachFromDisposeScope() |> ignore

            layer.Integers <- Some integers
        | Error _, Some integers -> (integers :> IDisposable).Dispose()
        | _, None -> ()

        layer

    /// <summary>The integers that a layer's cores stand for, which belong to the layer; none of a layer that was never quantized, or whose
    /// cores have changed since.</summary>
    /// <example><code>LayerQuantization.current layer // None</code></example>
    let current (layer: FactorizedLayer) : QuantizedNetwork option =
        Check.layer layer

        layer.Integers
        |> Option.filter (fun integers ->
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()
            use cores = integers.Restored layer.Factors[0].dtype

            Seq.forall2
                (fun (own: Modules.Parameter) (core: Tensor) -> own.shape = core.shape && (own.detach().cpu()).Equals core)
                layer.Factors
                cores.Cores)

    /// <summary>The bytes of a layer's numbers in a file: of its integers and scales, or of its cores; and of its bias.</summary>
    /// <example><code>LayerQuantization.bytes layer // of all parameters</code></example>
    let bytes (layer: FactorizedLayer) : int64 =
        Check.layer layer
        let ofNumbers (tensor: Tensor) = tensor.numel () * int64 (tensor.element_size ())

        let bias =
            match layer.Bias with
            | null -> 0L
            | bias -> ofNumbers bias

        match current layer with
        | Some integers -> integers.Bytes + bias
        | None -> (layer.Factors |> Seq.sumBy ofNumbers) + bias

    /// Gives a layer the cores of a network of integers, which it owns from then on.
    let private set (layer: FactorizedLayer) (integers: QuantizedNetwork) : Result<unit, TensorNetError list> =
        use _ = torch.NewDisposeScope()
        use cores = integers.Restored layer.Factors[0].dtype

        match layer.TrySetFactors [| for core in cores.Cores -> core |] with
        | Ok() ->
            layer.Integers |> Option.iter (fun old -> (old :> IDisposable).Dispose())
            remembered (Some integers) (Ok layer) |> Result.map ignore
        | Error errors ->
            (integers :> IDisposable).Dispose()
            Error errors

    /// <summary>Rounds the cores of a layer, in place, so that its kernel stays as near as it can be to a dense weight.</summary>
    /// <remarks><c>Quantization.fit</c> in the norm of the options. The cores remain parameters, and may be trained on; then they are
    /// floating-point numbers again. Re-estimate batch norms afterwards (<c>Calibration.batchNorm</c>). Errors: those of
    /// <c>Quantization.fit</c>.</remarks>
    /// <param name="options">Bits, scales, norm.</param>
    /// <param name="weight">The dense weight as TorchSharp's layers hold it; none: the kernel that the layer has now.</param>
    /// <param name="layer">The layer.</param>
    /// <example><code>LayerQuantization.fit { Quantization.defaults with Bits = 5 } None layer |> orStop</code></example>
    let fit (options: QuantizeOptions) (weight: Tensor option) (layer: FactorizedLayer) : Result<unit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Check.layer layer
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let g = layer.Geometry

        let target =
            match weight with
            | Some weight ->
                match Check.readable "The weight" weight with
                | [] when Check.shapeOf weight <> ConvGeometry.weightShape g ->
                    Error
                        [
                            TensorNetError.Shape("The weight", Check.shapeOf weight, TensorNetError.shapeText (ConvGeometry.weightShape g))
                        ]
                | [] -> Ok weight
                | errors -> Error errors
            | None -> Ok(layer.Kernel())

        target
        |> Result.bind (fun weight ->
            use own = layer.Network()
            use network = Network.copyAs torch.float64 own
            let kernel = ConvGeometry.kernelFor (Spec.shape layer.Spec) g (weight.detach ())
            Quantization.fit options kernel network)
        |> Result.bind (set layer)
