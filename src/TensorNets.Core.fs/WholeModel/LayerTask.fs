namespace TensorNets

open System
open TorchSharp

/// What a layer of a plan is made with.
[<NoComparison; NoEquality>]
type internal LayerTask =
    {
        Planned: PlannedLayer
        Source: SourceLayer
        /// The norm of its error.
        Norm: Norm
        /// Of an embedding the shares of its tokens, where they are known.
        Shares: Tensor option
        /// As `LayerTask.cost` says.
        Cost: float
    }

[<RequireQualifiedAccess>]
module internal LayerTask =
    /// The cost of a layer's sweeps, up to a factor.
    let cost (layer: PlannedLayer) : float =
        let choice = layer.Choice

        match choice.Format with
        // It is rounded at most.
        | Format.Dense -> float layer.Parameters
        | Format.CP rank -> float layer.Parameters * float rank
        | Format.TensorChain ranks -> float layer.Parameters * float (List.max ranks) * float (List.max ranks)
        | _ -> float layer.Parameters * sqrt (float choice.Parameters)

    /// How the cores of a layer are rounded: as its entry of the plan says, or else the options.
    let rounding (options: CompressOptions) (task: LayerTask) : QuantizeOptions option =
        match task.Planned.Choice.Bits with
        | 0 -> options.Quantize
        | bits -> Some { Quantization.defaults with Bits = bits }

    /// When rounds of correction end: rounding to few bits, of whatever layer, is left a quarter of the time.
    let roundsEnd (options: CompressOptions) (tasks: LayerTask list) : TimeSpan option =
        let isRounded = tasks |> List.exists (rounding options >> Option.isSome)
        options.TimeLimit |> Option.map (fun limit -> if isRounded then limit * 0.75 else limit)

    /// What becomes of the kernel of each group, by its number, in its norm, for its spec.
    let perGroup
        (task: LayerTask)
        (weight: Tensor)
        (act: int -> Norm -> Spec -> Tensor -> Result<'T, TensorNetError list>)
        : Result<'T list, TensorNetError list> =
        let choice, g = task.Planned.Choice, task.Source.Geometry

        PlanMaking.ofGroup choice.Axes choice.Format g
        |> Result.bind (fun spec ->
            if g.Groups = 1L then
                ConvGeometry.kernelFor (Spec.shape spec) g (weight.detach ())
                |> act 0 task.Norm spec
                |> Result.map List.singleton
            else
                let kernel = HalfPrecision.widened (ConvGeometry.kernelOfWeight g (weight.detach ()))

                (Ok [], [ 0 .. int g.Groups - 1 ])
                ||> List.fold (fun found i ->
                    found
                    |> Result.bind (fun found ->
                        act i Norm.Frobenius spec ((kernel.select (0L, int64 i)).reshape(List.toArray (Spec.shape spec)))
                        |> Result.map (fun next -> next :: found)))
                |> Result.map List.rev)

    /// The time that each of a layer's groups gets.
    let share (task: LayerTask) (time: TimeSpan option) = time |> Option.map (fun time -> time / float task.Source.Geometry.Groups)

    /// The layer of a network with the bias, in the dtype and on the device of the weight.
    let layerOf (g: ConvGeometry) (weight: Tensor) (bias: Tensor option) (norm: Norm) (network: Network) =
        LayerMaking.planned None g network.Spec
        |> Result.bind (fun plan ->
            let layer = LayerMaking.made plan weight.dtype weight.device network bias LayerMaking.trained
            layer.TrySetNorm norm |> LayerMaking.orDisposed layer)
