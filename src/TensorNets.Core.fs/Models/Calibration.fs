namespace TensorNets

open System
open System.Runtime.InteropServices
open TorchSharp
open type TorchSharp.torch.nn

/// <summary>What the layers of a model are applied to, from batches run through it.</summary>
[<RequireQualifiedAccess>]
module Calibration =
    /// A layer that can be watched, and the axis of its input that carries the channels, counted from the end.
    let private channelAxis (path: string) (layer: Module) : Result<Module<Tensor, Tensor> * int, TensorNetError list> =
        match layer with
        | :? FactorizedLayer as factorized -> Ok factorized.Geometry
        | dense -> ConvGeometry.ofDenseAt path dense |> Result.map (fun (geometry, _, _) -> geometry)
        |> Result.map (fun geometry -> (layer :?> Module<Tensor, Tensor>), geometry.Kernel.Length + 1)

    /// The running sum of x xᵀ over all positions, in float64.
    type private Sum(what: string, fromEnd: int) =
        let mutable sum: Tensor option = None
        let mutable count = 0L
        let mutable errors: TensorNetError list = []

        member _.Add(x: Tensor) =
            use _ = torch.no_grad ()
            use scope = torch.NewDisposeScope()

            // Later batches cannot mend what one has spoilt.
            if errors.IsEmpty then
                errors <- Check.finite what x

            if errors.IsEmpty && x.dim () >= int64 fromEnd then
                let rows = (Check.double x).movedim([| int64 -fromEnd |], [| -1L |])
                let rows = rows.reshape (-1L, rows.shape[rows.shape.Length - 1])
                count <- count + rows.shape[0]

                let next =
                    match sum with
                    | None -> rows.mT.matmul rows
                    | Some before -> before.plus (rows.mT.matmul rows)

                sum |> Option.iter _.Dispose()
                sum <- Some(scope.Detach next)

        member _.Mean() : Result<Tensor, TensorNetError list> =
            match errors, sum with
            | [], Some total when count > 0L ->
                use scope = torch.NewDisposeScope()
                Ok(total.div (Num.tensor (float count)) |> scope.MoveToOuter)
            | [], _ -> Error [ TensorNetError.Shape(what, [ count ], "at least one position: the layer was never called") ]
            | errors, _ -> Error errors

        interface IDisposable with
            member _.Dispose() = sum |> Option.iter _.Dispose()

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

    /// <summary>Σ, the mean of x xᵀ over all inputs x of a layer, in float64: channels × channels, for <c>Norm.Weighted([ 0 ],
    /// Σ)</c>.</summary>
    /// <remarks><para>The batches run through the whole model in evaluation mode without gradients; x is a vector of channels at one
    /// position of one image. The model is as it was afterwards, each module's mode of training too, also where a batch makes it throw.
    /// Means are not subtracted: it is the second moment that the error of the layer's output depends on.</para>
    /// <para>For a linear layer, or a 1×1 convolution of stride 1, the mean squared change of the output per position is the squared
    /// weighted error of the kernel. For larger kernels it is what that would be if neighbouring positions were uncorrelated and all
    /// counted alike.</para>
    /// <para>Errors: a path that leads nowhere; a module that is neither linear nor a convolution, dense or factorized; no batch, or none
    /// that reached the layer; one that the model does not take; inputs that are NaN or infinite; <c>WrongConvolutions</c> where libtorch's
    /// convolutions are wrong (<c>Native.check</c>) and the model has such of one dimension: others are given their channels side by side,
    /// which it convolves rightly. Source: arXiv 2511.04494.</para></remarks>
    /// <param name="path">The path of the layer, such as <c>layer1.1.conv2</c>.</param>
    /// <param name="batches">Inputs of the model; they are not disposed.</param>
    /// <param name="model">The model.</param>
    /// <example><code>Calibration.covariance "conv" [ images ] model |> orStop</code></example>
    let covariance (path: string) (batches: Tensor seq) (model: Module<Tensor, Tensor>) : Result<Tensor, TensorNetError list> =
        Surgery.find path model
        |> Result.bind (channelAxis path)
        |> Result.bind (fun found -> SoundConvolutions.within (ConvolutionCheck.check ()) model |> Result.map (fun sound -> found, sound))
        |> Result.bind (fun ((layer, fromEnd), sound) ->
            use _ = sound
            use _ = Mode.left ()
            use _ = torch.no_grad ()
            let before = modes model
            use sum = new Sum($"The input of '{path}'", fromEnd)

            let hook =
                layer.register_forward_pre_hook (
                    Func<Module<Tensor, Tensor>, Tensor, Tensor>(fun _ x ->
                        sum.Add x
                        x)
                )

            try
                model.eval ()

                let refused = batches |> Seq.map (applied model) |> Seq.tryFind (List.isEmpty >> not)

                match refused with
                | Some errors -> Error errors
                | None -> sum.Mean()
            finally
                hook.remove ()

                for m, training in before do
                    m.train training)
