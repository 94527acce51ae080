/// Large linear layers as matrices and as TT-matrices at a quarter of their parameters: what a worker that makes one takes.
module MatrixTable

open TensorNets
open TensorNets.Benchmarks
open TorchSharp

let private ratio = 4.0

/// The TT-matrix of three cores with both ranks alike, as large as the ratio allows.
let private trainMatrix (size: int) : Format =
    let modes = BalancedFactors.exact 3 size
    let parameters = float size * float size / ratio
    let square, line = float (pown modes[1] 2), float (pown modes[0] 2 + pown modes[2] 2)
    let rank = (sqrt (line * line + 4.0 * square * parameters) - line) / (2.0 * square)
    Format.TensorTrainMatrix(modes, modes, [ int rank; min (int rank) (pown modes[2] 2) ])

let private row (size: int) (format: Format) : string list =
    use _ = torch.no_grad ()
    torch.random.manual_seed 1L |> ignore
    use linear = torch.nn.Linear(int64 size, int64 size, hasBias = false)

    use model =
        torch.nn.Sequential [| struct ("linear", (linear :> torch.nn.Module<torch.Tensor, torch.Tensor>)) |]

    let options =
        { CompressionPlan.defaults with Families = []; KeepFirst = false; KeepLast = false; Workers = 1 }

    let plan =
        CompressionPlan.make (Budget.LayerError 1.0) options [ 1L; int64 size ] model
        |> Result.bind (CompressionPlan.choose "linear" KernelAxes.Fused format)
        |> TensorNetError.raiseErrors

    let mutable text = []

    let peak =
        Measure.peak (fun () ->
            let report, processor =
                Measure.processorTimed (fun () ->
                    ModelCompression.run { ModelCompression.defaults with Workers = 1 } plan model
                    |> TensorNetError.raiseErrors)

            text <- [ $"{report.Layers[0].KernelError:F3}"; $"{processor:F1}" ])

    $"{size}" :: FormatText.print format :: text @ [ $"{float peak / 1e6:F0}" ]

/// `matrices [SIZES…]`: by default 1024, 2048 and 4096.
let run (sizes: int list) : unit =
    torch.set_num_threads 1

    Measure.table
        [ "size"; "format"; "error"; "processor, s"; "peak, MB" ]
        [
            for size in sizes do
                row size (Format.TensorTrain [ int (float size / ratio / 2.0) ])
                row size (trainMatrix size)
        ]
