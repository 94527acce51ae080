namespace TensorNets

open System
open TorchSharp

/// <summary>What the training of a compressed model is watched by, a layer's numbers at one moment.</summary>
type LayerReading =
    {
        /// Where the layer stands.
        Path: string
        /// S in the layer's norm.
        Sensitivity: float
        /// <summary>S / ‖T‖^(2 − 2/N), N the number of cores: what <c>SensitivityPenalty.relative</c> adds up.</summary>
        Relative: float
        /// The norm of the gradient of all its parameters together; NaN where none has one.
        Gradient: float
    }

/// <summary>The sensitivity of all factorized layers of a model as a penalty, and readings by layer.</summary>
[<RequireQualifiedAccess>]
module SensitivityPenalty =
    /// S / ‖T‖^(2 − 2/N) of a layer. Errors: a kernel of zeros; a quotient that its dtype does not hold.
    let private relativeOf (path: string, layer: FactorizedLayer) : Result<Tensor, TensorNetError list> =
        use scope = torch.NewDisposeScope()
        let share = 1.0 - 1.0 / float layer.Spec.Cores.Length
        let squared = layer.Kernel().square().sum()
        let s = layer.Sensitivity()
        let value = s.div (squared.pow (share.ToScalar()))

        if Double.IsFinite((value.detach().``to`` torch.float64).number()) then
            Ok(scope.MoveToOuter value)
        elif (squared.detach().``to`` torch.float64).number() = 0.0 then
            Error [ TensorNetError.ZeroTensor $"The kernel of '{path}'" ]
        else
            let log (t: Tensor) = Math.Log10((t.detach().``to`` torch.float64).number())
            let size = log s - share * log squared
            Error [ TensorNetError.OutOfRange($"The relative sensitivity of '{path}'", size, string value.dtype) ]

    /// Of all layers, or every error.
    let private allRelative (layers: (string * FactorizedLayer) list) : Result<Tensor list, TensorNetError list> =
        layers |> List.map relativeOf |> TensorNetError.collect

    let private layersOf (model: torch.nn.Module) : Result<(string * FactorizedLayer) list, TensorNetError list> =
        match Compress.factorized model with
        | [] ->
            Error
                [
                    TensorNetError.ModuleType("", ModulePath.typeOf model, "a model with at least one factorized layer")
                ]
        | layers -> Ok layers

    /// <summary>The mean over a model's factorized layers of S / ‖T‖^(2 − 2/N): a differentiable scalar, to be added to a loss.</summary>
    /// <remarks>The least S at (c K, c δ) is c^(2 − 2/N) times that at (K, δ), so that the quotient does not depend on the scale of a
    /// kernel, nor the mean on the number of layers: one coefficient serves many models. It does not shrink T, as S alone would. S is in
    /// the norm of each layer, ‖T‖ is Frobenius. Each layer's kernel is rebuilt once. Errors: <c>ModuleType</c> where the model has no
    /// factorized layer; <c>ZeroTensor</c>, <c>OutOfRange</c>.</remarks>
    /// <example><code>SensitivityPenalty.relative layer |> orStop</code></example>
    let relative (model: torch.nn.Module) : Result<Tensor, TensorNetError list> =
        layersOf model
        |> Result.bind (fun layers ->
            use scope = torch.NewDisposeScope()

            allRelative layers
            |> Result.map (fun values ->
                let sum = values |> List.reduce (fun a b -> a.plus b)
                sum.div ((float layers.Length).ToScalar()) |> scope.MoveToOuter))

    /// <summary>S, its share of the penalty and the norm of the gradient of each factorized layer, for a log.</summary>
    /// <remarks>Errors: <c>ModuleType</c> where the model has no factorized layer.</remarks>
    /// <example><code>SensitivityPenalty.readings layer |> orStop</code></example>
    let readings (model: torch.nn.Module) : Result<LayerReading list, TensorNetError list> =
        layersOf model
        |> Result.bind (fun layers ->
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()

            allRelative layers
            |> Result.map (fun values -> List.zip layers (values |> List.map (fun value -> (value.``to`` torch.float64).number()))))
        |> Result.map (fun layers ->
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()

            [
                for (path, layer), relative in layers do
                    let squares =
                        [
                            for p in layer.parameters true do
                                match p.grad with
                                | null -> ()
                                | gradient -> (gradient.``to`` torch.float64).square().sum().number()
                        ]

                    {
                        Path = path
                        Sensitivity = (layer.Sensitivity().``to`` torch.float64).number()
                        Relative = relative
                        Gradient = if squares.IsEmpty then nan else sqrt (List.sum squares)
                    }
            ])
