(**
---
title: Benchmarks
category: Reference
categoryindex: 4
index: 8
---
# Benchmarks

Every claim on speed or memory has a command; all commands and tables are in `benchmarks/README.md` of the repository. Times depend on the machine, and machines are noisy, so
that tables hold ratios within one run, least times of repeats that take turns.

```bash
OMP_NUM_THREADS=2 dotnet run -c Release --project benchmarks -- all benchmarks/results
```

reruns every table that the documents show, each into a file with processor, day, load and versions; hours in all. The pictures here are made from such files, in `benchmarks/results`, whenever the site is.
`kernels` and `limits` read data that is not in the repository.

| claim | command, in whose name the file is |
|---|---|
| layers take .03 to .73 of the dense layer's time | `benchmarks -- layers` |
| convolutions of all channels, against libtorch's own | `benchmarks -- convolutions` |
| products of matrices instead of einsum | `benchmarks -- products` |
| embeddings of few parameters, against copying rows | `benchmarks -- embeddings` |
| a TT-matrix takes no longer to make than a matrix of as many parameters | `benchmarks -- matrices` |
| what S adds to a training step | `benchmarks -- sensitivity` |
| S of chains and rings costs what grows like the number of cores | `benchmarks -- chain` |
| orders of contraction are found in milliseconds | `benchmarks -- planner` |
| sweeps of least squares and of the correction near the rate of a plain product | `benchmarks -- factorize` |
| a network of low S loses less at few bits | `benchmarks -- bits 11 377` |
| which of libtorch's own convolutions are wrong | `benchmarks -- faults` |
| S at an error on trained kernels | `benchmarks -- kernels` |
| from where the correction goes no further | `benchmarks -- limits` |
| fewer sweeps by extrapolation | `benchmarks -- swamps` |
| a whole ResNet-18 in a minute or two, and workers get what was predicted | `benchmarks -- whole 3 tucker2`, `whole 3 cp` |
| the time of a plan and its compression grows with the number of layers | `benchmarks -- whole` |
| planning and compressing take the memory that is reckoned with | `benchmarks -- whole memory` |
| training holds its memory | `benchmarks -- memory 10` |
| how soon the correction reaches an S | `benchmarks -- correction` |
| every network of TorchVision | `benchmarks -- torchvision` |
| each kernel written by hand is worth its lines | `benchmarks -- handwritten` |
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/DocsHost.dll"

open System
open System.IO
open System.Text.RegularExpressions
open TensorNets.Documents

let lines name = File.ReadAllLines(Path.Combine(__SOURCE_DIRECTORY__, "..", "benchmarks", "results", $"{name}.txt"))

let heading name =
    lines name
    |> Array.filter _.StartsWith("#")
    |> Array.skip 1
    |> Array.map _.TrimStart('#', ' ')
    |> String.concat "; "

/// The cells of each row of a file: columns stand apart by two blanks, or by bars.
let rows name =
    lines name
    |> Array.filter (fun line -> line.Trim() <> "" && not (line.StartsWith "#"))
    |> Array.map (fun line -> if line.Contains " | " then line.Trim('|', ' ').Split " | " else Regex.Split(line.Trim(), " {2,}"))

/// The number of a cell, and what stands in the rows of a file that are asked for.
let cell (column: int) (row: string[]) = float row[column]

let numbers name isAsked x y =
    [
        for row in rows name do
            if isAsked row then
                x row, y row
    ]

/// Two numbers of each row of a file that has both.
let both name x y =
    let has column (row: string[]) =
        row.Length > column
        && fst (Double.TryParse(row[column], Globalization.CultureInfo.InvariantCulture))

    numbers name (fun row -> has x row && has y row) (cell x) (cell y)

/// The lines of a file that are of a form.
let ofForm name form =
    lines name
    |> Array.map (fun line -> Regex.Match(line, form))
    |> Array.filter _.Success
    |> Array.toList

/// A picture of a file's numbers, and what its head says.
let titled name picture = $"{picture}\n\n<p><small>{heading name}</small></p>"

let plot name title horizontal vertical series = titled name (Chart.plot title horizontal vertical series)

/// Multiplications of an image, from a name such as 64→64, 3×3, 56×56.
let work (name: string) =
    let sides =
        name.Split([| '→'; ','; '×'; ' ' |], StringSplitOptions.RemoveEmptyEntries) |> Array.map float

    Array.reduce (*) sides

(** ## Convolutions of all channels with all

The time of the library's own convolution over that of libtorch's, forward, one thread, sizes of ResNet-18. Above one libtorch's is taken, where layers know it. *)
(*** hide ***)
let ofImages images =
    numbers "convolutions" (fun row -> row[0].Contains '→' && row[1] = images && row[2] = "1") (fun row -> work row[0]) (cell 4)

plot
    "convolutions"
    "Own over libtorch's time, by the work of an image"
    (Chart.logarithmic "multiplications of one image")
    (Chart.linear "own / libtorch's time, forward")
    [ Chart.dots "one image" (ofImages "1"); Chart.dots "eight images" (ofImages "8") ]
(*** include-it-raw ***)

(** ## Layers

The time of a factorized layer over that of libtorch's dense convolution, by how many times fewer multiplications the stages of its network take; one thread, one and eight images. Below a ratio of one, at the left, the kernel is
rebuilt and the dense convolution made by less multiplications than libtorch's. *)
(*** hide ***)
let ofPass pass =
    numbers "layers" (fun row -> row[0].Contains '→' && row[3] = "1" && row[4] = pass) (cell 10) (cell 7)

plot
    "layers"
    "Time of layers over dense ones, by the ratio of multiplications"
    (Chart.logarithmic "multiplications of the dense kernel / of the stages")
    (Chart.linear "layer / dense")
    [ Chart.dots "forward" (ofPass "forward"); Chart.dots "training step" (ofPass "step") ]
(*** include-it-raw ***)

(** ## Each kernel written by hand

How many times longer libtorch takes than the library's own code for vector units, forward and one thread, on the size at which each kernel gains most; the sizes are of layers of ResNet-18 and ResNet-50 and of products in factorizations. A kernel goes that gains less than 1.2 on
all of them on every processor tried. This one is of Intel (`TENSORNETS_KERNELS=all`): products and 1×1 convolutions are left to libtorch there; on one of AMD they gain [about two](kernels.html). *)
(*** hide ***)
let gains =
    rows "handwritten"
    |> Array.filter (fun row -> row.Length > 4 && Char.IsDigit row[4].[0])
    |> Array.groupBy (fun row -> row[0])
    |> Array.map (fun (kernel, all) -> kernel, all |> Array.map (fun row -> float row[4]) |> Array.max)
    |> Array.sortByDescending snd
    |> Array.toList

titled "handwritten" (Chart.bars "Time of libtorch over that of each kernel" "libtorch's time / own, at best" 1.2 gains)
(*** include-it-raw ***)

(** ## Products of matrices instead of einsum

The time of a step of a plan, as products of stacks of matrices, over that of one call of libtorch's `einsum`; float64, one thread. On this processor the products are libtorch's own. *)
(*** hide ***)
let products =
    numbers "products" (fun row -> row.Length > 6 && row[1] = "double") (fun row -> row[0]) (cell 6)

titled "products" (Chart.bars "Time of products over that of einsum" "time / einsum's" 1.0 products)
(*** include-it-raw ***)

(** ## S beside a training step

What S and its gradient take, in percent of a forward and backward pass of the layer itself, eight images of 14×14, 256 channels in and out; one thread. *)
(*** hide ***)
let shares =
    numbers "sensitivity" (fun row -> row.Length > 4 && row[4].EndsWith '%') (fun row -> row[0]) (fun row ->
        float (row[4].TrimEnd('%', ' ')))

titled "sensitivity" (Chart.bars "Time of S beside a training step" "% of a forward and backward pass" 15.0 shares)
(*** include-it-raw ***)

(** ## Sweeps grow as the target and the rank do

Time of a sweep of least squares and of a block sweep of the correction for CP of rank 32 of an n×9×n kernel, by n, divided by entries and rank: level lines are linear growth. *)
(*** hide ***)
let growth column =
    numbers
        "factorize"
        (fun row -> row.Length > 6 && row[0].StartsWith "n = " && row[1] = "32")
        (fun row -> float (row[0].Substring 4))
        (cell column)

plot
    "factorize"
    "Time of a sweep by entry and rank, over the size of the kernel"
    (Chart.linear "n")
    (Chart.linear "ps per entry and rank")
    [ Chart.line "least squares" (growth 5); Chart.line "correction" (growth 6) ]
(*** include-it-raw ***)

(** ## The whole model, by its number of layers

Seconds of plan and compression for copies of one trained kernel at a third of their parameters, on all processors. *)
(*** hide ***)
let seconds column = both "whole" 0 column

plot
    "whole"
    "Seconds of plan and compression, by layers"
    (Chart.linear "layers")
    (Chart.linear "seconds")
    [ Chart.line "Tucker-2" (seconds 1); Chart.line "CP" (seconds 3) ]
(*** include-it-raw ***)

(** ## A whole ResNet-18

Seconds, on both processors, of planning and compressing the sixteen 3×3 convolutions of a trained ResNet-18 at a third of their parameters. *)
(*** hide ***)
let wholeSeconds name stage = ofForm name $@"^\S+: {stage}: ([\d.]+) s," |> List.head |> fun found -> float found.Groups[1].Value

titled
    "whole-3-cp"
    (Chart.bars
        "Seconds of a whole ResNet-18"
        "seconds"
        120.0
        [
            for format, name in [ "Tucker-2", "whole-3-tucker2"; "CP", "whole-3-cp" ] do
                for stage in [ "plan"; "compress" ] -> $"{format}, {stage}", wholeSeconds name stage
        ])
(*** include-it-raw ***)

(** What each layer was predicted to take of the time of all, by which workers share a plan, and what it took. *)
(*** hide ***)
let wholeShares name = numbers name (fun row -> row.Length = 4 && row[0].StartsWith "conv") (cell 1) (cell 2)

plot
    "whole-3-tucker2"
    "Share of the time of each layer, predicted and real"
    (Chart.linear "predicted, %")
    (Chart.linear "real, %")
    [
        Chart.dots "Tucker-2" (wholeShares "whole-3-tucker2")
        Chart.dots "CP" (wholeShares "whole-3-cp")
    ]
(*** include-it-raw ***)

(** ## Embeddings

A forward pass of an embedding of 30,000 tokens by 512 features, over copying the rows of a dense table, by the number of tokens: a matrix, and TT-matrices of ranks 16 and 32. *)
(*** hide ***)
let ofFormat format = numbers "embeddings" (fun row -> row[0] = format) (cell 2) (cell 4)

plot
    "embeddings"
    "Time of a pass over that of copying rows, by tokens"
    (Chart.logarithmic "tokens")
    (Chart.logarithmic "factorized / dense")
    [
        Chart.line "TT(64)" (ofFormat "TT(64)")
        Chart.line "ranks 16" (ofFormat "TT-matrix(40,30,25;8,8,8;16,16)")
        Chart.line "ranks 32" (ofFormat "TT-matrix(40,30,25;8,8,8;32,32)")
    ]
(*** include-it-raw ***)

(** ## Large matrices

Processor time of a linear layer at a quarter of its parameters, as a matrix of low rank and as a TT-matrix of three cores, by its size; weights of noise, one thread. *)
(*** hide ***)
let ofPrefix (prefix: string) = numbers "matrices" (fun row -> row.Length > 3 && row[1].StartsWith prefix) (cell 0) (cell 3)

plot
    "matrices"
    "Processor time of a factorization, by the size of the layer"
    (Chart.linear "rows and columns")
    (Chart.logarithmic "seconds of the processor")
    [ Chart.line "matrix" (ofPrefix "TT("); Chart.line "TT-matrix" (ofPrefix "TT-matrix") ]
(*** include-it-raw ***)

(** ## Every network of TorchVision

Processor time of plan and compression at half the parameters, by the parameters before; random weights, two sweeps a layer. Layers of a network are replaced until half is left; the file says how many, and why the others stay. *)
(*** hide ***)
let ofVision column = both "torchvision" 3 column

plot
    "torchvision"
    "Processor time for TorchVision's networks, by their parameters"
    (Chart.logarithmic "parameters before")
    (Chart.logarithmic "seconds of the processor")
    [ Chart.dots "plan" (ofVision 5); Chart.dots "compress" (ofVision 6) ]
(*** include-it-raw ***)

(** ## Trained kernels at an error

S of five trained kernels at a relative error of at most .3 as Tucker-2, tensor chain and CP, after balance and after correction, over S as least squares leave it. The [page](trained-kernels.html) has the table. *)
(*** hide ***)
let ofKernels column = both "kernels" 4 column

plot
    "kernels"
    "S of trained kernels, over S as least squares leave it"
    (Chart.logarithmic "S of least squares")
    (Chart.logarithmic "S afterwards")
    [ Chart.dots "balanced" (ofKernels 5); Chart.dots "corrected" (ofKernels 6) ]
(*** include-it-raw ***)

(** ## Where the correction ends

S of given CP networks of such kernels, at their own errors, after the correction has converged: least squares with the lengths of columns as they came, balanced, and corrected. *)
(*** hide ***)
let given =
    rows "limits" |> Array.filter (fun row -> row.Length > 5 && Char.IsDigit row[3].[0]) |> Array.toList

let stages = [ "as given", 3; "balanced", 4; "corrected", 5 ]

titled
    "limits"
    (Chart.bars
        "S of CP networks of trained kernels"
        "S"
        0.0
        [
            for row in given do
                for stage, column in stages -> $"{row[1]}, {stage}", cell column row
        ])
(*** include-it-raw ***)

(** ## How soon

The time in which the correction reaches an S that so many plain block sweeps come near to, over the time of these sweeps. *)
(*** hide ***)
let sooner =
    numbers "correction" (fun row -> row.Length > 6 && Char.IsDigit row[3].[0]) (fun row -> $"{row[0]}, {row[1]}") (cell 5)

titled "correction" (Chart.bars "Time of the correction to an S over that of block sweeps" "time / of the sweeps" 1.0 sooner)
(*** include-it-raw ***)

(** ## Few bits

The relative error of a trained kernel of 128×9×256 whose CP cores of rank 377 are rounded to integers with a scale for each slice: from the network that least squares leave, from the corrected one at the same error, and the dense kernel itself rounded. *)
(*** hide ***)
let ofNetwork name scales =
    rows "bits-11-377"
    |> Array.find (fun row -> row[0] = name && (name = "dense" || row.Length > 3 && row[3] = scales))
    |> fun row -> List.zip [ 8.0; 6.0; 5.0; 4.0; 3.0 ] [ for cell in row[row.Length - 5 ..] -> float cell ]

plot
    "bits-11-377"
    "Error of a kernel by the bits of its cores"
    (Chart.linear "bits")
    (Chart.linear "relative error")
    [
        Chart.line "least squares" (ofNetwork "least squares" "slice")
        Chart.line "corrected" (ofNetwork "corrected" "slice")
        Chart.line "dense kernel" (ofNetwork "dense" "")
    ]
(*** include-it-raw ***)

(** ## Fewer sweeps

How many extrapolated sweeps of least squares reach the error of so many plain ones, on collinear tensors and trained kernels. *)
(*** hide ***)
let ofDepth (column: int) =
    numbers "swamps" (fun row -> row.Length > 4 && Char.IsDigit row[2].[0]) (cell 2) (fun row ->
        float (row[column].Split ' ' |> Array.head))

plot
    "swamps"
    "Extrapolated sweeps, by the plain ones that they save"
    (Chart.logarithmic "plain sweeps")
    (Chart.logarithmic "extrapolated sweeps to the same error")
    [ Chart.dots "depth 4" (ofDepth 4); Chart.dots "depth 8" (ofDepth 5) ]
(*** include-it-raw ***)

(** ## S of long chains

Multiplications and additions of S, by the number of cores of a closed chain: its terms one by one, and as they are planned. Above 12 cores that is elimination without a look at the terms, whose plans grow with the square of the number of cores: it takes more
multiplications up to 64 cores, and grows more slowly. Times in the file are those of a busy machine. *)
(*** hide ***)
let ofColumn column =
    numbers "chain" (fun row -> row[0].StartsWith "chain of ") (fun row -> float (row[0].Substring 9)) (cell column)

plot
    "chain"
    "Work of S, by the number of cores"
    (Chart.logarithmic "cores")
    (Chart.logarithmic "MFLOP")
    [ Chart.line "one by one" (ofColumn 1); Chart.line "as planned" (ofColumn 3) ]
(*** include-it-raw ***)

(** ## Plans

Time to find an order of contraction, one thread: all terms of S of four formats together, exact search over ten cores, and chains and rings of a hundred cores with their squared norms. *)
(*** hide ***)
let plans =
    numbers "planner" (fun row -> row.Length > 4 && Char.IsDigit row[1].[0]) (fun row -> row[0]) (cell 2)

/// Rows named `its squared norm` belong to the row before.
let named =
    plans
    |> List.mapi (fun i (name, ms) ->
        if name.StartsWith "its" then
            (fst plans[i - 1]).Split(',').[0] + ": " + name.Split(',').[0], ms
        else
            name, ms)

titled "planner" (Chart.bars "Time to find a plan" "ms" 0.0 named)
(*** include-it-raw ***)

(** ## libtorch's convolutions

Random float32 convolutions that libtorch computes wrongly on a processor of AMD, of 300, by how their channels lie in memory, and with oneDNN switched off, which the library does where it finds them wrong
([troubleshooting](troubleshooting.html)). On most processors none is. *)
(*** hide ***)
let wrong =
    lines "faults"
    |> Array.find _.StartsWith("all ")
    |> fun line -> Regex.Split(line.Trim(), " +")
    |> fun row -> List.zip [ "as they come"; "channels last"; "without oneDNN" ] [ for cell in row[3..5] -> float cell ]

titled "faults" (Chart.bars "Wrong convolutions of 300" "wrong of 300" 0.0 wrong)
(*** include-it-raw ***)

(** ## Memory of layers side by side

The peak of planning and of compressing one layer beyond what the process held before, over what the library takes it for when it decides how many layers run side by side; kernels of 128 to 512 channels as Tucker-2, CP and tensor chain. *)
(*** hide ***)
plot
    "whole-memory"
    "Peak memory of a layer, over what it was taken for"
    (Chart.logarithmic "taken for, MB")
    (Chart.logarithmic "peak, MB")
    [ Chart.dots "plan" (both "whole-memory" 3 2); Chart.dots "compress" (both "whole-memory" 5 4) ]
(*** include-it-raw ***)

(** ## Memory of training

The memory of a process that trains a small layer for ten minutes: code is compiled in the first one, then nothing grows. *)
(*** hide ***)
let minutes =
    [
        for found in ofForm "memory-10" @"^minute (\d+): \d+ steps, \d+ tensors, working set (\d+) MB" ->
            float found.Groups[1].Value, float found.Groups[2].Value
    ]

plot
    "memory-10"
    "Working set over ten minutes of training"
    (Chart.linear "minutes")
    (Chart.linear "MB")
    [ Chart.line "working set" minutes ]
(*** include-it-raw ***)
