namespace TensorNets

open System
open TorchSharp

/// <summary>How a fresh layer starts.</summary>
type FreshOptions =
    {
        /// How to apply it; None: Cheapest.
        Lowering: Lowering option
        /// The seed of the numbers.
        Seed: uint64
        /// By how much the standard deviation of the kernel is scaled: √2 in front of a ReLU is Kaiming's start.
        Gain: float
        /// Float64, Float32, BFloat16 or Float16.
        DType: torch.ScalarType
        /// Whether there is a bias; an embedding has none in any case.
        Bias: bool
    }

/// Options of fresh layers.
[<RequireQualifiedAccess>]
module FreshOptions =
    /// <summary>Seed 0, gain 1, float32, with a bias, applied by the cheapest lowering.</summary>
    /// <example><code>{ FreshOptions.defaults with Gain = sqrt 2.0 }</code></example>
    let defaults = { Lowering = None; Seed = 0UL; Gain = 1.0; DType = torch.float32; Bias = true }

/// Layers of random networks that keep variance.
[<RequireQualifiedAccess>]
module internal FreshLayer =
    /// The bound below which a fresh bias lies, that of TorchSharp's own layers: 1/√(inputs of an output).
    let private biasBound (g: ConvGeometry) = 1.0 / sqrt (float (g.InChannels / g.Groups * GeometryChecks.positions g))

    let make (options: FreshOptions) (geometry: ConvGeometry) (spec: Spec) : Result<FactorizedLayer, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        match LayerMaking.planned options.Lowering geometry spec, Check.floating "The layer" options.DType with
        | Error errors, wrong -> Error(errors @ wrong)
        | Ok _, (_ :: _ as wrong) -> Error wrong
        | Ok plan, [] ->
            use generator = new torch.Generator(options.Seed + 1UL)
            let white = Network.random torch.float64 options.Seed spec
            // An output of an embedding meets one token.
            let s = if geometry.IsEmbedding then 1.0 else float (geometry.InChannels / geometry.Groups)
            let k = float (GeometryChecks.positions geometry)

            // An output of a transposed convolution meets one kernel position in the product of the strides.
            let met =
                if geometry.Transposed then k / (geometry.Stride |> List.fold (fun p n -> p * float n) 1.0) else k

            let scale = Math.Pow(options.Gain / sqrt (s * met), 1.0 / float spec.Cores.Length)
            let scaled = new Network(spec, [| for core in white.Cores -> core.mul (Num.tensor scale) |])

            let bias =
                if options.Bias && not geometry.IsEmbedding then
                    let unit = Fresh.uniform generator [| geometry.OutChannels |]
                    Some(unit.minus(Num.tensor 0.5).mul(Num.tensor (2.0 * biasBound geometry)))
                else
                    None

            Ok(LayerMaking.made plan options.DType torch.CPU scaled bias LayerMaking.trained)
