/// Training of a small layer for minutes: live tensors and the memory of the process, minute by minute.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.MemoryRun

open System
open System.Diagnostics
open TensorNets
open TorchSharp

let private orStop result =
    match result with
    | Ok value -> value
    | Error errors -> raise (TensorNetException(List.toArray errors))

/// Prints a line at the start and after each minute.
let run (minutes: int) =
    torch.set_num_threads 1
    use conv = torch.nn.Conv2d(16L, 16L, 3L, padding = 1L)
    use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 8) conv |> orStop
    use optimizer = torch.optim.SGD(layer.parameters (), 1e-3)
    use generator = new torch.Generator(1UL)
    use x = torch.randn ([| 2L; 16L; 8L; 8L |], generator = generator)
    // Something to learn: trained to give zeros, S would leave the range of float32.
    use target = torch.randn ([| 2L; 16L; 8L; 8L |], generator = generator)
    let clock = Stopwatch.StartNew()
    let mutable steps = 0L
    let mutable next = 0

    let report () =
        use proc = Process.GetCurrentProcess()

        Console.WriteLine(
            $"minute {next}: {steps} steps, {torch.Tensor.TotalCount} tensors, working set {proc.WorkingSet64 / 1048576L} MB, managed {GC.GetTotalMemory true / 1048576L} MB"
        )

        next <- next + 1

    while next <= minutes do
        for _ in 1..1000 do
            use _ = torch.NewDisposeScope()
            optimizer.zero_grad ()
            layer.call(x).sub(target).square().mean().backward()
            layer.Sensitivity().mul(1e-4.ToScalar()).backward()
            optimizer.step () |> ignore

        steps <- steps + 1000L

        if clock.Elapsed.TotalMinutes >= float next then
            report ()
