namespace TensorNets

open System
open System.Runtime.InteropServices
open TorchSharp
open type TorchSharp.torch.nn

/// <summary>What the layers of a model are applied to, from batches run through it.</summary>
[<RequireQualifiedAccess>]
module Calibration =
    let private geometryAt (path: string) (layer: Module) : Result<ConvGeometry, TensorNetError list> =
        match layer with
        | :? FactorizedLayer as factorized -> Ok factorized.Geometry
        | dense -> ConvGeometry.ofDenseAt path dense |> Result.map (fun (geometry, _, _) -> geometry)

    /// The sum of what a layer of a geometry is applied to.
    let private moment (path: string) (g: ConvGeometry) : RunningMoment =
        let what = $"The input of '{path}'"

        if g.IsEmbedding then
            new TokenCounts(what, g.InChannels)
        else
            new SecondMoment(what, g.Kernel.Length + 1)

    /// Every module with its mode of training, parents before children.
    let private modes (model: Module) = ("", model) :: ModulePath.all model |> List.map (fun (_, m) -> m, m.training)

    /// Runs a batch through a model; what libtorch or TorchSharp say against it. What the model's own code throws is the caller's.
    let private applied (model: Module<Tensor, Tensor>) (batch: Tensor) : TensorNetError list =
        let refused (error: exn) =
            let said = error.Message.Split('\n')[0]

            [
                TensorNetError.Shape("A batch", Check.shapeOf batch, $"an input that the model takes; it says: {said}")
            ]

        try
            use _ = torch.NewDisposeScope()
            let unreadable = Check.readable "A batch" batch

            if unreadable.IsEmpty then
                model.call batch |> ignore

            unreadable
        with
        | :? ExternalException as error -> refused error
        | :? ArgumentException as error when error.Source = "TorchSharp" -> refused error
        | :? TensorNetException as error -> List.ofSeq error.Errors

    /// Runs batches through a model without gradients, in evaluation mode but for the modules that are to be in training mode; what watches
    /// a layer is given each of its inputs. Every module's mode is as it was afterwards.
    let private passed
        (inTraining: Module -> bool)
        (watched: (Module<Tensor, Tensor> * (Tensor -> unit)) list)
        (batches: Tensor seq)
        (model: Module<Tensor, Tensor>)
        : Result<unit, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        let before = modes model

        let hooks =
            [
                for layer, see in watched ->
                    layer.register_forward_pre_hook (
                        Func<Module<Tensor, Tensor>, Tensor, Tensor>(fun _ x ->
                            see x
                            x)
                    )
            ]

        try
            model.eval ()

            for m, _ in before do
                if inTraining m then
                    m.train true

            match batches |> Seq.map (applied model) |> Seq.tryFind (List.isEmpty >> not) with
            | Some errors -> Error errors
            | None -> Ok()
        finally
            for hook in hooks do
                hook.remove ()

            for m, training in before do
                m.train training

    /// The same where libtorch's convolutions are right, or can be mended.
    let internal pass inTraining watched batches model =
        match ConvolutionCheck.mend () with
        | [] -> passed inTraining watched batches model
        | errors -> Error errors

    /// <summary>Σ, the mean of x xᵀ over all inputs x of a layer, in float64: channels × channels, for <c>Norm.Weighted([ 0 ],
    /// Σ)</c>.</summary>
    /// <remarks><para>The batches run through the whole model in evaluation mode without gradients; x is a vector of channels at one
    /// position of one image. The model is as it was afterwards, each module's mode of training too, also where a batch makes it throw.
    /// Means are not subtracted: it is the second moment that the error of the layer's output depends on.</para>
    /// <para>For a linear layer, or a 1×1 convolution of stride 1, the mean squared change of the output per position is the squared
    /// weighted error of the kernel. For larger kernels it is what that would be if neighbouring positions were uncorrelated and all
    /// counted alike.</para>
    /// <para>Of an embedding x is one 1 among zeros, and Σ diagonal: what is returned is its diagonal alone, the share of each token, for
    /// <c>PlanOptions.Covariances</c> and <c>CompressOptions.Covariances</c>.</para>
    /// <para>Errors: a path that leads nowhere; a module that is neither linear nor a convolution nor an embedding, dense or factorized; no
    /// batch, or none that reached the layer; one that the model does not take; inputs that are NaN or infinite;
    /// <c>WrongConvolutions</c> where libtorch's are wrong and <c>Native.guard</c>, which is called, does not help.
    /// Source: arXiv 2511.04494.</para></remarks>
    /// <param name="path">The path of the layer, such as <c>layer1.1.conv2</c>.</param>
    /// <param name="batches">Inputs of the model; they are not disposed.</param>
    /// <param name="model">The model.</param>
    /// <example><code>Calibration.covariance "conv" [ images ] model |> orStop</code></example>
    let covariance (path: string) (batches: Tensor seq) (model: Module<Tensor, Tensor>) : Result<Tensor, TensorNetError list> =
        Surgery.find path model
        |> Result.bind (fun layer -> geometryAt path layer |> Result.map (fun g -> (layer :?> Module<Tensor, Tensor>), g))
        |> Result.bind (fun (layer, g) ->
            use sum = moment path g
            pass (fun _ -> false) [ layer, sum.Add ] batches model |> Result.bind sum.Mean)

    /// <summary>Σ of every linear layer, convolution without groups and embedding of a model, dense or factorized, by its first path, from
    /// one pass: as <c>covariance</c> gives it for each.</summary>
    /// <remarks>A layer that is not reached, and one of more channels than are allowed, is left out: Σ takes the square of the channels, of
    /// an embedding a number for each token.
    /// Errors: a batch that the model does not take; inputs that are NaN or infinite.</remarks>
    /// <param name="mostChannels">The most channels of a layer, for which Σ takes 8 bytes times their square.</param>
    /// <param name="batches">Inputs of the model; they are not disposed.</param>
    /// <param name="model">The model.</param>
    /// <example><code>Calibration.covariances 4096L [ images ] model |> orStop</code></example>
    let covariances
        (mostChannels: int64)
        (batches: Tensor seq)
        (model: Module<Tensor, Tensor>)
        : Result<(string * Tensor) list, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(batches, nameof batches)
        ArgumentNullException.ThrowIfNull(model, nameof model)

        let sums =
            [
                for paths, m in ModulePath.placed model do
                    let path = List.head paths

                    match geometryAt path m with
                    | Ok g when g.Groups = 1L && (g.IsEmbedding || g.InChannels <= mostChannels) ->
                        path, (m :?> Module<Tensor, Tensor>), moment path g
                    | _ -> ()
            ]

        try
            use scope = torch.NewDisposeScope()

            pass (fun _ -> false) [ for _, layer, sum in sums -> layer, sum.Add ] batches model
            |> Result.bind (fun () ->
                let found =
                    [
                        for path, _, sum in sums do
                            if sum.IsReached then
                                path, sum.Mean()
                    ]

                match
                    found
                    |> List.collect (function
                        | _, Error errors -> errors
                        | _ -> [])
                with
                | [] -> Ok [ for path, mean in found -> path, scope.MoveToOuter(TensorNetError.raiseErrors mean) ]
                | errors -> Error errors)
        finally
            for _, _, sum in sums do
                sum.Dispose()

    let private runningMean, private runningVariance = "running_mean", "running_var"

    /// The batch norms of a model that keep running statistics.
    let private batchNorms (model: Module) : (string * Module<Tensor, Tensor>) list =
        let keeps (m: Module) = not (isNull (m.get_buffer runningMean)) && not (isNull (m.get_buffer runningVariance))

        [
            for paths, m in
                ("", model) :: ModulePath.all model
                |> List.distinctBy (fun (_, m) -> LanguagePrimitives.PhysicalHash m) do
                match m with
                | :? Modules.BatchNorm1d
                | :? Modules.BatchNorm2d
                | :? Modules.BatchNorm3d when keeps m -> paths, (m :?> Module<Tensor, Tensor>)
                | _ -> ()
        ]

    /// <summary>Re-estimates the running mean and variance of every batch norm of a model from batches, as they are after its layers have
    /// been replaced; returns how many there are.</summary>
    /// <remarks>The batches run through the model once, batch norms by the statistics of the batch at hand and everything else in
    /// evaluation mode; the new statistics are those of all inputs of a batch norm taken together. Batches are best as large as in
    /// training. On an error nothing is changed. Errors: no batch, or none that reached a batch norm; a batch that the model does not take;
    /// inputs that are NaN or infinite.</remarks>
    /// <param name="batches">Inputs of the model; they are not disposed.</param>
    /// <param name="model">The model.</param>
    /// <example><code>Calibration.batchNorm [ images ] (torch.nn.BatchNorm2d 4L) |> orStop</code></example>
    let batchNorm (batches: Tensor seq) (model: Module<Tensor, Tensor>) : Result<int, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(batches, nameof batches)
        ArgumentNullException.ThrowIfNull(model, nameof model)
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()

        let norms =
            [ for path, m in batchNorms model -> m, new ChannelMoments($"The input of '{path}'", scope) ]

        let own = HashIdentity.Reference
        let known = Collections.Generic.HashSet<Module>([ for m, _ in norms -> m :> Module ], own)

        let kept =
            [
                for m, _ in norms do
                    for struct (_, b) in m.named_buffers false -> b, b.clone ()
            ]

        let mutable done' = false

        try
            match pass known.Contains [ for m, moments in norms -> m, moments.Add ] batches model with
            | Error errors -> Error errors
            | Ok() ->
                match norms |> List.collect (fun (_, moments) -> moments.Errors) with
                | [] when norms |> List.exists (fun (_, moments) -> moments.Count = 0L) ->
                    Error
                        [
                            TensorNetError.Shape("The input of a batch norm", [ 0L ], "at least one position: it was never called")
                        ]
                | [] ->
                    for m, moments in norms do
                        let mean, variance = moments.Result()
                        (nonNull (m.get_buffer runningMean)).copy_ mean |> ignore
                        (nonNull (m.get_buffer runningVariance)).copy_ variance |> ignore

                    done' <- true
                    Ok norms.Length
                | errors -> Error errors
        finally
            if not done' then
                for buffer, before in kept do
                    buffer.copy_ before |> ignore
