namespace TensorNets

open System.Collections.Generic
open System.Runtime.ExceptionServices
open System.Threading
open TorchSharp

/// Independent work on several cores, one thread of libtorch's for each: the numbers are then the same however many there are.
[<RequireQualifiedAccess>]
module internal SideBySide =
    /// The workers that are asked for, or as many as there are processors.
    let workers (asked: int) = if asked > 0 then asked else System.Environment.ProcessorCount

    /// Items that are begun in their order but for those that what runs leaves no room for: these wait, and later ones that fit are begun.
    /// An item that is larger than all room is begun alone.
    type private Queue<'T>(room: float, size: 'T -> float, items: 'T list) =
        let gate = obj ()
        let waiting = LinkedList(List.indexed items)
        let mutable used = 0.0
        let mutable running = 0

        let rec fitting (node: LinkedListNode<int * 'T> | null) =
            match node with
            | null -> None
            | node when running = 0 || used + size (snd node.Value) <= room -> Some node
            | node -> fitting node.Next

        /// The next item, waited for; None where there are no more.
        member _.Take() : (int * 'T) option =
            lock gate (fun () ->
                let mutable found = fitting waiting.First

                while found.IsNone && waiting.Count > 0 do
                    Monitor.Wait gate |> ignore
                    found <- fitting waiting.First

                found
                |> Option.map (fun node ->
                    waiting.Remove node
                    running <- running + 1
                    used <- used + size (snd node.Value)
                    node.Value))

        member _.End(item: 'T) : unit =
            lock gate (fun () ->
                running <- running - 1
                used <- if running = 0 then 0.0 else used - size item
                Monitor.PulseAll gate)

        /// Nothing more is begun.
        member _.Clear() : unit = lock gate (fun () -> waiting.Clear())

    /// What a function makes of each item, in their order, with items of at most a sum of sizes at a time, or a single one. Items are begun
    /// in the order given where there is room. What one throws is thrown once all workers have ended.
    let runWithin (room: float) (size: 'T -> float) (workers: int) (act: 'T -> 'U) (items: 'T list) : 'U list =
        let queue = Queue(room, size, items)
        let results = Array.zeroCreate<'U> items.Length
        let mutable problem: ExceptionDispatchInfo | null = null

        let rec work () =
            match queue.Take() with
            | Some(at, item) ->
                try
                    try
                        results[at] <- act item
                    with error ->
                        problem <- ExceptionDispatchInfo.Capture error
                        queue.Clear()
                finally
                    queue.End item

                work ()
            | None -> ()

        let start () =
            torch.set_num_threads 1
            work ()

        let before = torch.get_num_threads ()

        let threads =
            [ for _ in 1 .. min (max 1 workers) items.Length -> Thread(start, 16 <<< 20, IsBackground = true) ]

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

    /// What a function makes of each item, in their order. Items are begun in the order given. What one throws is thrown once all workers
    /// have ended.
    let run (workers: int) (act: 'T -> 'U) (items: 'T list) : 'U list = runWithin infinity (fun _ -> 0.0) workers act items
