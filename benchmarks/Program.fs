module TensorNets.Benchmarks.Program

open System
open BenchmarkDotNet.Configs
open BenchmarkDotNet.Jobs
open BenchmarkDotNet.Running
open BenchmarkDotNet.Toolchains.InProcess.Emit
open TensorNets

/// In this process: a project that BenchmarkDotNet generates would load the native library unmended.
let private config =
    ManualConfig.Create(DefaultConfig.Instance).AddJob(Job.Default.WithToolchain InProcessEmitToolchain.Instance)

/// Tables of medians, for what BenchmarkDotNet is too slow for, by the arguments that the documents give. `all` writes each of them.
let private tables =
    [
        "sensitivity", SensitivityTable.run
        "chain", ChainTable.run
        "planner", PlannerTable.run
        "products", ProductTable.run
        "convolutions", ConvolutionTable.run
        "layers", (fun () -> LayerTable.run 0L 0L)
        "factorize", FactorizeTable.run
        "kernels", (fun () -> KernelTable.run "" "")
        "handwritten", (fun () -> HandwrittenTable.run "")
        "limits", KernelTable.limits
        "correction", CorrectionTable.run
        "swamps", SwampTable.run
        "faults", (fun () -> FaultTable.run 300)
        "embeddings", EmbeddingTable.run
        "matrices", (fun () -> MatrixTable.run [ 1024; 2048; 4096 ])
        "torchvision", (fun () -> VisionTable.run "" 2.0)
        "whole", WholeModelTable.growth
        "whole 3 tucker2", (fun () -> WholeModelTable.run 3.0 "tucker2" None)
        "whole 3 cp", (fun () -> WholeModelTable.run 3.0 "cp" None)
        "whole memory", WholeModelTable.memory
        "bits 11 377", (fun () -> BitsTable.run 11 377)
        "memory 10", (fun () -> MemoryRun.run 10)
    ]

let private (|Table|_|) words = tables |> List.tryFind (fst >> (=) (String.concat " " words))

[<EntryPoint>]
let main argv =
    Native.quiet ()

    // The dense layers that times are compared with are libtorch's own, and right; the table of faults shows those that are not.
    if Array.tryHead argv <> Some "faults" then
        match Native.guard () with
        | Ok() -> ()
        | Error errors -> errors |> List.iter (fun error -> eprintfn $"{error.Message}")

    Measure.keepMemory ()

    match argv |> Array.toList with
    | Table(name, run) -> AllTables.print name run
    | [ "all"; folder ] -> AllTables.write folder (List.map fst tables)
    | [ "kernels"; kernel ] -> KernelTable.run kernel ""
    | [ "kernels"; kernel; format ] -> KernelTable.run kernel format
    | [ "handwritten"; kernel ] -> HandwrittenTable.run kernel
    | [ "layers"; channels; images ] -> LayerTable.run (int64 channels) (int64 images)
    | [ "faults"; count ] -> FaultTable.run (int count)
    | "matrices" :: sizes -> MatrixTable.run (List.map int sizes)
    | [ "whole"; ratio; which ] -> WholeModelTable.run (float ratio) which None
    | [ "whole"; ratio; which; seconds ] -> WholeModelTable.run (float ratio) which (Some(TimeSpan.FromSeconds(float seconds)))
    | [ "bits"; layer; rank ] -> BitsTable.run (int layer) (int rank)
    | [ "torchvision"; name ] -> VisionTable.run name 2.0
    | [ "torchvision"; name; ratio ] -> VisionTable.run name (float ratio)
    | [ "memory"; minutes ] -> MemoryRun.run (int minutes)
    | _ -> BenchmarkSwitcher.FromAssembly(typeof<Baseline>.Assembly).Run(argv, config) |> ignore

    0
