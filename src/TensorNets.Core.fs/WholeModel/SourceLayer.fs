namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>A linear layer, convolution or embedding wherever its numbers are: in a module, a file, a graph.</summary>
[<NoComparison; NoEquality>]
type SourceLayer =
    {
        /// Its name in the source, which no other layer has.
        Path: string
        /// What the source calls it, such as Conv2d.
        Kind: string
        /// Its channels, kernel, groups and steps.
        Geometry: ConvGeometry
        /// The shapes of its inputs, one for each call, by which FLOPs are counted; none: it has no FLOPs.
        Inputs: IReadOnlyList<IReadOnlyList<int64>>
        /// Why the source cannot take a factorized layer here; empty where it can.
        Kept: string
        /// <summary>Gives the weight in the shape that TorchSharp's layers have: (out, in of a group, kernel), transposed (in, out of a
        /// group, kernel), of embeddings (tokens, features).</summary>
        /// <remarks>It is called when the numbers are needed, and again when they are needed again, on threads side by side. What it makes
        /// is disposed afterwards, by the dispose scope in which it is called; a tensor that exists already stays.</remarks>
        Weight: unit -> Result<Tensor, TensorNetError list>
        /// Gives the bias, one number for each output channel, in the same way; none where the layer has no bias.
        Bias: (unit -> Result<Tensor, TensorNetError list>) option
    }

    /// The shape of its weight, as TorchSharp's layers hold it.
    member this.Shape: IReadOnlyList<int64> = ConvGeometry.weightShape this.Geometry

    /// Weight and bias.
    member this.Parameters: int64 =
        Seq.fold (*) 1L this.Shape + (if this.Bias.IsSome then this.Geometry.OutChannels else 0L)

/// <summary>Layers that hold kernels, and what else there is.</summary>
[<NoComparison; NoEquality>]
type LayerSource =
    {
        /// Linear layers, convolutions and embeddings, from the input to the output.
        Layers: IReadOnlyList<SourceLayer>
        /// Parameters that are in none of these layers.
        OtherParameters: int64
        /// The shape of the input for which FLOPs are counted; empty where there is none.
        Input: IReadOnlyList<int64>
    }

/// <summary>Layers of a source, one by one.</summary>
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module SourceLayer =
    /// <summary>A layer of a geometry that can be factorized, with its numbers at hand, without inputs: to be changed with
    /// <c>with</c>.</summary>
    /// <param name="path">Its name in the source.</param>
    /// <param name="geometry">Everything but the numbers.</param>
    /// <param name="weight">In the shape that TorchSharp's layers have; it must live as long as the layer is used.</param>
    /// <param name="bias">One number for each output channel, or none.</param>
    /// <example><code>SourceLayer.make "conv" geometry conv.weight None</code></example>
    let make (path: string) (geometry: ConvGeometry) (weight: Tensor) (bias: Tensor option) : SourceLayer =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        Argument.notNull (nameof geometry) geometry
        ArgumentNullException.ThrowIfNull(weight, nameof weight)

        {
            Path = path
            Kind = geometry.Kind
            Geometry = geometry
            Inputs = []
            Kept = ""
            Weight = fun () -> Ok weight
            Bias = bias |> Option.map (fun bias () -> Ok bias)
        }

    /// <summary>The shape of the smallest input of a geometry, for sources that do not know the shapes of theirs: an unpadded convolution
    /// is then applied at one position, and FLOPs are twice the entries of the weight; of an embedding one token.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">A geometry that cannot be.</exception>
    /// <example><code>SourceLayer.smallestInput geometry // [ 1; 4; 1; 1 ]</code></example>
    let smallestInput (geometry: ConvGeometry) : int64 list =
        Argument.notNull (nameof geometry) geometry
        GeometryChecks.sound geometry

        if geometry.IsEmbedding then
            [ 1L ]
        else
            [ 1L; geometry.InChannels; yield! InputChecks.least geometry ]

    /// The layer of a dense module at a path. Errors: those of `ConvGeometry.ofDenseAt`.
    let internal ofModule (path: string) (dense: torch.nn.Module) : Result<SourceLayer, TensorNetError list> =
        ConvGeometry.ofDenseAt path dense
        |> Result.map (fun (geometry, weight, bias) -> { make path geometry weight bias with Kind = ModulePath.typeOf dense })

    /// The entries of the weight.
    let internal size (layer: SourceLayer) : int64 = Seq.fold (*) 1L layer.Shape

    let private checked' (what: string) (expected: int64 list) (more: Tensor -> TensorNetError list) (tensor: Tensor) =
        match Check.readable what tensor with
        | [] when Check.shapeOf tensor <> expected ->
            Error [ TensorNetError.Shape(what, Check.shapeOf tensor, TensorNetError.shapeText expected) ]
        | [] ->
            match more tensor with
            | [] -> Ok tensor
            | errors -> Error errors
        | errors -> Error errors

    /// The weight, if it is one that can be factorized.
    let internal weight (layer: SourceLayer) : Result<Tensor, TensorNetError list> =
        let what = $"The weight of '{layer.Path}'"

        let target (tensor: Tensor) =
            use _ = torch.NewDisposeScope()
            Check.target what (HalfPrecision.widened tensor)

        layer.Weight() |> Result.bind (checked' what (ConvGeometry.weightShape layer.Geometry) target)

    /// The bias, if there is one.
    let internal bias (layer: SourceLayer) : Result<Tensor option, TensorNetError list> =
        let what = $"The bias of '{layer.Path}'"

        match layer.Bias with
        | None -> Ok None
        | Some read ->
            read ()
            |> Result.bind (checked' what [ layer.Geometry.OutChannels ] (fun bias -> Check.floating what bias.dtype))
            |> Result.map Some

    /// What a layer of a source cannot be, whatever its numbers.
    let internal errors (layer: SourceLayer) : TensorNetError list =
        match GeometryChecks.errors layer.Geometry with
        | [] ->
            let least = InputChecks.least layer.Geometry

            [
                for input in layer.Inputs do
                    let shape = Array.ofSeq input

                    if Array.exists (fun size -> size < 0L) shape || not (InputChecks.fits layer.Geometry least shape) then
                        TensorNetError.Shape(
                            $"An input of '{layer.Path}'",
                            List.ofArray shape,
                            $"the shape of an input of {layer.Geometry}"
                        )
            ]
        | errors -> errors
