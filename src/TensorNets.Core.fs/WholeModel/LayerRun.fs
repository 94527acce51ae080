namespace TensorNets

open System
open System.IO
open System.Threading
open TorchSharp

/// One layer of a plan made into a factorized one.
[<RequireQualifiedAccess>]
module internal LayerRun =
    /// What a layer is made with.
    type Task =
        {
            Planned: PlannedLayer
            Source: SourceLayer
            Norm: Norm
            /// Of an embedding the shares of its tokens, where they are known.
            Shares: Tensor option
            Cost: float
        }

    /// The cost of a layer's sweeps, up to a factor.
    let cost (layer: PlannedLayer) : float =
        let choice = layer.Choice

        match choice.Format with
        | Format.CP rank -> float layer.Parameters * float rank
        | Format.TensorChain ranks -> float layer.Parameters * float (List.max ranks) * float (List.max ranks)
        | _ -> float layer.Parameters * sqrt (float choice.Parameters)

    let private isTree (spec: Spec) = TreeSvd.isTree spec

    /// A token that ends after a time, or with the caller's.
    let private limited (time: TimeSpan option) (token: CancellationToken) =
        let source = CancellationTokenSource.CreateLinkedTokenSource token

        time
        |> Option.iter (fun time -> source.CancelAfter(if time < TimeSpan.Zero then TimeSpan.Zero else time))

        source

    /// A matrix of two cores in the Frobenius norm, the least sensitive one of which is known.
    let private isMatrix (norm: Norm) (spec: Spec) (kernel: Tensor) = spec.Cores.Length = 2 && kernel.dim () = 2L && norm = Norm.Frobenius

    /// The least bound that is asked of a matrix whose rank leaves nothing out, as a share of its norm; and the least slack, for cores that
    /// are rounded to float32.
    let private leastBound, private leastSlack = 1e-12, 1.000001

    /// The least sensitive matrix near the best error of its rank.
    let private matrix (options: CompressOptions) (spec: Spec) (kernel: Tensor) : Result<Network * float, TensorNetError list> =
        let bound best =
            let allowed = max leastSlack options.Slack * best
            ErrorBound.Relative(max leastBound (if allowed < 1.0 then allowed else leastSlack * best))

        LeastSensitiveMatrix.near bound (Spec.dim (Spec.bonds spec).Head spec) kernel
        |> Result.map (fun (fit, before) -> fit.Network, before)

    /// Least squares, then the least sensitive network near their error: a copy of it, and S before.
    let private swept
        (options: CompressOptions)
        (time: TimeSpan option)
        norm
        (spec: Spec)
        (kernel: Tensor)
        : Result<Network * float, TensorNetError list> =
        use first = limited (time |> Option.map (fun time -> time / 2.0)) options.Cancellation
        use second = limited time options.Cancellation

        let sweeps =
            { SweepOptions.defaults with
                MaxSweeps = options.Sweeps
                Tolerance = options.Tolerance
                Norm = norm
                Cancellation = first.Token
            }

        Factorize.runSpec { Factorize.defaults with Sweeps = sweeps } spec kernel
        |> Result.bind (fun fit ->
            // A time that leaves no sweep leaves a start, which may be worse than a kernel of zeros: one sweep is better than that.
            if fit.RelativeError < 1.0 then
                Ok fit
            else
                use fit = fit
                Als.run { sweeps with MaxSweeps = 1; Cancellation = options.Cancellation } kernel fit.Network)
        |> Result.bind (fun fit ->
            let bound = options.Slack * fit.RelativeError

            if isTree spec || options.Corrections < 1 || not (bound < 1.0) then
                match Gauge.balanceIn norm fit.Network with
                | Ok balanced -> Ok balanced
                // A bond of lower rank than its dimension has no gauge.
                | Error _ -> Ok(Network.copyAs fit.Network.DType fit.Network)
            else
                let sweeps = { sweeps with MaxSweeps = options.Corrections; Cancellation = second.Token }
                Correction.nearest sweeps (ErrorBound.Relative bound) kernel fit.Network |> Result.map _.Network
            |> Result.map (fun network -> network, fit.Sensitivity))

    let private network (options: CompressOptions) time norm (spec: Spec) (kernel: Tensor) : Result<Network * float, TensorNetError list> =
        if isMatrix norm spec kernel then
            matrix options spec kernel
        else
            swept options time norm spec kernel

    /// As `network`; with bits, the one of least expected error once it is rounded.
    let private networkFor
        (options: CompressOptions)
        time
        norm
        (spec: Spec)
        (kernel: Tensor)
        : Result<Network * float, TensorNetError list> =
        let corrected = network options time norm spec kernel

        match options.Quantize with
        | Some quantize when options.Corrections > 0 ->
            corrected
            |> Result.bind (fun (start, before) ->
                use start = start
                use limit = limited time options.Cancellation

                let sweeps =
                    { SweepOptions.defaults with
                        MaxSweeps = options.Corrections
                        Tolerance = options.Tolerance
                        Cancellation = limit.Token
                    }

                Quantization.correct { quantize with Norm = norm } sweeps kernel start
                |> Result.map (fun fit -> fit.Network, before))
        | _ -> corrected

    /// The kernel as a network, with groups one for each, stacked; and S before.
    let private kernelNetwork options time (task: Task) (weight: Tensor) : Result<Network * float, TensorNetError list> =
        let choice, g = task.Planned.Choice, task.Source.Geometry

        PlanMaking.ofGroup choice.Axes choice.Format g
        |> Result.bind (fun spec ->
            let fit = networkFor options time task.Norm spec

            if g.Groups = 1L then
                let kernel = ConvGeometry.kernelFor (Spec.shape spec) g (weight.detach ())

                match task.Shares with
                | Some shares when spec.Output.Length = 2 -> TokenShares.fit shares fit kernel
                | _ -> fit kernel
            else
                let kernel = HalfPrecision.widened (ConvGeometry.kernelOfWeight g (weight.detach ()))

                let fits =
                    [
                        for i in 0L .. g.Groups - 1L ->
                            networkFor
                                options
                                (time |> Option.map (fun time -> time / float g.Groups))
                                Norm.Frobenius
                                spec
                                ((kernel.select (0L, i)).reshape(List.toArray (Spec.shape spec)))
                    ]

                match
                    fits
                    |> List.tryPick (function
                        | Error errors -> Some errors
                        | Ok _ -> None)
                with
                | Some errors -> Error errors
                | None ->
                    let networks, before = fits |> List.choose Result.toOption |> List.unzip
                    Ok(GroupNetworks.stack networks, List.sum before))

    /// The layer of a network with the bias, in the dtype and on the device of the weight.
    let private layerOf (g: ConvGeometry) (weight: Tensor) (bias: Tensor option) (norm: Norm) (network: Network) =
        LayerMaking.planned None g network.Spec
        |> Result.bind (fun plan ->
            let layer = LayerMaking.made plan weight.dtype weight.device network bias LayerMaking.trained
            layer.TrySetNorm norm |> Result.map (fun () -> layer))

    let private made options time (task: Task) (weight: Tensor) (bias: Tensor option) : Result<FactorizedLayer, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let g = task.Source.Geometry

        kernelNetwork options time task weight
        |> Result.bind (fun (network, before) ->
            layerOf g weight bias (if g.Groups = 1L then task.Norm else Norm.Frobenius) network
            |> Result.map (fun layer ->
                layer.StartSensitivity <- before
                layer))
        |> Result.bind (fun layer ->
            match options.Quantize with
            | None -> Ok layer
            | Some quantize ->
                match LayerQuantization.fit { quantize with Norm = layer.Norm } (Some weight) layer with
                | Ok() -> Ok layer
                | Error errors ->
                    layer.Dispose()
                    Error errors)

    /// As a file in the work folder says, where there is one that can be read.
    let private resumed (path: string) (task: Task) (weight: Tensor) (bias: Tensor option) : FactorizedLayer option =
        if File.Exists path then
            use _ = torch.NewDisposeScope()

            match LayerFile.load path with
            | Ok stored ->
                use stored = stored
                use network = stored.Network()

                match layerOf task.Source.Geometry weight bias stored.Norm network with
                | Ok layer ->
                    let integers = stored.Integers
                    stored.Integers <- None
                    layer |> Ok |> LayerQuantization.remembered integers |> Result.toOption
                | Error _ -> None
            | Error _ -> None
        else
            None

    let private stopped =
        [
            TensorNetError.Unsupported("The run", "cancelled before the layer was finished", "one that is let run")
        ]

    /// A layer that is made: where it stands in the work folder, empty where there is none, and whether it was read from there.
    type Made = { Layer: FactorizedLayer; File: string; IsResumed: bool }

    /// The layer, from the work folder or made and written there.
    let run (options: CompressOptions) (time: TimeSpan option) (task: Task) : Result<Made, TensorNetError list> =
        use _ = torch.NewDisposeScope()

        let ofNumbers (weight: Tensor) (bias: Tensor option) =
            let place =
                options.Folder
                |> Option.map (fun folder ->
                    let norm =
                        task.Shares
                        |> Option.map (fun shares -> Norm.Weighted([ 0 ], shares))
                        |> Option.defaultValue task.Norm

                    let key = RunKey.ofLayer options task.Planned task.Source.Geometry weight bias norm
                    Path.Combine(folder, key + ".safetensors"))

            match place |> Option.bind (fun path -> resumed path task weight bias) with
            | Some layer -> Ok(layer, true)
            | None when options.Cancellation.IsCancellationRequested -> Error stopped
            | None ->
                made options time task weight bias
                |> Result.bind (fun layer ->
                    if options.Cancellation.IsCancellationRequested then
                        layer.Dispose()
                        Error stopped
                    else
                        match place with
                        | Some path -> LayerFile.save path layer |> Result.map (fun () -> layer, false)
                        | None -> Ok(layer, false))
            |> Result.map (fun (layer, isResumed) ->
                {
                    Layer = Compress.note (string task.Planned.Choice) weight layer
                    File = place |> Option.defaultValue ""
                    IsResumed = isResumed
                })

        SourceLayer.weight task.Source
        |> Result.bind (fun weight -> SourceLayer.bias task.Source |> Result.bind (ofNumbers weight))
