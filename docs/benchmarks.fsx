(**
---
title: Benchmarks
category: Reference
categoryindex: 4
index: 7
---
# Benchmarks

Every claim on speed or memory has a command; all commands and tables are in `benchmarks/README.md` of the repository. Times depend on the machine, and machines are noisy, so
that tables hold ratios within one run, least times of repeats that take turns.

```bash
OMP_NUM_THREADS=2 dotnet run -c Release --project benchmarks -- all benchmarks/results
```

reruns every table that needs no argument, each into a file with processor, day and versions; hours in all. The pictures here are made from such files.

| claim | command |
|---|---|
| layers take .03 to .73 of the dense layer's time | `benchmarks -- layers` |
| convolutions of all channels, against libtorch's own | `benchmarks -- convolutions` |
| products of matrices instead of einsum | `benchmarks -- products` |
| S of chains and rings costs what grows like the number of cores | `benchmarks -- chain` |
| sweeps of least squares and of the correction near the rate of a plain product | `benchmarks -- factorize` |
| S at an error on trained kernels | `benchmarks -- kernels` |
| fewer sweeps by extrapolation | `benchmarks -- swamps` |
| a whole ResNet-18 in a minute or two | `benchmarks -- whole 3 tucker2`, `whole 3 cp` |
| every network of TorchVision | `benchmarks -- torchvision` |
| each kernel written by hand is worth its lines | `benchmarks -- handwritten` |
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/DocsHost.dll"

open System
open System.IO
open TensorNets.Documents

let lines name = File.ReadAllLines(Path.Combine(__SOURCE_DIRECTORY__, "..", "benchmarks", "results", $"{name}.txt"))

let heading name =
    lines name
    |> Array.filter _.StartsWith("#")
    |> Array.skip 1
    |> Array.map _.TrimStart('#', ' ')
    |> String.concat "; "

/// Name, images, threads and the ratio of the forward pass, of each row.
let rows =
    lines "convolutions"
    |> Array.filter (fun line -> line.Contains '→')
    |> Array.map (fun line ->
        let numbers = line[22..].Split(' ', StringSplitOptions.RemoveEmptyEntries)
        line[..21].Trim(), int numbers[0], int numbers[1], float numbers[3])

/// Multiplications of an image, from a name such as 64→64, 3×3, 56×56.
let work (name: string) =
    let sides =
        name.Split([| '→'; ','; '×'; ' ' |], StringSplitOptions.RemoveEmptyEntries) |> Array.map float

    Array.reduce (*) sides

let points images =
    [
        for name, i, threads, ratio in rows do
            if i = images && threads = 1 then
                work name, ratio
    ]

(** ## Convolutions of all channels with all

The time of the library's own convolution over that of libtorch's, forward, one thread, sizes of ResNet-18. Above one libtorch's is taken, where layers know it. *)
(*** hide ***)
Chart.plot
    "Own over libtorch's time, by the work of an image"
    (Chart.logarithmic "multiplications of one image")
    (Chart.linear "own / libtorch's time, forward")
    [ Chart.dots "one image" (points 1); Chart.dots "eight images" (points 8) ]
(*** include-it-raw ***)

(*** hide ***)
printfn $"""{heading "convolutions"}"""
(*** include-output ***)
