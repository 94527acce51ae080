/// Embeddings whose rows are made for the tokens asked for, against the dense table and against a table made anew at every pass.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.EmbeddingTable

open System
open TorchSharp
open TensorNets

let private vocabulary, private width = 30_000L, 512L

let private formats =
    [
        Format.TensorTrain [ 64 ]
        Format.TensorTrainMatrix([ 40; 30; 25 ], [ 8; 8; 8 ], [ 16; 16 ])
        Format.TensorTrainMatrix([ 40; 30; 25 ], [ 8; 8; 8 ], [ 32; 32 ])
    ]

let private orStop result = TensorNetError.raiseErrors result

let private layer (lowering: Lowering) (format: Format) : FactorizedLayer =
    let geometry = ConvGeometry.embedding vocabulary width None
    let spec = Layers.spec KernelAxes.Fused geometry format |> orStop
    Layers.random { FreshOptions.defaults with Lowering = Some lowering } geometry spec |> orStop

let private forward (m: torch.nn.Module<torch.Tensor, torch.Tensor>) (tokens: torch.Tensor) () =
    use _ = torch.no_grad ()
    use _ = torch.NewDisposeScope()
    m.call tokens |> ignore

let private step (m: torch.nn.Module<torch.Tensor, torch.Tensor>) (tokens: torch.Tensor) () =
    use _ = torch.NewDisposeScope()
    m.zero_grad ()
    m.call(tokens).sum().backward()

/// Calls in a turn, and turns.
let private calls, private rounds = 3, 15

let private row (dense: Modules.Embedding) (format: Format) (tokens: int64) : string list =
    use rows = layer Lowering.Staged format
    use table = layer Lowering.Dense format
    use asked = torch.randint (0L, vocabulary, [| tokens |], dtype = torch.int64, device = torch.CPU)

    let times =
        Measure.repeated calls rounds [ forward rows asked; forward dense asked; forward table asked; step rows asked; step dense asked ]
        |> List.map fst

    [
        FormatText.print format
        string rows.ParameterCount
        string tokens
        $"{times[0]:F3}"
        $"{times[0] / times[1]:F2}"
        $"{times[0] / times[2]:F4}"
        $"{times[3] / times[4]:F2}"
    ]

let run () =
    torch.random.manual_seed 1L |> ignore
    use dense = torch.nn.Embedding(vocabulary, width)
    Console.WriteLine $"{vocabulary} × {width}, {vocabulary * width} parameters dense; float32, {torch.get_num_threads ()} thread(s)"

    Measure.table
        [ "format"; "parameters"; "tokens"; "forward, ms"; "/ dense"; "/ table made"; "step / dense" ]
        [
            for format in formats do
                for tokens in [ 1L; 64L; 4096L ] -> row dense format tokens
        ]
