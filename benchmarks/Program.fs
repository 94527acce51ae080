module TensorNets.Benchmarks.Program

open BenchmarkDotNet.Configs
open BenchmarkDotNet.Jobs
open BenchmarkDotNet.Running
open BenchmarkDotNet.Toolchains.InProcess.Emit

/// In this process: a project that BenchmarkDotNet generates would load the native library unmended.
let private config =
    ManualConfig.Create(DefaultConfig.Instance).AddJob(Job.Default.WithToolchain InProcessEmitToolchain.Instance)

[<EntryPoint>]
let main argv =
    NativeLog.errorsOnly ()
    BenchmarkSwitcher.FromAssembly(typeof<Baseline>.Assembly).Run(argv, config) |> ignore
    0
