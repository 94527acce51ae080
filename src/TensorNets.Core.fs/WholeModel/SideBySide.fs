namespace TensorNets

open System.Collections.Concurrent
open System.Runtime.ExceptionServices
open System.Threading
open TorchSharp

/// Independent work on several cores, one thread of libtorch's for each: the numbers are then the same however many there are.
[<RequireQualifiedAccess>]
module internal SideBySide =
    /// The workers that are asked for, or as many as there are processors.
    let workers (asked: int) = if asked > 0 then asked else System.Environment.ProcessorCount

    /// What a function makes of each item, in their order. Items are begun in the order given. What one throws is thrown once all workers
    /// have ended.
    let run (workers: int) (act: 'T -> 'U) (items: 'T list) : 'U list =
        let queue = ConcurrentQueue(List.indexed items)
        let results = Array.zeroCreate<'U> items.Length
        let mutable problem: ExceptionDispatchInfo | null = null

        let work () =
            torch.set_num_threads 1
            let mutable next = Unchecked.defaultof<int * 'T>

            while isNull problem && queue.TryDequeue &next do
                try
                    results[fst next] <- act (snd next)
                with error ->
                    problem <- ExceptionDispatchInfo.Capture error

        let before = torch.get_num_threads ()

        let threads =
            [ for _ in 1 .. min (max 1 workers) items.Length -> Thread(work, 16 <<< 20, IsBackground = true) ]

        try
            for thread in threads do
                thread.Start()

            for thread in threads do
                thread.Join()
        finally
            torch.set_num_threads before

        match problem with
        | null -> List.ofArray results
        | found ->
            found.Throw()
            []
