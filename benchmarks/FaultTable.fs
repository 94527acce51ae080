/// Which of libtorch's float32 convolutions are wrong on this machine: random ones against float64, by what they have in common.
module TensorNets.Benchmarks.FaultTable

open System
open TorchSharp
open TensorNets

let private channels = [ 1L; 3L; 8L; 16L; 17L; 20L; 24L; 32L; 40L; 48L; 64L; 65L; 100L; 128L ]

let private draw (random: Random) : ConvolutionProbe =
    let among (values: int64 list) = values[random.Next values.Length]
    let two (values: int64 list) = [ among values; among values ]

    {
        Images = among [ 1L; 2L; 3L; 4L; 8L; 16L ]
        In = among channels
        Out = among channels
        Size = [ random.NextInt64(9L, 33L); random.NextInt64(9L, 33L) ]
        Kernel = two [ 1L; 2L; 3L; 5L ]
        Stride = two [ 1L; 1L; 2L ]
        Padding = two [ 0L; 1L; 2L ]
        Dilation = two [ 1L; 1L; 2L ]
        Transposed = random.Next 3 = 0
    }

/// The same convolution of an input with the channels of a position side by side.
let private channelsLast (probe: ConvolutionProbe) (weight: torch.Tensor) (x: torch.Tensor) =
    use turned = x.permute (0L, 2L, 3L, 1L)
    use lying = turned.contiguous ()
    use x = lying.permute (0L, 3L, 1L, 2L)
    ConvolutionCheck.byTorch probe weight x

let private isWrong (error: float) = not (error < ConvolutionCheck.tolerance)

let private isFull (probe: ConvolutionProbe) = probe.In % 16L = 0L && probe.Out % 16L = 0L
let private isPoint (probe: ConvolutionProbe) = probe.Kernel = [ 1L; 1L ]

let private groups: (string * (ConvolutionProbe -> bool)) list =
    [
        "all", (fun _ -> true)
        "channels fill blocks of 16", isFull
        "only those coming in do not", (fun p -> p.In % 16L <> 0L && p.Out % 16L = 0L)
        "only those going out do not", (fun p -> p.In % 16L = 0L && p.Out % 16L <> 0L)
        "neither do", (fun p -> p.In % 16L <> 0L && p.Out % 16L <> 0L)
        "one position", isPoint
        "several, channels fill no blocks", (fun p -> not (isPoint p) && not (isFull p))
        "  of those: one image", (fun p -> not (isPoint p) && not (isFull p) && p.Images = 1L)
        "  two images or more", (fun p -> not (isPoint p) && not (isFull p) && p.Images > 1L)
        "  forward", (fun p -> not (isPoint p) && not (isFull p) && not p.Transposed)
        "  transposed (the input's gradient)", (fun p -> not (isPoint p) && not (isFull p) && p.Transposed)
        "  stride and dilation 1", (fun p -> not (isPoint p) && not (isFull p) && List.forall ((=) 1L) (p.Stride @ p.Dilation))
    ]

let private table (threads: int) (results: (ConvolutionProbe * float * float) list) =
    printfn $"{threads} thread(s): wrong of convolutions, largest relative error, wrong with channels last"

    for name, belongs in groups do
        let mine = results |> List.filter (fun (probe, _, _) -> belongs probe)
        let wrong = mine |> List.filter (fun (_, error, _) -> isWrong error)
        let last = mine |> List.filter (fun (_, _, error) -> isWrong error)
        let errors = mine |> List.map (fun (_, error, _) -> error)
        let largest = if errors |> List.exists Double.IsNaN then nan else List.fold max 0.0 errors
        printfn $"%-40s{name} %4d{wrong.Length} of %4d{mine.Length}   %9.1e{largest}   %4d{last.Length}"

let run (count: int) : unit =
    let limit = Environment.GetEnvironmentVariable "ONEDNN_MAX_CPU_ISA"
    printfn $"libtorch {torch.__version__}, ONEDNN_MAX_CPU_ISA '{limit}'"
    printfn $"Native.check: %A{Native.check ()}"

    for threads in [ 1; 2 ] do
        torch.set_num_threads threads
        let random = Random 1

        let results =
            [
                for _ in 1..count do
                    let probe = draw random
                    probe, ConvolutionCheck.error ConvolutionCheck.byTorch probe, ConvolutionCheck.error channelsLast probe
            ]

        table threads results

        for probe, error, _ in results |> List.filter (fun (_, error, _) -> isWrong error) |> List.truncate 10 do
            printfn $"  {error:G2}: %A{probe}"
