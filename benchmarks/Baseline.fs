namespace TensorNets.Benchmarks

open System
open BenchmarkDotNet.Attributes
open TorchSharp

/// One matrix product: what the machine can do, to hold every other number against.
[<MemoryDiagnoser>]
type Baseline() =
    let mutable a = Unchecked.defaultof<torch.Tensor>
    let mutable b = Unchecked.defaultof<torch.Tensor>

    [<Params(64, 512)>]
    member val Size = 64 with get, set

    [<GlobalSetup>]
    member this.Setup() =
        use generator = new torch.Generator(1UL)
        let random () = torch.randn ([| int64 this.Size; int64 this.Size |], generator = generator)
        a <- random ()
        b <- random ()

    [<GlobalCleanup>]
    member _.Cleanup() =
        (a :> IDisposable).Dispose()
        (b :> IDisposable).Dispose()

    [<Benchmark(Baseline = true)>]
    member _.Matmul() =
        use _ = torch.NewDisposeScope()
        a.matmul b |> ignore
