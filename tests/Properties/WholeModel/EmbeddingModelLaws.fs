/// Embeddings in whole models: reports, plans, compression, files, calibration, weights that are tied.
module EmbeddingModelLaws

open System
open System.IO
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

/// A model of language in small: tokens and their places, one hidden layer, scores for each token.
type Words(vocabulary: int64, width: int64) as this =
    inherit torch.nn.Module<Tensor, Tensor>("Words")
    let tokens: Layer = torch.nn.Embedding(vocabulary, width, padding_idx = Nullable 0L)
    let places: Layer = torch.nn.Embedding(7L, width)
    let hidden: Layer = torch.nn.Linear(width, 20L)
    let scores: Layer = torch.nn.Linear(20L, vocabulary)
    do this.RegisterComponents()

    override _.forward x =
        use scope = torch.NewDisposeScope()
        let where = torch.arange (x.shape[1], dtype = torch.int64, device = x.device)
        let y = tokens.call(x).add(places.call where)
        scores.call (hidden.call(y).relu()) |> scope.MoveToOuter

let private vocabulary, private width = 58L, 24L

let private words () =
    torch.random.manual_seed 9L |> ignore
    let model = new Words(vocabulary, width)
    // A table of low rank but for noise, as trained ones are about.
    use _ = torch.no_grad ()
    use _ = torch.NewDisposeScope()
    let table = nonNull (model.get_parameter "tokens.weight")
    let low = (noise 1 [ vocabulary; 4L ]).matmul(noise 2 [ 4L; width ])
    table.copy_ (low.add ((noise 3 [ vocabulary; width ]).mul(Num.tensor 0.1))) |> ignore
    table[torch.TensorIndex.Single 0L].zero_() |> ignore
    model

let private shape = [ 2L; 5L ]

let private options =
    { CompressionPlan.defaults with
        KeepLast = true
        Keep = [ "hidden" ]
        Ratios = [ 1.5; 2.0; 3.0 ]
        TrainMatrixModes = [ 2; 3 ]
    }

let private batch seed : Tensor =
    use generator = new torch.Generator(uint64 seed)
    torch.randint (0L, vocabulary, [| 16L; 5L |], dtype = torch.int64, device = torch.CPU, generator = generator)

let private isTrainMatrix (c: PlanCandidate) =
    match c.Format with
    | Format.TensorTrainMatrix _ -> true
    | _ -> false

let private reported =
    testCase "a report counts an embedding's parameters, no FLOPs while it is dense, and the shape of its tokens" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = words ()
        let report = ModelReport.make shape model |> ok
        let tokens = report.Layers |> Seq.find (fun layer -> layer.Path = "tokens")
        Expect.equal tokens.Kind "Embedding" "kind"
        Expect.equal (List.ofSeq tokens.Shape) [ vocabulary; width ] "shape"
        Expect.equal (List.ofSeq tokens.Input) shape "input"
        Expect.equal (tokens.Parameters, tokens.Flops) (vocabulary * width, 0L) "cost"
        Expect.isTrue tokens.CanBeFactorized $"%A{tokens.Obstacles}"
        Compress.layer Factorize.defaults None (Format.TensorTrain [ 5 ]) "tokens" model |> ok |> ignore
        let report = ModelReport.make shape model |> ok
        let tokens = report.Layers |> Seq.find (fun layer -> layer.Path = "tokens")
        // A row of five numbers times a matrix of 5 × 24, for each of ten tokens.
        Expect.equal (tokens.Kind, tokens.Flops) ("FactorizedEmbedding", 10L * width * (2L * 5L - 1L)) "factorized")

let private compressed =
    testCase "a plan has matrices and TT-matrices for an embedding, and what it makes comes back from a file to the bit" (fun () ->
        use _ = torch.NewDisposeScope()

        for only in [ (fun _ -> true); isTrainMatrix ] do
            use model = words ()
            let plan = CompressionPlan.make (Budget.ParameterRatio 1.2) options shape model |> ok
            let read = CompressionPlan.ofJson (CompressionPlan.toJson plan) |> ok
            Expect.equal (CompressionPlan.toJson read) (CompressionPlan.toJson plan) "JSON"
            let layer = plan.Layers |> Seq.find (fun layer -> layer.Path = "tokens")
            Expect.isTrue (layer.Candidates |> Seq.exists isTrainMatrix) "TT-matrices"
            Expect.isTrue (layer.Candidates |> Seq.exists (fun c -> c.Format.IsTensorTrain)) "matrices"
            Expect.isTrue layer.IsFactorized $"chosen: {layer.Kept}"
            let candidate = layer.Candidates |> Seq.filter only |> Seq.minBy _.Error
            let plan = CompressionPlan.choose "tokens" candidate.Axes candidate.Format read |> ok
            let report = ModelCompression.run ModelCompression.defaults plan model |> ok
            Expect.isEmpty report.Failed "failed"
            let factorized = Compress.factorized model |> List.find (fun (path, _) -> path = "tokens") |> snd
            let made = report.Layers |> Seq.find (fun one -> one.Path = "tokens")
            Expect.equal factorized.ParameterCount candidate.Parameters "parameters"
            Expect.isLessThanOrEqual made.KernelError (1.05 * candidate.Error + 1e-6) $"{candidate}: error"
            let path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName())

            try
                ModelFile.save path model |> ok
                use other = words ()
                ModelFile.load path other |> ok

                Expect.equal
                    (Compress.factorized other |> List.map (fun (_, l) -> l.Geometry, l.Spec))
                    (Compress.factorized model |> List.map (fun (_, l) -> l.Geometry, l.Spec))
                    "layers"

                let tokens = batch 1
                Expect.isTrue (identical (other.call(tokens).detach()) (model.call(tokens).detach())) "the same scores"
                let stored = StateFile.layers path |> ok
                Expect.isTrue (stored |> Seq.exists (fun one -> one.Kind = "Embedding")) "kind in the file"

                for one in stored do
                    one.Layer.Dispose()
            finally
                File.Delete path

            let penalty = SensitivityPenalty.relative model |> ok
            penalty.backward ()
            Expect.isTrue (isNull factorized.Factors[0].grad |> not) "the penalty reaches its cores")

let private calibrated =
    testCase "shares of tokens are counted, and an embedding fitted by them is nearer where tokens are frequent" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = words ()
        use _ = torch.no_grad ()
        let table = nonNull (model.get_parameter "tokens.weight")
        table.copy_ (noise 5 [ vocabulary; width ]) |> ignore
        table[torch.TensorIndex.Single 0L].zero_() |> ignore
        // Few tokens often, others never.
        let batches = [ (batch 1).remainder(torch.tensor 9L); (batch 2).remainder(torch.tensor 30L) ]
        let found = Calibration.covariances 1L batches model |> ok
        let shares = found |> List.find (fun (path, _) -> path = "tokens") |> snd
        let all = torch.cat([| for batch in batches -> batch.reshape -1L |], 0L).data<int64>().ToArray()

        let expected =
            [|
                for token in 0L .. vocabulary - 1L -> float (Seq.length (Seq.filter ((=) token) all)) / float all.Length
            |]

        Expect.equal (shares.data<float>().ToArray()) expected "shares"
        let alone = Calibration.covariance "tokens" batches model |> ok
        Expect.isTrue (identical alone shares) "alone"
        Expect.isFalse (found |> List.exists (fun (path, _) -> path = "hidden")) "a Σ of more channels than allowed"

        let weighted (covariances: (string * Tensor) list) =
            use model = words ()
            (nonNull (model.get_parameter "tokens.weight")).copy_ table |> ignore
            let options = { options with Covariances = covariances }
            let plan = CompressionPlan.make (Budget.ParameterRatio 1.05) options shape model |> ok
            let plan = CompressionPlan.choose "tokens" KernelAxes.Fused (Format.TensorTrain [ 6 ]) plan |> ok
            let run = { ModelCompression.defaults with Covariances = covariances }
            ModelCompression.run run plan model |> ok |> ignore
            let layer = Compress.factorized model |> List.find (fun (path, _) -> path = "tokens") |> snd
            let off = layer.Kernel().minus(table).square().sum(1L).mul(shares).sum()
            sqrt (off.number ())

        let plain, aware = weighted [], weighted [ "tokens", shares ]
        Expect.isLessThan aware (0.9 * plain) "the error that the batches see"

        match CompressionPlan.make (Budget.ParameterRatio 1.01) { options with Covariances = [ "tokens", torch.ones 3L ] } shape model with
        | Ok plan ->
            let layer = plan.Layers |> Seq.find (fun layer -> layer.Path = "tokens")
            Expect.stringContains layer.Kept "The shares of tokens" "kept"
        | Error errors -> failtest $"{errors}")

let private tied =
    testCase "an embedding whose weight a linear layer has too stays dense, and the reason is said" (fun () ->
        use _ = torch.NewDisposeScope()

        for isFirst in [ true; false ] do
            use model = new Words(vocabulary, 20L)
            let tokens = (Surgery.find "tokens" model |> ok) :?> Modules.Embedding
            let scores = (Surgery.find "scores" model |> ok) :?> Modules.Linear

            if isFirst then scores.weight <- nonNull tokens.weight else tokens.weight <- scores.weight

            let plan =
                CompressionPlan.make (Budget.LayerError 0.99) { options with KeepLast = false; Keep = [] } shape model
                |> ok

            for path, other in [ "tokens", "scores"; "scores", "tokens" ] do
                let layer = plan.Layers |> Seq.find (fun layer -> layer.Path = path)
                Expect.isFalse layer.IsFactorized path
                Expect.stringContains layer.Kept $"'{other}'" path

            match Compress.layer Factorize.defaults None (Format.TensorTrain [ 3 ]) "tokens" model with
            | Error [ TensorNetError.UnreachableField _ ] -> ()
            | other -> failtest $"{other}")

let private replaced =
    testCase "every embedding is replaced with the layers, one that cannot be is named, and latency is measured" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = words ()
        let timed = CompressionPlan.make (Budget.LatencyRatio 1.0001) options shape model
        // Whether a budget of time can be met is the machine's to say.
        match timed with
        | Ok plan -> Expect.all plan.Layers (fun layer -> layer.Latency >= 0.0) "times"
        | Error errors -> Expect.all errors (fun error -> error.IsUnsupported) "errors"

        let report =
            ReplaceAll.run
                Factorize.defaults
                KernelAxes.Fused
                None
                (fun path _ -> if path = "hidden" then None else Some(Format.CP 3))
                model

        Expect.equal [ for one in report.Replaced -> one.Path ] [ "tokens"; "places"; "scores" ] "replaced"
        Expect.equal [ for one in report.Skipped -> one.Path ] [ "hidden" ] "skipped"
        Expect.equal (List.ofArray (model.call(batch 1).shape)) [ 16L; 5L; vocabulary ] "runs")

let private stored =
    testCase "matrices of a file are embeddings by their own names, and what is made of one loads into the model's embedding" (fun () ->
        use _ = torch.NewDisposeScope()
        let path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName())
        let table = noise 1 [ 12L; 6L ]

        let names =
            [
                "model.embed_tokens", true
                "bert.embeddings.word_embeddings", true
                "transformer.wte", true
                "embed_out", false
                "time_embedding.linear_1", false
                "patch_embed.proj", false
                "embed_with_bias", false
            ]

        try
            SafeTensors.save
                path
                []
                [
                    for name, _ in names do
                        name + ".weight", table
                    "embed_with_bias.bias", noise 2 [ 12L ]
                ]
            |> ok

            let source = LayerSource.ofFile path |> ok

            for name, expected in names do
                let layer = source.Layers |> Seq.find (fun layer -> layer.Path = name)
                Expect.equal layer.Geometry.IsEmbedding expected name
                Expect.equal (List.ofSeq layer.Shape) [ 12L; 6L ] name

            // The state of a model of one embedding, compressed by the file alone.
            use model: Layer =
                torch.nn.Sequential(struct ("embed", torch.nn.Embedding(vocabulary, width, padding_idx = Nullable 3L) :> Layer))

            SafeTensors.save path [] [ "embed.weight", nonNull (model.get_parameter "embed.weight") ] |> ok
            let source = LayerSource.ofFile path |> ok
            let plan = CompressionPlan.ofSource (Budget.ParameterRatio 1.5) { options with Keep = [] } source |> ok
            let report = LayerCompression.run LayerCompression.defaults plan source |> ok

            let layers: StoredLayer list =
                [
                    for one in report.Layers ->
                        { Paths = [ one.Path ]; Layer = one.Layer; Format = ""; KernelError = nan; IsKernelOnly = true }
                ]

            StateFile.save path [] layers [] |> ok
            ModelFile.load path model |> ok
            let _, layer = Compress.factorized model |> List.exactlyOne
            Expect.equal layer.Geometry (ConvGeometry.embedding vocabulary width (Some 3L)) "the padding row is the model's"
            let tokens = torch.arange vocabulary
            let expected = layers.Head.Layer.call(tokens).index_fill(0L, torch.tensor [| 3L |], 0.0.ToScalar())
            Expect.isTrue (identical (model.call(tokens).detach()) (expected.detach ())) "rows"

            for one in layers do
                one.Layer.Dispose()
        finally
            File.Delete path)

let private places =
    testCase
        "what a file has of an embedding takes the place of an embedding alone, with the same padding row where both have one"
        (fun () ->
            use _ = torch.NewDisposeScope()
            let path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName())
            let embedding row : Layer = torch.nn.Embedding(vocabulary, width, padding_idx = Option.toNullable row)

            let kinds: ((int64 option) option * (unit -> Layer)) list =
                [
                    None, (fun () -> torch.nn.Linear(vocabulary, width, hasBias = false))
                    for row in [ None; Some 1L; Some 3L ] do
                        Some row, (fun () -> embedding row)
                ]

            let model (make: unit -> Layer) : Layer = torch.nn.Sequential(struct ("it", make ()))

            let fits one other =
                match one, other with
                | Some(Some row), Some(Some known) -> row = known
                | Some _, Some _
                | None, None -> true
                | _ -> false

            try
                for kind, make in kinds do
                    for isKernelOnly in [ false; true ] do
                        use compressed = model make
                        Compress.layer Factorize.defaults None (Format.TensorTrain [ 3 ]) "it" compressed |> ok |> ignore
                        let layer = Compress.factorized compressed |> List.exactlyOne |> snd

                        StateFile.save
                            path
                            []
                            [ { Paths = [ "it" ]; Layer = layer; Format = ""; KernelError = nan; IsKernelOnly = isKernelOnly } ]
                            []
                        |> ok

                        for other, makeOther in kinds do
                            use fresh = model makeOther
                            let what = $"%A{kind} in the file, kernel only {isKernelOnly}; %A{other} in the model"

                            match ModelFile.load path fresh with
                            | Ok() -> Expect.isTrue (fits kind other) what
                            | Error [ TensorNetError.BadFile(_, reason) ] ->
                                Expect.stringContains reason "another geometry" what
                                Expect.isFalse (fits kind other) what
                                Expect.isEmpty (Compress.factorized fresh) "as it was"
                            | Error errors -> failtest $"{what}: {errors}"
            finally
                File.Delete path)

let all =
    testList "embeddings in models" [ reported; compressed; calibrated; tied; replaced; stored; places ]
