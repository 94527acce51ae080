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
        ChannelsLast = false
    }

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

let private table (threads: int) (results: (ConvolutionProbe * float list) list) =
    printfn $"{threads} thread(s): wrong of convolutions, wrong with channels last, wrong without oneDNN, largest relative error of each"

    for name, belongs in groups do
        let mine = results |> List.filter (fst >> belongs) |> List.map snd |> List.transpose
        let wrong = mine |> List.map (List.filter isWrong >> List.length >> sprintf "%4d")

        let largest =
            mine
            |> List.map (fun errors -> if errors |> List.exists Double.IsNaN then nan else List.max errors)
            |> List.map (sprintf "%9.1e")

        let count = results |> List.filter (fst >> belongs) |> List.length
        printfn $"%-40s{name} of %4d{count} %s{String.Join(' ', wrong)}   %s{String.Join(' ', largest)}"

/// What dense convolutions take without oneDNN over what they take with it, the least of some times each.
let private slower () =
    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()

    for channels, size in [ 64L, 56L; 256L, 14L; 512L, 7L ] do
        let x = torch.ones ([| 8L; channels; size; size |], dtype = torch.float32, device = torch.CPU)
        let weight = torch.ones ([| channels; channels; 3L; 3L |], dtype = torch.float32, device = torch.CPU)

        let least () =
            [
                for _ in 1..9 do
                    let clock = Diagnostics.Stopwatch.StartNew()
                    use _ = torch.nn.functional.conv2d (x, weight, padding = [| 1L; 1L |])
                    clock.Elapsed.TotalMilliseconds
            ]
            |> List.min

        let along = least ()

        OneDnn.during false least
        |> ValueOption.iter (fun alone ->
            printfn $"{channels} to {channels} channels, 3×3, 8 images of {size}×{size}: %.1f{along} ms, %.1f{alone} without oneDNN")

let run (count: int) : unit =
    let limit = Environment.GetEnvironmentVariable "ONEDNN_MAX_CPU_ISA"
    printfn $"libtorch {torch.__version__}, ONEDNN_MAX_CPU_ISA '{limit}'"
    printfn $"Native.check: %A{Native.check ()}"
    let error = ConvolutionCheck.error ConvolutionCheck.byTorch
    let without probe = OneDnn.during false (fun () -> error probe) |> ValueOption.defaultValue nan

    for threads in [ 1; 2 ] do
        torch.set_num_threads threads
        let random = Random 1

        let results =
            [
                for _ in 1..count do
                    let probe = draw random
                    probe, [ error probe; error { probe with ChannelsLast = true }; without probe ]
            ]

        table threads results

        for probe, errors in results |> List.filter (snd >> List.exists isWrong) |> List.truncate 10 do
            printfn $"  %A{errors}: %A{probe}"

    torch.set_num_threads 1
    slower ()
