namespace TensorNets

open System
open TorchSharp

/// <summary>A plan for the sensitivity of a network: made once, run at every training step.</summary>
[<Sealed>]
type SensitivityPlan internal (spec: Spec, terms: Lazy<(float * Plan) list>, elimination: Node list option) =
    /// The network.
    member _.Spec = spec
    /// For each core, m_k and the plan for ‖E_k‖².
    member internal _.Terms = terms.Value
    /// All terms at once, where that costs less.
    member internal _.Elimination = elimination

    /// Multiplications and additions for S; what terms share counts once.
    member _.Flops =
        match elimination with
        | Some nodes -> SensitivityElimination.flops nodes
        | None -> SensitivityPlan.TermsFlops terms.Value

    static member internal TermsFlops(terms: (float * Plan) list) =
        terms |> List.collect (fun (_, plan) -> plan.Steps) |> List.distinctBy _.Key |> List.sumBy _.Flops

/// <summary>The expected squared change of a network's tensor per unit of white noise in its cores.</summary>
/// <remarks>S(θ) = lim σ→0 σ⁻² E‖T(θ+σξ) − T(θ)‖² = Σ_k ‖∂T/∂θ_k‖_F² = Σ_k m_k ‖E_k‖_F². Source: Tichavský, Phan and Cichocki, "Sensitivity
/// in tensor decomposition", IEEE Signal Processing Letters 26(11), 2019; here for any network, by one rule.</remarks>
[<RequireQualifiedAccess>]
module Sensitivity =
    /// Networks of more cores than this are eliminated core by core without a look at their single terms, whose plans grow like N².
    let private termsLimit = 12

    /// <summary>The plan for a network's sensitivity: term by term, or by elimination where that takes fewer FLOPs. Of more than 12 cores
    /// it is elimination, unasked: the plans of all terms grow with the square of their number.</summary>
    /// <example><code>Sensitivity.plan spec</code></example>
    let plan (spec: Spec) : SensitivityPlan =
        Argument.notNull (nameof spec) spec
        let terms = lazy (Spec.freeTerms spec |> List.map (fun (m, term) -> m, Plan.make Order.Auto term))

        let elimination =
            if spec.Cores.Length <= 3 then
                None
            else
                let nodes = SensitivityElimination.plan spec

                if spec.Cores.Length > termsLimit then Some nodes
                elif SensitivityElimination.flops nodes < SensitivityPlan.TermsFlops terms.Value then Some nodes
                else None

        SensitivityPlan(spec, terms, elimination)

    let private runKeeping kept (plan: SensitivityPlan) (dtype: torch.ScalarType) (device: torch.Device) lookup : Tensor list =
        use scope = torch.NewDisposeScope()

        Contraction.runKeeping kept (plan.Terms |> List.map snd) dtype device lookup
        |> List.map2 (fun (m, _) (value: Tensor) -> value.mul (Num.like value m) |> scope.MoveToOuter) plan.Terms

    let internal run (plan: SensitivityPlan) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor list =
        runKeeping None plan dtype device lookup

    /// S with what is kept of other plans that read the same cores.
    let internal totalKeeping kept plan dtype device lookup : Tensor =
        match (plan: SensitivityPlan).Elimination with
        | Some nodes -> SensitivityElimination.run plan.Spec nodes dtype device lookup
        | None ->
            use scope = torch.NewDisposeScope()

            runKeeping kept plan dtype device lookup |> List.reduce (fun a b -> a.plus (b)) |> scope.MoveToOuter

    let private termsScaled (plan: SensitivityPlan) (device: torch.Device) (lookup: string -> ScaledTensor) : ScaledTensor list =
        Contraction.runScaled (plan.Terms |> List.map snd) device (Spec.original >> lookup)
        |> List.map2 (fun (m, _) value -> ScaledTensor.sum [ m, value ]) plan.Terms

    /// S with an exponent apart; the caller's scope owns it.
    let internal scaledTotal (plan: SensitivityPlan) dtype (device: torch.Device) lookup : ScaledTensor =
        use scope = torch.NewDisposeScope()

        let scaled lookup =
            match plan.Elimination with
            | Some nodes -> SensitivityElimination.runScaled plan.Spec nodes device (Spec.original >> lookup)
            | None -> termsScaled plan device lookup |> List.map (fun term -> 1.0, term) |> ScaledTensor.sum

        let plain dtype lookup = ScaledTensor.plain (totalKeeping None plan dtype device lookup)
        let s = NumberRange.choose plan.Spec dtype lookup plain scaled
        { s with Value = scope.MoveToOuter s.Value }

    /// S as a number: infinite, or zero, where no double holds it.
    let internal numberOf plan dtype device lookup : float =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        ScaledTensor.number (scaledTotal plan dtype device lookup)

    /// S in the dtype of the cores, or the error that it holds none such.
    let internal tryTotal plan dtype device lookup : Result<Tensor, TensorNetError list> =
        use scope = torch.NewDisposeScope()

        scaledTotal plan dtype device lookup
        |> ScaledTensor.held "The sensitivity" dtype
        |> Result.map scope.MoveToOuter

    /// As `tryTotal`; throws a TensorNetException.
    let internal totalOf plan dtype device lookup : Tensor = tryTotal plan dtype device lookup |> TensorNetError.raiseErrors

    /// The plans that `totalKeeping` runs.
    let internal plans (plan: SensitivityPlan) : Plan list = if plan.Elimination.IsSome then [] else plan.Terms |> List.map snd

    /// <summary>The term of each core: m_k ‖E_k‖², scalars in the order of the cores, in the dtype of the network.
    /// Differentiable.</summary>
    /// <remarks>A term below the dtype's range is zero.</remarks>
    /// <exception cref="T:TensorNets.TensorNetException">A term is above the dtype's range (<c>OutOfRange</c>, with its
    /// logarithm).</exception>
    /// <example><code>Sensitivity.ofCores network // one for each core</code></example>
    let ofCores (network: Network) : Tensor list =
        Argument.notNull (nameof network) network
        use scope = torch.NewDisposeScope()
        let plan, device = plan network.Spec, network.Device

        let terms =
            NumberRange.choose
                network.Spec
                network.DType
                (Network.lookup network)
                (fun dtype lookup -> run plan dtype device lookup |> List.map ScaledTensor.plain)
                (termsScaled plan device)

        List.map2
            (fun (core: Core) term ->
                match ScaledTensor.held $"The term of S of core '{core.Name}'" network.DType term with
                | Error [ TensorNetError.OutOfRange(_, log, _) ] when log < 0.0 -> ScaledTensor.toDType network.DType term
                | result -> TensorNetError.raiseErrors result)
            network.Spec.Cores
            terms
        |> List.map scope.MoveToOuter

    /// <summary>S, a scalar that can be added to a loss, in the dtype of the network: differentiable in every core.</summary>
    /// <remarks>Cost: for CP, the lengths of columns; T is never formed. A network of 16 bits is measured in float32 and S rounded once;
    /// float16 holds none above 65,504. Equivalent to the squared norm of the Jacobian of T.</remarks>
    /// <example><code>Sensitivity.total network</code></example>
    let total (network: Network) : Tensor =
        Argument.notNull (nameof network) network
        totalOf (plan network.Spec) network.DType network.Device (Network.lookup network)

    /// <summary>log₁₀ S, however large or small S is, in the dtype of the network: differentiable in every core.</summary>
    /// <remarks>Minus infinity where S is zero.</remarks>
    /// <example><code>Sensitivity.log10 network</code></example>
    let log10 (network: Network) : Tensor =
        Argument.notNull (nameof network) network
        use scope = torch.NewDisposeScope()
        let s = scaledTotal (plan network.Spec) network.DType network.Device (Network.lookup network)
        (ScaledTensor.log10 s).``to`` network.DType |> scope.MoveToOuter

    /// The network as it is computed with, to read only.
    let private wide (network: Network) = new Network(network.Spec, [| for core in network.Cores -> HalfPrecision.widened core |])

    /// S times the square of a unit as a number, or the error that no double holds it.
    let private tryValue (unit: NormUnit) (network: Network) : Result<float, TensorNetError list> =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        scaledTotal (plan network.Spec) network.DType network.Device (Network.lookup network)
        |> fun s -> unit.Squared { s with Value = s.Value.``to`` torch.float64 }
        |> ScaledTensor.held "The sensitivity" torch.float64
        |> Result.map _.number()

    /// <summary>S as a number, a double: not rounded to the dtype of the network, nor kept in its range.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">No double holds S (<c>OutOfRange</c>, with its logarithm).</exception>
    /// <example><code>Sensitivity.value network</code></example>
    let value (network: Network) : float =
        Argument.notNull (nameof network) network
        tryValue NormUnit.One network |> TensorNetError.raiseErrors

    /// S of the whitened network of cores in a dtype, which S has as well.
    let internal whitenedTotal
        (w: WhitenedNorm)
        (plan: SensitivityPlan)
        (dtype: torch.ScalarType)
        (device: torch.Device)
        (lookup: string -> Tensor)
        =
        use scope = torch.NewDisposeScope()
        let own = if HalfPrecision.is dtype then torch.float32 else dtype
        let cores = WhitenedNorm.cores w (lookup >> HalfPrecision.widened)
        let index = w.Spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict

        scaledTotal plan own device (fun name -> cores[index[Spec.original name]])
        |> w.Unit.Squared
        |> ScaledTensor.held "The sensitivity" dtype
        |> Result.map scope.MoveToOuter

    /// <summary>S in a norm: Σ_k ‖∂(T × Σ^½)/∂θ_k‖², the expected squared change of T × Σ^½ per unit of white noise in the cores.
    /// Differentiable.</summary>
    /// <remarks>In the Frobenius norm, or with Σ = I, that of <c>total</c>. Errors: modes that T has not, a Σ that does not fit them or is
    /// no covariance.</remarks>
    /// <param name="norm">The norm; its modes count the axes of the output from 0.</param>
    /// <param name="network">The network.</param>
    /// <example><code>Sensitivity.totalIn Norm.Frobenius network |> orStop</code></example>
    let totalIn (norm: Norm) (network: Network) : Result<Tensor, TensorNetError list> =
        Argument.notNull (nameof network) network
        use scope = torch.NewDisposeScope()
        let dtype, lookup = network.DType, Network.lookup network

        WhitenedNorm.create norm network.Spec
        |> Result.bind (function
            | None -> tryTotal (plan network.Spec) dtype network.Device lookup
            | Some w -> whitenedTotal w (plan w.Spec) dtype network.Device lookup)
        |> Result.map scope.MoveToOuter

    /// <summary>S in a norm, as a number (<c>totalIn</c>).</summary>
    /// <example><code>Sensitivity.valueIn Norm.Frobenius network |> orStop</code></example>
    let valueIn (norm: Norm) (network: Network) : Result<float, TensorNetError list> =
        Argument.notNull (nameof network) network
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        WhitenedNorm.create norm network.Spec
        |> Result.bind (function
            | None -> tryValue NormUnit.One network
            | Some w -> tryValue w.Unit (new Network(w.Spec, WhitenedNorm.cores w (Network.lookup (wide network)))))

    /// <summary>S by its definition: the mean over draws of ‖T(θ+σξ) − T(θ)‖²/σ², and the standard error of that mean.</summary>
    /// <param name="draws">How many draws, at least 2.</param>
    /// <param name="sigma">The standard deviation of the noise.</param>
    /// <param name="seed">The seed of the noise.</param>
    /// <param name="network">The network.</param>
    /// <example><code>Sensitivity.estimate 10 1e-3 1UL network // near S, and the standard error</code></example>
    let estimate (draws: int) (sigma: float) (seed: uint64) (network: Network) : float * float =
        Argument.notNull (nameof network) network
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        use generator = new torch.Generator(seed)
        let plan = Plan.make Order.Auto network.Spec
        let tensor = Contraction.runOn network [ plan ] |> List.head

        let changes =
            [|
                for _ in 1..draws ->
                    use _ = torch.NewDisposeScope()

                    let noisy =
                        [|
                            for core in network.Cores ->
                                core.plus ((Fresh.noise generator core.dtype core.device core.shape).mul(Num.like core sigma))
                        |]

                    let moved = Contraction.runOn (new Network(network.Spec, noisy)) [ plan ] |> List.head
                    (moved.minus (tensor)).squared().sum().number() / (sigma * sigma)
            |]

        let mean = Array.average changes

        let variance = (changes |> Array.sumBy (fun x -> (x - mean) * (x - mean))) / float (draws - 1)

        mean, sqrt (variance / float draws)
