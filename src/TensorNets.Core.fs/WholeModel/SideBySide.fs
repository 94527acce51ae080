namespace TensorNets

open System
open System.Runtime.ExceptionServices
open System.Threading
open TorchSharp

/// Independent work on several cores, one thread of libtorch's for each: the numbers are then the same however many there are.
[<RequireQualifiedAccess>]
module internal SideBySide =
    /// The workers that are asked for, or as many as there are processors.
    let workers (asked: int) = if asked > 0 then asked else Environment.ProcessorCount

    /// What a step makes of an item: its result, or the item that is put back.
    type Step<'T, 'U> =
        | Done of 'U
        | Again of 'T

    /// An item that is not worked on any more and holds something.
    let private drop (item: 'T) : unit =
        match box item with
        | :? IDisposable as held -> held.Dispose()
        | _ -> ()

    /// Items, of which the next is the one of greatest priority, the first of equals, of those that what runs leaves room for: the others
    /// wait. An item that is larger than all room is begun alone.
    type private Queue<'T>(room: float, size: 'T -> float, priority: 'T -> float, items: 'T list) =
        let gate = obj ()
        let mutable waiting = List.indexed items
        let mutable used = 0.0
        let mutable running = 0
        let mutable isClosed = false
        let fits (_, item) = running = 0 || used + size item <= room

        /// The next item, waited for, since what runs may come back; None where there are no more.
        member _.Take() : (int * 'T) option =
            lock gate (fun () ->
                let mutable fitting = List.filter fits waiting

                while fitting.IsEmpty && running > 0 do
                    Monitor.Wait gate |> ignore
                    fitting <- List.filter fits waiting

                match fitting with
                | [] -> None
                | _ ->
                    let next = fitting |> List.maxBy (snd >> priority)
                    waiting <- waiting |> List.filter (fun (at, _) -> at <> fst next)
                    running <- running + 1
                    used <- used + size (snd next)
                    Some next)

        /// The item is no longer worked on; what it has become is put back, or dropped where nothing more is begun.
        member _.End(at: int, item: 'T, next: 'T option) : unit =
            lock gate (fun () ->
                running <- running - 1
                used <- if running = 0 then 0.0 else used - size item

                match next with
                | Some next when isClosed -> drop next
                | Some next -> waiting <- waiting @ [ at, next ]
                | None -> ()

                Monitor.PulseAll gate)

        /// Nothing more is begun: what waits is dropped.
        member _.Close() : unit =
            lock gate (fun () ->
                isClosed <- true

                for _, item in waiting do
                    drop item

                waiting <- [])

    /// What becomes of each item, in their order, in steps, with items of at most a sum of sizes at a time, or a single one. Of the items
    /// there is room for the one of greatest priority takes the next step, the first of equals. What a step throws is thrown once all
    /// workers have ended; items that wait then are disposed where they can be.
    let stepsWithin
        (room: float)
        (size: 'T -> float)
        (priority: 'T -> float)
        (workers: int)
        (step: 'T -> Step<'T, 'U>)
        (items: 'T list)
        : 'U list =
        let queue = Queue(room, size, priority, items)
        let results = Array.zeroCreate<'U> items.Length
        let mutable problem: ExceptionDispatchInfo | null = null

        let rec work () =
            match queue.Take() with
            | Some(at, item) ->
                let mutable next = None

                try
                    try
                        match step item with
                        | Done result -> results[at] <- result
                        | Again item -> next <- Some item
                    with error ->
                        problem <- ExceptionDispatchInfo.Capture error
                        queue.Close()
                finally
                    queue.End(at, item, next)

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

    /// What a function makes of each item, in their order, with items of at most a sum of sizes at a time, or a single one. Items are begun
    /// in the order given where there is room. What one throws is thrown once all workers have ended.
    let runWithin (room: float) (size: 'T -> float) (workers: int) (act: 'T -> 'U) (items: 'T list) : 'U list =
        stepsWithin room size (fun _ -> 0.0) workers (act >> Done) items

    /// What a function makes of each item, in their order. Items are begun in the order given. What one throws is thrown once all workers
    /// have ended.
    let run (workers: int) (act: 'T -> 'U) (items: 'T list) : 'U list = runWithin infinity (fun _ -> 0.0) workers act items
