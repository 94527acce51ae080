namespace TensorNets

open System
open System.Diagnostics
open TorchSharp

/// How long a layer takes as it is and as each of its candidates.
[<RequireQualifiedAccess>]
module internal LayerLatency =
    /// Rounds of measurement; a first one, in which plans and buffers are made, does not count.
    let private rounds = 7

    let private median (values: float list) = (List.sort values)[values.Length / 2]

    /// Times from rounds in which each ran once, the dense layer first: its median, and for each other that median times the median of the
    /// ratios within a round, which a machine that is slower in one round than in the next does not change.
    let ofRounds (times: float list list) : float list =
        let dense = times |> List.map List.head |> median

        [
            dense
            for i in 1 .. times.Head.Length - 1 do
                dense * (times |> List.map (fun round -> round[i] / max 1e-12 round[0]) |> median)
        ]

    let private embeddingRun (g: ConvGeometry) : Tensor -> unit =
        let table = torch.ones ([| g.InChannels; g.OutChannels |], dtype = torch.float32, device = torch.CPU)

        fun tokens ->
            use flat = tokens.reshape -1L
            use y = table.index_select (0L, flat)
            ()

    let private denseRun (g: ConvGeometry) (shape: int64 list) : Tensor -> unit =
        let n = g.Kernel.Length
        let images, size = (if n = 0 then 1L, [] else List.head shape, List.skip (shape.Length - n) shape)

        let weight =
            torch.ones (List.toArray (ConvGeometry.weightShape g), dtype = torch.float32, device = torch.CPU)

        let run = TorchConvolution.dense g images size weight null

        fun x ->
            use y = run x
            ()

    let private inputOf (g: ConvGeometry) (generator: torch.Generator) (shape: int64[]) : Tensor =
        if g.IsEmbedding then
            torch.randint (0L, g.InChannels, shape, dtype = torch.int64, device = torch.CPU, generator = generator)
        else
            Fresh.noise generator torch.float32 torch.CPU shape

    /// White noise, or tokens of an embedding, for each shape of a layer's inputs, with the number of its calls.
    let private inputsOf (layer: PlannedLayer) : (int64 list * Tensor * float) list =
        use generator = new torch.Generator(1UL)

        [
            for shape, calls in layer.Inputs |> Seq.map List.ofSeq |> Seq.countBy id do
                // Without the axis of images there is one.
                let shape =
                    if shape.Length = layer.Geometry.Kernel.Length + 1 && shape.Length > 1 then 1L :: shape else shape

                shape, inputOf layer.Geometry generator (List.toArray shape), float calls
        ]

    let private layerRun (layer: FactorizedLayer) : Tensor -> unit =
        layer.eval ()

        fun x ->
            use y = layer.call x
            ()

    let private milliseconds (run: Tensor -> unit) (x: Tensor) : float =
        let from = Stopwatch.GetTimestamp()
        run x
        Stopwatch.GetElapsedTime(from).TotalMilliseconds

    let private dense (g: ConvGeometry) (shape: int64 list) : Tensor -> unit = if g.IsEmbedding then embeddingRun g else denseRun g shape

    /// Times of a dense layer and of some factorized ones for all inputs.
    let private timesOf (layer: PlannedLayer) (made: FactorizedLayer list) : float list =
        let runs =
            [
                for shape, x, calls in inputsOf layer -> x, calls, dense layer.Geometry shape :: List.map layerRun made
            ]

        let round () =
            [
                for i in 0 .. made.Length -> runs |> List.sumBy (fun (x, calls, each) -> calls * milliseconds each[i] x)
            ]

        round () |> ignore
        ofRounds [ for _ in 1..rounds -> round () ]

    /// Milliseconds for all inputs of a layer, dense, then of each candidate, by forward passes of white noise in float32 on as many
    /// threads as libtorch has. A candidate that cannot be run has NaN.
    let measure (layer: PlannedLayer) (candidates: PlanCandidate list) : float list =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        let made =
            candidates
            |> List.map (fun c ->
                PlanMaking.spec c.Axes c.Format layer.Geometry
                |> Result.bind (FreshLayer.make { FreshOptions.defaults with Bias = false } layer.Geometry)
                |> Result.toOption)

        try
            let times = timesOf layer (List.choose id made)

            let places =
                made |> List.scan (fun at found -> if Option.isSome found then at + 1 else at) 0 |> List.tail

            times.Head :: List.map2 (fun found at -> if Option.isSome found then times[at] else nan) made places
        finally
            for layer in made do
                layer |> Option.iter _.Dispose()

    /// The places of the candidates that are worth measuring: of each family those on the hull of damage over FLOPs.
    let private worth (layer: PlannedLayer) : int list =
        let kind (c: PlanCandidate) = Format.name c.Format, c.Axes

        [
            for _, places in List.ofSeq layer.Candidates |> List.indexed |> List.groupBy (snd >> kind) do
                let offers = [| for _, c in places -> { Cost = float c.Flops; Damage = c.Damage } |]

                for i in Allocation.hull offers do
                    fst places[i]
        ]
        |> List.sort

    /// A layer with its time and those of its candidates. Errors: times that are not one for each, or none for the dense layer.
    let timed (options: PlanOptions) (layer: PlannedLayer) : Result<PlannedLayer, TensorNetError list> =
        if layer.Inputs.Count = 0 then
            Ok { layer with Latency = 0.0 }
        else
            let places = worth layer

            let times =
                (options.Latencies |> Option.defaultValue measure) layer [ for i in places -> layer.Candidates[i] ]

            match times with
            | dense :: rest when rest.Length = places.Length && dense >= 0.0 && Double.IsFinite dense ->
                let found = dict (List.zip places rest)

                let latency i =
                    match found.TryGetValue i with
                    | true, time when time >= 0.0 -> time
                    | _ -> nan

                Ok
                    { layer with
                        Latency = dense
                        Candidates = [ for i, c in Seq.indexed layer.Candidates -> { c with Latency = latency i } ]
                    }
            | _ ->
                let found = String.Join(", ", times |> List.map (fun time -> $"{time:G4}"))
                let expected = $"one for the dense layer and {places.Length} for its candidates, in milliseconds"
                Error [ TensorNetError.Unsupported($"The latencies of '{layer.Path}'", $"[{found}]", expected) ]
