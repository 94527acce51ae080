namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>Networks of small integers: their cores rounded to 2 to 8 bits.</summary>
[<RequireQualifiedAccess>]
module Quantization =
    /// <summary>8 bits, a scale for each slice of a bond, the Frobenius norm.</summary>
    /// <example><code>{ Quantization.defaults with Bits = 5 }</code></example>
    let defaults: QuantizeOptions = { Bits = 8; Scales = Scales.PerSlice; Norm = Norm.Frobenius }

    /// What is wrong with bits and scales.
    let internal check (options: QuantizeOptions) : TensorNetError list =
        [
            if options.Bits < 2 || options.Bits > 8 then
                TensorNetError.Unsupported("The bits of an entry", string options.Bits, "2 to 8")
            match options.Scales with
            | Scales.PerGroup entries when entries < 1 -> TensorNetError.Unsupported("The entries of a group", string entries, "1 or more")
            | _ -> ()
        ]

    /// The name of the scales that cores share along an axis: names of cores have no dot.
    let internal bondScales (axis: Axis) : string = "bond." + Axis.name axis

    let private checkCores (network: Network) : TensorNetError list =
        List.map2 (fun (core: Core) tensor -> Check.finite $"Core '{core.Name}'" tensor) network.Spec.Cores (List.ofSeq network.Cores)
        |> List.concat

    /// Scales in float32, or the error that it does not hold them: what the largest integer stands for is infinite, or all are nearly zero.
    let private kept (bits: int) (what: string) (scales: Tensor) : Result<Tensor, TensorNetError list> =
        let largest = if scales.numel () = 0L then 0.0 else scales.max().number()

        if
            largest * NearestRounding.largest bits > float Single.MaxValue
            || (largest > 0.0 && largest < NearestRounding.smallest)
        then
            Error [ TensorNetError.OutOfRange($"The scale of {what}", Math.Log10 largest, string torch.float32) ]
        else
            Ok(scales.``to`` (torch.float32, copy = true))

    /// The quantized network of rounded cores: the scales of slices of one bond become one vector, the geometric mean of theirs.
    let private made (bits: int) (spec: Spec) (rounded: RoundedCore list) : Result<QuantizedNetwork, TensorNetError list> =
        use scope = torch.NewDisposeScope()

        let bond (core: Core) (own: RoundedCore) =
            match own.Layout with
            | ScaleLayout.Along place -> Some core.Axes[place]
            | _ -> None

        let all = List.zip spec.Cores rounded

        let shared =
            all
            |> List.choose (fun (core, own) -> bond core own |> Option.map (fun axis -> axis, own.Scales))
            |> List.groupBy fst
            |> List.map (fun (axis, scales) ->
                let logs = torch.stack(scales |> List.map (fun (_, s) -> s.log ()) |> List.toArray, 0L).mean [| 0L |]

                kept bits $"bond '{Axis.name axis}'" (logs.exp ())
                |> Result.map (fun scales -> axis, scope.MoveToOuter scales))
            |> TensorNetError.collect
            |> Result.map dict

        let core (shared: IDictionary<Axis, Tensor>) (core: Core, own: RoundedCore) =
            let made name scales = QuantizedCore(core.Name, scope.MoveToOuter own.Integers, name, scales, own.Layout)

            match bond core own with
            | Some axis -> Ok(made (bondScales axis) shared[axis])
            | None -> kept bits $"core '{core.Name}'" own.Scales |> Result.map (scope.MoveToOuter >> made core.Name)

        shared
        |> Result.bind (fun shared -> all |> List.map (core shared) |> TensorNetError.collect)
        |> Result.map (fun cores -> new QuantizedNetwork(spec, bits, cores))

    let private toOuter (scope: DisposeScope) (network: QuantizedNetwork) : QuantizedNetwork =
        for core in network.Cores do
            scope.MoveToOuter core.Integers |> ignore
            scope.MoveToOuter core.Scales |> ignore

        network

    let private nearest (options: QuantizeOptions) (spec: Spec) (cores: Tensor[]) : RoundedCore list =
        List.map2
            (fun core (tensor: Tensor) -> NearestRounding.core options.Bits (NearestRounding.layout options.Scales spec core) tensor)
            spec.Cores
            (List.ofArray cores)

    /// <summary>Every entry to the nearest multiple of its scale, the scales those of least squared rounding error of the cores.</summary>
    /// <remarks>Balance the network first: rounding costs what its sensitivity says (<c>predicted</c>). The given network is not changed.
    /// Errors: bits other than 2 to 8; groups without entries; cores that are not finite; scales that float32 does not hold
    /// (<c>OutOfRange</c>).</remarks>
    /// <param name="options">Bits and scales.</param>
    /// <param name="network">The network.</param>
    /// <example><code>Quantization.round { Quantization.defaults with Bits = 6 } network |> orStop</code></example>
    let round (options: QuantizeOptions) (network: Network) : Result<QuantizedNetwork, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof network) network
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match check options @ checkCores network with
        | [] ->
            use scope = torch.NewDisposeScope()
            use work = CoreArray.Of network

            made options.Bits network.Spec (nearest options network.Spec work.Cores)
            |> Result.map (toOuter scope)
        | errors -> Error errors

    /// The variances of the errors of a core's entries that are rounded at some scales.
    let private entryVariances (layout: ScaleLayout) (core: Tensor) (scales: Tensor) : Tensor =
        // The largest entry of those that share a scale stands on the grid.
        let share = (Num.tensor 1.0).minus((ScaleLayout.counts layout core.shape).reciprocal())
        // Few scales are squared, not one for every entry; of cores that share a bond each has its own here.
        scales.squared().mul(share).div(Num.tensor 12.0) |> ScaleLayout.spread layout core.shape

    /// E‖ΔT‖² for the scales of rounded cores.
    let private noise (problem: RoundingProblem) (rounded: RoundedCore list) : float =
        use _ = torch.NewDisposeScope()

        rounded
        |> List.map (fun core -> entryVariances core.Layout core.Integers core.Scales)
        |> RoundingNoise.predicted (RoundingNoise.weights problem.Spec problem.Cores)

    /// σ² for which σ²S is what rounding is expected to do to T.
    let private variance (problem: RoundingProblem) (rounded: RoundedCore list) : float =
        let lookup = CoreArray.Lookup problem.Spec problem.Cores

        noise problem rounded
        / Sensitivity.numberOf (Sensitivity.plan problem.Spec) torch.float64 problem.Cores[0].device lookup

    /// As `predicted` at each of some numbers of bits, whatever those of the options, by scales that are told from a few slices.
    let internal predictions
        (options: QuantizeOptions)
        (bits: int list)
        (network: Network)
        : Result<(int * float) list, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match (bits |> List.collect (fun bits -> check { options with Bits = bits })) @ checkCores network with
        | [] ->
            use _ = torch.NewDisposeScope()
            use plain = CoreArray.Of network

            let variances bits =
                List.map2
                    (fun core (tensor: Tensor) ->
                        let layout = NearestRounding.layout options.Scales network.Spec core
                        NearestRounding.estimatedScales bits layout tensor |> entryVariances layout tensor)
                    network.Spec.Cores
                    (List.ofArray plain.Cores)

            RoundingProblem.create options.Norm network
            |> Result.map (fun problem ->
                let weights = RoundingNoise.weights problem.Spec problem.Cores
                let unit = TargetUnits.ofNorm problem.Unit
                [ for bits in bits -> bits, unit.SensitivityOut(RoundingNoise.predicted weights (variances bits)) ])
        | errors -> Error errors

    /// <summary>What rounding is expected to do to the network's tensor: E‖T̂ − T‖² in the norm of the options, to first order.</summary>
    /// <remarks>Σ_k Σ_i s²/12 ‖∂T/∂θ_ki‖², s the scale of entry i of core k: the terms of S, each with the variance of a rounding error
    /// that is uniform, less the share of the one
    /// entry that stands at the end of its scale. What scales cut off, and correlations of errors, are not in it. Errors: those of
    /// <c>round</c> and of a norm.</remarks>
    /// <param name="options">Bits, scales, norm.</param>
    /// <param name="network">The network.</param>
    /// <example><code>Quantization.predicted { Quantization.defaults with Bits = 6 } network |> orStop</code></example>
    let predicted (options: QuantizeOptions) (network: Network) : Result<float, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof network) network
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match check options @ checkCores network with
        | [] ->
            use _ = torch.NewDisposeScope()
            use plain = CoreArray.Of network

            RoundingProblem.create options.Norm network
            |> Result.map (fun problem ->
                (TargetUnits.ofNorm problem.Unit).SensitivityOut(noise problem (nearest options network.Spec plain.Cores)))
        | errors -> Error errors

    /// <summary>Integers that minimise ‖K − T̂‖: core after core is fitted to what the cores before it have become, and rounded so that
    /// later columns make up for what earlier ones lose.</summary>
    /// <remarks>For one core the error is (X − X̂) G (X − X̂)ᵀ, G the Gram of the other cores, so that the rounding of matrices with
    /// compensation (GPTQ, arXiv 2210.17323) serves any network. Never farther from K than the nearest rounding (<c>round</c>), which is
    /// returned where it is the better one. Cost: a few sweeps of least squares. The norm of the options measures K − T̂. Errors: those of
    /// <c>round</c>, of a target and of a norm.</remarks>
    /// <param name="options">Bits, scales, norm.</param>
    /// <param name="target">K, of the shape of the network's output.</param>
    /// <param name="network">The network, best balanced or corrected.</param>
    /// <example><code>Quantization.fit { Quantization.defaults with Bits = 4 } target network |> orStop</code></example>
    let fit (options: QuantizeOptions) (target: Tensor) (network: Network) : Result<QuantizedNetwork, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof network) network
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match check options @ checkCores network @ Check.forSpec network.Spec target with
        | [] ->
            use scope = torch.NewDisposeScope()
            use plain = CoreArray.Of network

            RoundingProblem.create options.Norm network
            |> Result.bind (fun problem ->
                let start = nearest options network.Spec plain.Cores
                let sigma2 = variance problem start
                let k = RoundingProblem.target problem (Check.double target)
                let best = CompensatedSweeps.run options.Bits sigma2 problem k start
                made options.Bits network.Spec best |> Result.map (toOuter scope))
        | errors -> Error errors

    /// How often σ² is asked for anew.
    let private rounds = 3

    /// <summary>The correction that is told the bits: the network of least ‖K − T‖² + σ²S, the expected squared error once cores are
    /// rounded, σ² what the bits and scales come to.</summary>
    /// <remarks>Where <c>Correction.epc</c> takes the error as given and asks for the least S, this weighs one against the other; round the
    /// result by <c>fit</c>. σ² = (Σ s²/12 ‖∂T/∂θ‖²)/S of the network as it stands, found anew three times, each for a third of the sweeps.
    /// Errors: those of <c>round</c>, of a target and of a norm. The norm is that of <c>options</c>.</remarks>
    /// <param name="options">Bits, scales, norm.</param>
    /// <param name="sweeps">Sweeps and tolerance on the relative change of the value; its norm is not looked at.</param>
    /// <param name="target">K, of the shape of the network's output.</param>
    /// <param name="start">The network to start from.</param>
    /// <example><code>Quantization.correct { Quantization.defaults with Bits = 4 } sweeps target network |> orStop</code></example>
    let correct (options: QuantizeOptions) (sweeps: SweepOptions) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof sweeps) sweeps
        Argument.notNull (nameof start) start
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        let sigma2 (network: Network) =
            use _ = torch.NewDisposeScope()
            use plain = CoreArray.Of network

            RoundingProblem.create options.Norm network
            |> Result.map (fun problem -> variance problem (nearest options network.Spec plain.Cores))

        let rec go left done' (network: Network) =
            let most = (sweeps.MaxSweeps - done') / left
            let part = SweepOptions.part done' most { sweeps with Norm = options.Norm }

            sigma2 network
            |> Result.bind (fun sigma2 -> PenalizedSweeps.run sigma2 part target network)
            |> Result.bind (fun fit ->
                if left = 1 || fit.Stop = Stop.Cancelled then
                    Ok fit
                else
                    use fit = fit
                    go (left - 1) (done' + fit.Sweeps) fit.Network)

        match check options @ checkCores start @ Check.forSpec start.Spec target with
        | [] ->
            Gauge.balanceTruncated start
            |> Result.bind (fun balanced ->
                use balanced = balanced
                go rounds 0 balanced)
        | errors -> Error errors
