/// What few bits do to real kernels: the relative error of networks whose cores are rounded, by how they were made and how they are
/// rounded.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.BitsTable

open System
open TensorNets
open TorchSharp

let private bits = [ 8; 6; 5; 4; 3 ]

let private relative (kernel: torch.Tensor) (network: Network) =
    use _ = torch.NewDisposeScope()
    let t = Contraction.reconstruct network
    (kernel.sub t).norm().item<float>() / kernel.norm().item<float>()

/// The relative error of a kernel rounded by itself, a scale for each output channel.
let private dense (kernel: torch.Tensor) (bits: int) =
    use _ = torch.NewDisposeScope()
    let rows = kernel.movedim([| 2L |], [| 0L |]).reshape(kernel.shape[2], -1L)
    let most = float ((1 <<< (bits - 1)) - 1)
    let scale = rows.abs().amax([| 1L |], keepdim = true).div(most.ToScalar())
    rows.div(scale).round().mul(scale).sub(rows).norm().item<float>() / rows.norm().item<float>()

let private row (kernel: torch.Tensor) (name: string) (network: Network) =
    let s = Sensitivity.value network
    let error = relative kernel network
    use t = Contraction.reconstruct network

    let cells (quantize: QuantizeOptions -> QuantizedNetwork) scales =
        [
            for b in bits ->
                use q = quantize { Quantization.defaults with Bits = b; Scales = scales }
                use restored = q.Restored torch.float64
                $"{relative kernel restored:F3}"
        ]

    let nearest options = Quantization.round options network |> FactorizeCases.orStop
    let fitted options = Quantization.fit options kernel network |> FactorizeCases.orStop

    let print (kind: string) (cells: string list) = Console.WriteLine(String.Join(" | ", [ name; $"{s:G4}"; $"{error:F3}"; kind ] @ cells))

    print "core" (cells nearest Scales.PerCore)
    print "slice" (cells nearest Scales.PerSlice)
    let fits, seconds = Measure.timed (fun () -> cells fitted Scales.PerSlice)
    print "made up" fits
    Console.WriteLine $"  {seconds / float bits.Length:F1} s a fit"

    let predicted =
        [
            for b in bits ->
                let options = { Quantization.defaults with Bits = b }
                let noise = Quantization.predicted options network |> FactorizeCases.orStop
                use q = nearest options
                use restored = q.Restored torch.float64
                use r = Contraction.reconstruct restored
                let found = t.sub(r).norm().item<float>()
                $"{noise / (found * found):F3}"
        ]

    print "predicted / found" predicted

/// `bits LAYER RANK`: CP of the kernel of a convolution of the trained ResNet-18, counted from 0 in the order of its graph.
let run (layer: int) (rank: int) =
    use _ = torch.no_grad ()
    let weight = (List.item layer (TrainedKernels.read ())).``to`` torch.float64

    let kernel =
        weight.permute(1L, 2L, 3L, 0L).reshape(weight.shape[1], weight.shape[2] * weight.shape[3], weight.shape[0])

    let kernel = kernel.div (kernel.norm ())
    Console.WriteLine $"{String.Join('×', kernel.shape)}, rank {rank}"
    Console.WriteLine(String.Join(" | ", [ "network"; "S"; "float"; "scales" ] @ [ for b in bits -> $"{b} bits" ]))
    Console.WriteLine(String.Join(" | ", "dense" :: [ for b in bits -> $"{dense kernel b:F3}" ]))

    let spec =
        Format.spec [ for n in kernel.shape -> int n ] (Format.CP rank)
        |> Result.mapError (List.map TensorNetError.Format)
        |> FactorizeCases.orStop

    let sweeps = { SweepOptions.defaults with MaxSweeps = 30; Tolerance = 1e-4 }

    use fit =
        Factorize.runSpec { Factorize.defaults with Sweeps = sweeps } spec kernel |> FactorizeCases.orStop

    row kernel "least squares" fit.Network
    use balanced = Gauge.balance fit.Network |> FactorizeCases.orStop
    row kernel "balanced" balanced

    use corrected =
        Correction.epc { sweeps with MaxSweeps = 20 } (ErrorBound.Relative(1.002 * fit.RelativeError)) kernel fit.Network
        |> FactorizeCases.orStop

    row kernel "corrected" corrected.Network

    for start, name in [ fit.Network, "least squares"; corrected.Network, "corrected" ] do
        for b in bits do
            use told =
                Quantization.correct { Quantization.defaults with Bits = b } { sweeps with MaxSweeps = 15 } kernel start
                |> FactorizeCases.orStop

            row kernel $"told {b} bits from {name}" told.Network
