namespace TensorNets

open System
open TorchSharp

/// From layers and a budget to a choice.
[<RequireQualifiedAccess>]
module internal PlanMaking =
    /// The shape that a candidate's format is over, one group's: a train of one rank over one position is a matrix, a TT-matrix is one of
    /// rows and columns, which its network splits.
    let target (axes: KernelAxes) (format: Format) (g: ConvGeometry) : int64 list =
        match format with
        | Format.TensorTrainMatrix _
        | Format.TensorTrain [ _ ] when GeometryChecks.positions g = 1L && not g.IsEmbedding ->
            [ g.InChannels / g.Groups; g.OutChannels / g.Groups ]
        | _ -> KernelFit.target axes format g

    /// The modes of a candidate's network that are the input channels.
    let inputModes (format: Format) : int list =
        match format with
        | Format.TensorTrainMatrix(rows, _, _) -> [ 0 .. rows.Length - 1 ]
        | _ -> [ 0 ]

    /// The network of a candidate's format for one group.
    let ofGroup (axes: KernelAxes) (format: Format) (g: ConvGeometry) : Result<Spec, TensorNetError list> =
        KernelFit.refuseRows format g
        |> Result.bind (fun () ->
            Format.spec (target axes format g |> List.map int) format
            |> Result.mapError (List.map TensorNetError.Format))

    /// The network of a candidate's format; with groups, one for each, as one over (g, s, d, t).
    let spec (axes: KernelAxes) (format: Format) (g: ConvGeometry) : Result<Spec, TensorNetError list> =
        ofGroup axes format g
        |> Result.map (fun one -> if g.Groups > 1L then GroupNetworks.spec (int g.Groups) one else one)

    /// A layer of a source as a plan begins with it.
    let planned (layer: SourceLayer) : PlannedLayer =
        {
            Path = layer.Path
            Kind = layer.Kind
            Shape = ConvGeometry.weightShape layer.Geometry
            Geometry = layer.Geometry
            Inputs = layer.Inputs
            Parameters = layer.Parameters
            Flops = layer.Inputs |> Seq.sumBy (List.ofSeq >> ModelReport.denseFlops layer.Geometry)
            Latency = nan
            Candidates = []
            Chosen = -1
            Kept = ""
        }

    /// The numbers of a layer that no format changes.
    let private biasOf (layer: PlannedLayer) : int64 = layer.Parameters - List.fold (*) 1L (ConvGeometry.weightShape layer.Geometry)

    /// What a format costs at a layer: parameters and FLOPs of the factorized layer that it makes.
    let costed (layer: PlannedLayer) (axes: KernelAxes) (format: Format) (error: float) : Result<PlanCandidate, TensorNetError list> =
        let g = layer.Geometry

        spec axes format g
        |> Result.bind (LayerMaking.planned None g)
        |> Result.map (fun plan ->
            let flops size = int64 (Convolution.flops plan size)

            {
                Axes = axes
                Format = format
                Bits = 0
                Parameters = Spec.parameters plan.Spec + biasOf layer
                Bytes = 4L * (Spec.parameters plan.Spec + biasOf layer)
                Flops = layer.Inputs |> Seq.sumBy (List.ofSeq >> ModelReport.factorizedFlops flops g)
                Error = error
                Damage = error * error
                Latency = nan
            })

    /// A candidate with its cores at so many bits, to whose squared error rounding adds so much. Errors: a format that does not fit the
    /// layer.
    let atBits (layer: PlannedLayer) (bits: int) (noise: float) (c: PlanCandidate) : Result<PlanCandidate, TensorNetError list> =
        let damage = c.Error * c.Error + noise

        spec c.Axes c.Format layer.Geometry
        |> Result.map (fun spec ->
            { c with
                Bits = bits
                Bytes = QuantizedDescription.bytes bits Scales.PerSlice spec + 4L * biasOf layer
                Error = sqrt damage
                Damage = damage
            })

    /// The candidates of a point of the layer's curve: in floating point, then at few bits; those that save something.
    let candidates (layer: PlannedLayer) (point: DamageCurve.Point) : PlanCandidate list =
        costed layer point.Axes point.Format point.Error
        |> Result.bind (fun plain ->
            TensorNetError.collect (Ok plain :: [ for bits, noise in point.Noise -> atBits layer bits noise plain ]))
        // A format that no layer can be made of is no candidate.
        |> Result.defaultValue []
        |> List.filter (fun c -> c.Parameters < layer.Parameters || (c.Bits > 0 && c.Bytes < layer.Bytes))

    /// The candidates that no other one beats in parameters, bytes, FLOPs and damage together, each with what comes with it.
    let private unbeaten (candidates: (PlanCandidate * 'T) list) : (PlanCandidate * 'T) list =
        let beats (a: PlanCandidate) (b: PlanCandidate) =
            a.Parameters <= b.Parameters
            && a.Bytes <= b.Bytes
            && a.Flops <= b.Flops
            && a.Damage <= b.Damage
            && (a.Parameters < b.Parameters || a.Bytes < b.Bytes || a.Flops < b.Flops || a.Damage < b.Damage)

        candidates
        |> List.filter (fun (b, _) -> not (List.exists (fun (a, _) -> beats a b) candidates))
        |> List.distinctBy (fun (c, _) -> c.Parameters, c.Bytes, c.Flops, c.Damage)
        |> List.sortBy (fun (c, _) -> struct (-c.Parameters, -c.Bytes))

    /// How the inputs of a layer weigh its kernel, by the Σ that the options have of them.
    let private inputNorm (options: PlanOptions) (layer: PlannedLayer) : Result<InputNorm, TensorNetError list> =
        options.Covariances
        |> List.tryFind (fun (path, _) -> path = layer.Path)
        |> Option.map snd
        |> KernelProjection.inputNorm layer.Geometry

    /// By how much a compression may raise errors, unless it is told otherwise: a plan with a bound on errors leaves room for it.
    let slack = 1.02

    /// The bound on the errors of candidates under a budget of errors.
    let bound (budget: Budget) : float option =
        match budget with
        | Budget.LayerError error when error > 0.0 && error < 1.0 -> Some(error / slack)
        | _ -> None

    /// A layer with its candidates, the points that they are, and the norm of their errors; or with the reason why its weight or its Σ
    /// gives none. What points and norm hold belongs to the scope of the caller.
    let curve (bound: float option) (options: PlanOptions) (source: SourceLayer) : PlannedLayer * DamageCurve.Point list * InputNorm =
        let layer = planned source

        match SourceLayer.weight source, inputNorm options layer with
        | Ok weight, Ok norm ->
            let candidates, points =
                DamageCurve.points bound options layer.Geometry norm weight
                |> List.collect (fun point -> [ for c in candidates layer point -> c, point ])
                |> unbeaten
                |> List.unzip

            { layer with Candidates = candidates }, points, norm
        | Error errors, _
        | Ok _, Error errors -> { layer with Kept = String.Join(" ", errors |> List.map _.Message) }, [], InputNorm.Alike

    /// A layer with its candidates, or with the reason why there are none.
    let withCandidates (bound: float option) (options: PlanOptions) (source: SourceLayer) : PlannedLayer =
        use _ = torch.NewDisposeScope()
        let layer, _, _ = curve bound options source
        layer

    /// A layer with a candidate that is none of the plan's, and chosen.
    let withOwn (own: PlanCandidate) (layer: PlannedLayer) : PlannedLayer =
        { layer with
            Candidates = List.ofSeq layer.Candidates @ [ own ]
            Chosen = layer.Candidates.Count
            Kept = ""
        }

    /// How many layers an error names.
    let private named = 3

    /// The choice of least damage that costs at most so much beside a rest.
    let private bounded (cost: PlanCost) (rest: float) (layers: PlannedLayer list) (most: float) : Result<int list, TensorNetError list> =
        let offer cost damage =
            if Double.IsNaN(cost + damage) then
                { Cost = infinity; Damage = infinity }
            else
                { Cost = cost; Damage = damage }

        let offers =
            [|
                for layer in layers ->
                    [|
                        { Cost = cost.OfLayer layer; Damage = 0.0 }
                        for c in layer.Candidates do
                            offer (cost.OfCandidate c) c.Damage
                    |]
            |]

        match Allocation.choose (most - rest) offers with
        | Ok choice -> Ok [ for i in choice -> i - 1 ]
        | Error least ->
            let largest =
                Seq.zip layers least
                |> Seq.sortBy (fun (_, cost) -> -cost)
                |> Seq.truncate named
                |> Seq.map (fun (layer, share) -> $"'{layer.Path}' {cost.Text share}")

            let dense = rest + List.sumBy cost.OfLayer layers
            let least = rest + Array.sum least
            // Rounded down: a ratio that can be asked for.
            let reached = floor (100.0 * dense / least) / 100.0

            let expected =
                $"at least {cost.Text least}, {reached} {cost.Less}, which the smallest candidates take, most of all "
                + String.Join(", ", largest)

            let asked =
                if most > 0.0 then $", {dense / most:G4} {cost.Less} than the dense {cost.Text dense}," else ""

            Error [ TensorNetError.Unsupported("The budget", cost.Text most + asked, expected) ]

    /// The place of the candidate that is chosen for every layer; −1: dense.
    let allocate (budget: Budget) (other: int64) (layers: PlannedLayer list) : Result<int list, TensorNetError list> =
        let other = float other
        let dense (cost: PlanCost) = layers |> List.sumBy cost.OfLayer

        let within (cost: PlanCost) rest most =
            if Double.IsNaN(dense cost) then
                let expected = "a plan made under a budget of latency: this one has no times"
                Error [ TensorNetError.Unsupported("The budget", cost.Text most, expected) ]
            else
                bounded cost rest layers most

        let ratio value (cost: PlanCost) rest =
            if value > 1.0 && Double.IsFinite value then
                within cost rest ((dense cost + rest) / value)
            else
                Error [ TensorNetError.Unsupported("The ratio of the budget", $"{value:G6}", "a number above 1") ]

        match budget with
        | Budget.ParameterRatio value -> ratio value PlanCost.parameters other
        | Budget.Parameters count -> within PlanCost.parameters other (float count)
        | Budget.FlopRatio value -> ratio value PlanCost.flops 0.0
        | Budget.Flops count -> within PlanCost.flops 0.0 (float count)
        | Budget.ByteRatio value -> ratio value PlanCost.bytes (4.0 * other)
        | Budget.Bytes count -> within PlanCost.bytes (4.0 * other) (float count)
        | Budget.LatencyRatio value -> ratio value PlanCost.latency 0.0
        | Budget.Latency time -> within PlanCost.latency 0.0 time
        | Budget.LayerError error when error >= 0.0 ->
            let most = defaultArg (bound budget) error

            Ok
                [
                    for layer in layers ->
                        // The bound is one of networks of numbers: what rounding adds is expected, not measured.
                        let isWithin (_, c: PlanCandidate) = c.Bits = 0 && c.Error <= most

                        match layer.Candidates |> Seq.indexed |> Seq.filter isWithin |> List.ofSeq with
                        | [] -> -1
                        | within -> within |> List.minBy (fun (_, c) -> c.Parameters) |> fst
                ]
        | Budget.LayerError error -> Error [ TensorNetError.Unsupported("The error of the budget", $"{error:G6}", "a number from 0 up") ]

    /// Whether a budget bounds measured time.
    let isOfLatency (budget: Budget) =
        match budget with
        | Budget.LatencyRatio _
        | Budget.Latency _ -> true
        | _ -> false

    /// Whether a budget bounds bytes, which fewer bits save.
    let isOfBytes (budget: Budget) =
        match budget with
        | Budget.ByteRatio _
        | Budget.Bytes _ -> true
        | _ -> false

    /// Plans with the choices made anew.
    let chosen (budget: Budget) (plan: CompressionPlan) : Result<CompressionPlan, TensorNetError list> =
        let layers = List.ofSeq plan.Layers

        allocate budget plan.OtherParameters layers
        |> Result.map (fun choice ->
            let choose (layer: PlannedLayer) at =
                let kept =
                    if at >= 0 then
                        ""
                    elif layer.Kept <> "" && layer.Candidates.Count = 0 then
                        layer.Kept
                    elif layer.Candidates.Count = 0 then
                        "no candidate is smaller"
                    elif isOfLatency budget && not (layer.Candidates |> Seq.exists (fun c -> c.Latency < layer.Latency)) then
                        "no candidate is faster"
                    else
                        match budget with
                        | Budget.LayerError _ -> "no smaller candidate is within the bound"
                        | _ -> "the budget is better spent elsewhere"

                { layer with Chosen = at; Kept = kept }

            { plan with Layers = List.map2 choose layers choice })

    /// Why layers stay dense whatever the budget; empty for those that need not.
    let kept (options: PlanOptions) (layers: SourceLayer list) : string list =
        [
            for i, layer in List.indexed layers ->
                // An embedding makes no features of what comes in, and has most of the parameters.
                if options.KeepFirst && i = 0 && not layer.Geometry.IsEmbedding then
                    "the first layer"
                elif options.KeepLast && i = layers.Length - 1 && not layer.Geometry.IsEmbedding then
                    "the last layer"
                elif List.contains layer.Path options.Keep then
                    "asked for"
                elif layer.Kept = "" && (KernelFit.refuseDepthwise layer.Geometry).IsError then
                    "depthwise"
                else
                    layer.Kept
        ]
