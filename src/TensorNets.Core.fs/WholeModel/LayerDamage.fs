namespace TensorNets

open System
open TorchSharp

/// What a caller's function says of a model in which one layer has the kernel of a candidate.
[<RequireQualifiedAccess>]
module internal LayerDamage =
    type private Net = torch.nn.Module<Tensor, Tensor>

    let private refused found =
        Error
            [
                TensorNetError.Unsupported("The function of the plan", found, "a finite number for every model that it is given")
            ]

    /// The function's value. Errors: a value that is no number, anything thrown but what ends the whole plan.
    let private value (evaluate: Net -> float) (what: string) (model: Net) : Result<float, TensorNetError list> =
        try
            match evaluate model with
            | value when Double.IsFinite value -> Ok value
            | value -> refused $"{value} for {what}"
        with problem when not (problem :? OperationCanceledException) ->
            let message = problem.Message.Split('\n')[0]
            refused $"{problem.GetType().Name} for {what}: {message.TrimEnd '.'}"

    /// The kernel of a candidate in the shape and dtype of the weight.
    let private weightOf (norm: InputNorm) (layer: PlannedLayer) (point: DamageCurve.Point) (weight: Tensor) : Tensor =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()
        let g = layer.Geometry
        let kernel = Check.double (ConvGeometry.kernelOfWeight g weight)

        let inNorm (fit: Network option) (kernel: Tensor) =
            match fit with
            | Some network -> (Contraction.reconstruct network).reshape kernel.shape
            | None -> KernelProjection.truncation point.Format (KernelProjection.whitened norm kernel)

        let fitted (fit: Network option) (kernel: Tensor) =
            match fit with
            // TT-matrices are fitted to the table as it is, and may have more rows.
            | Some network when g.IsEmbedding -> (Contraction.reconstruct network).reshape(-1L, g.OutChannels).narrow(0L, 0L, g.InChannels)
            | _ -> KernelProjection.unwhitened norm (inNorm fit kernel)

        let fits = if point.Fits.IsEmpty then List.replicate (int g.Groups) None else List.map Some point.Fits

        let made =
            if g.Groups = 1L then
                fitted fits.Head kernel
            else
                torch.stack [| for i, fit in List.indexed fits -> fitted fit (kernel.select (0L, int64 i)) |]

        (ConvGeometry.weightOfKernel g made).``to`` weight.dtype |> scope.MoveToOuter

    /// Numbers into a weight that may be part of a graph, or have been made in inference mode.
    let private write (weight: Tensor) (numbers: Tensor) : unit =
        use _ = torch.inference_mode true
        weight.copy_ numbers |> ignore

    /// The values of the candidates of a layer. The weight has its own bits again afterwards, whatever the function does.
    let private valuesOf
        (norm: InputNorm)
        (evaluate: Net -> float)
        (model: Net)
        (layer: PlannedLayer)
        (points: DamageCurve.Point list)
        weight
        =
        use own = (weight: Tensor).clone()

        let valueOf (candidate: PlanCandidate, point) =
            use changed = weightOf norm layer point own

            try
                write weight changed
                value evaluate $"'{layer.Path}' as {candidate}" model
            finally
                write weight own

        (Ok [], List.zip (List.ofSeq layer.Candidates) points)
        ||> List.fold (fun found next -> found |> Result.bind (fun found -> valueOf next |> Result.map (fun value -> value :: found)))
        |> Result.map List.rev

    /// A layer with its candidates, their points and norm, which belong to nobody.
    let private curve (options: PlanOptions) (source: SourceLayer) : PlannedLayer * DamageCurve.Point list * InputNorm =
        use scope = torch.NewDisposeScope()
        let layer, points, norm = PlanMaking.curve None options source
        layer, DamageCurve.toOuter scope points, InputNorm.toOuter scope norm

    /// A layer with its candidates and their damages: by how much each raises the value.
    let private evaluated (options: PlanOptions) (evaluate: Net -> float) (model: Net) (dense: float) (source: SourceLayer) =
        // As the plan without a function makes them: on one thread of libtorch's.
        let layer, points, norm = SideBySide.run 1 (curve options) [ source ] |> List.head

        try
            match SourceLayer.weight source with
            | Ok weight when not points.IsEmpty ->
                use weight = weight.detach ()

                valuesOf norm evaluate model layer points weight
                |> Result.map (fun values ->
                    { layer with
                        Candidates =
                            [
                                for candidate, value in Seq.zip layer.Candidates values ->
                                    { candidate with Damage = max 0.0 (value - dense) }
                            ]
                    })
            | _ -> Ok layer
        finally
            InputNorm.dispose norm

            for point in points do
                for fit in point.Fits do
                    (fit :> IDisposable).Dispose()

    /// Layers with their candidates and damages, one after the other, as long as there is no error, each told of; layers that stay dense as
    /// they are.
    let layers
        (options: PlanOptions)
        (evaluate: Net -> float)
        (model: Net)
        (tell: SourceLayer -> unit)
        (layers: (SourceLayer * string) list)
        =
        let next dense (source, kept) =
            if kept = "" then
                let made = evaluated options evaluate model dense source

                if Result.isOk made then
                    tell source

                made
            else
                Ok { PlanMaking.planned source with Kept = kept }

        value evaluate "the dense model" model
        |> Result.bind (fun dense ->
            (Ok [], layers)
            ||> List.fold (fun found layer ->
                found |> Result.bind (fun found -> next dense layer |> Result.map (fun made -> made :: found))))
        |> Result.map List.rev
