namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>A layer that <c>ReplaceAll.run</c> has put into a model.</summary>
type ReplacedLayer =
    {
        /// Where it stands in the model, such as `layer1.1.conv2`.
        Path: string
        /// The factorized layer, which belongs to the model.
        Layer: FactorizedLayer
        /// The entries of weight and bias of the dense layer.
        DenseParameters: int64
    }

    override this.ToString() = $"{this.Path}: {this.DenseParameters} -> {this.Layer.ParameterCount} parameters, {this.Layer.Spec}"

/// <summary>A layer that <c>ReplaceAll.run</c> has left as it was, and why.</summary>
type SkippedLayer =
    {
        /// Where it stands in the model, such as `layer1.1.conv2`.
        Path: string
        /// The name of its class, such as Conv2d.
        Kind: string
        /// Every reason in words, at least one.
        Reasons: IReadOnlyList<string>
    }

    override this.ToString() = $"{this.Path}: {this.Kind} skipped: {String.Join(' ', this.Reasons)}"

/// <summary>What became of every linear layer, convolution and embedding of a model.</summary>
type ReplaceReport =
    {
        /// The layers that are factorized now, in the order of the model.
        Replaced: IReadOnlyList<ReplacedLayer>
        /// The layers that are dense as before, in the order of the model.
        Skipped: IReadOnlyList<SkippedLayer>
    }

    override this.ToString() = String.Join('\n', Seq.append (Seq.map string this.Replaced) (Seq.map string this.Skipped))

/// <summary>Replacing all layers of a model that a choice names.</summary>
[<RequireQualifiedAccess>]
module ReplaceAll =
    let private isDense (m: torch.nn.Module) =
        match m with
        | :? Modules.Convolution
        | :? Modules.Linear
        | :? Modules.Embedding -> true
        | _ -> false

    /// <summary>Replaces every linear layer, convolution and embedding for which a format is chosen by its factorized layer, in
    /// place.</summary>
    /// <remarks>A layer that cannot be factorized or replaced stays as it is and stands in the report with every reason; so does one for
    /// which no format is chosen, and what comes after a cancellation. A layer at several paths is one layer, reported at the first.
    /// Equivalent to <c>Compress.layer</c>, layer by layer: an optimizer made before needs <c>Optimizers.follow</c>, and passes on other
    /// threads may go on meanwhile.</remarks>
    /// <param name="options">The factorization.</param>
    /// <param name="axes">How formats see the kernels of convolutions.</param>
    /// <param name="bound">How far each kernel may be from the dense one; None: the error that alternating least squares reach.</param>
    /// <param name="choose">The format for a layer at a path, or None to leave it.</param>
    /// <param name="model">The model.</param>
    /// <example><code>ReplaceAll.run options KernelAxes.Fused None (fun path layer -> Some (Format.CP 2)) (makeModel ())</code></example>
    let run
        (options: FactorizeOptions)
        (axes: KernelAxes)
        (bound: ErrorBound option)
        (choose: string -> torch.nn.Module -> Format option)
        (model: torch.nn.Module)
        : ReplaceReport =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof axes) axes
        Argument.notNull (nameof choose) choose
        ArgumentNullException.ThrowIfNull(model, nameof model)
        let seen = HashSet<torch.nn.Module>(HashIdentity.Reference)
        let dense = Surgery.paths model |> List.filter (fun (_, m) -> isDense m && seen.Add m)

        let attempt (path: string, m: torch.nn.Module) =
            let kind = m.GetType().Name
            let count = m.parameters true |> Seq.sumBy _.numel()
            let skipped reasons = Choice2Of2 { Path = path; Kind = kind; Reasons = reasons }

            match choose path m with
            | None -> skipped [ "no format was chosen for it" ]
            | Some _ when options.Sweeps.Cancellation.IsCancellationRequested -> skipped [ "cancelled before its turn" ]
            | Some format ->
                match Compress.layerWith options axes bound format path model with
                | Ok layer -> Choice1Of2 { Path = path; Layer = layer; DenseParameters = count }
                | Error errors -> skipped (errors |> List.map _.Message)

        let results = dense |> List.map attempt

        {
            Replaced =
                results
                |> List.choose (function
                    | Choice1Of2 r -> Some r
                    | _ -> None)
            Skipped =
                results
                |> List.choose (function
                    | Choice2Of2 s -> Some s
                    | _ -> None)
        }
