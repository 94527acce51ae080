namespace TensorNets

open System
open System.Diagnostics
open System.Runtime.ExceptionServices
open System.Runtime.InteropServices
open System.Threading
open TorchSharp

/// `void fn(void *data)`
[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private ParallelBody = delegate of nativeint -> unit

/// `void GOMP_parallel(void (*fn)(void *), void *data, unsigned threads, unsigned flags)`
[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private GompParallel = delegate of nativeint * nativeint * uint32 * uint32 -> unit

/// `int omp_get_thread_num(void)`
[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private ThreadNumber = delegate of unit -> int

/// Parts of a loop. Each thread takes its own range of them first, the same in every loop of that many parts, whose numbers its cache may
/// still hold; then what others have left.
[<Sealed>]
type private SharedLoop(parts: int, threads: int, act: int -> unit) =
    let next = [| for i in 0 .. threads - 1 -> i * parts / threads - 1 |]
    let mutable failure: exn option = None

    member _.Failure = failure

    member _.Run(thread: int) =
        for i in thread .. thread + threads - 1 do
            let range = i % threads
            let last = (range + 1) * parts / threads
            let mutable part = Interlocked.Increment &next[range]

            while part < last do
                try
                    act part
                with error ->
                    failure <- Some error

                part <- Interlocked.Increment &next[range]

/// Loops shared between the threads of libtorch's own OpenMP runtime (GNU libgomp). Those threads spin for milliseconds after each
/// operation of libtorch: a thread pool of ours would have to share the processor with them. Without that runtime, or with one thread, the
/// caller does all parts itself.
[<RequireQualifiedAccess>]
module internal ParallelFor =
    /// The runtime that libtorch has loaded: one of the same name from elsewhere would bring threads of its own.
    let private runtime: Lazy<(GompParallel * ThreadNumber) option> =
        lazy
            (try
                // Loads libtorch.
                torch.get_num_threads () |> ignore

                let files =
                    Process.GetCurrentProcess().Modules
                    |> Seq.cast<ProcessModule>
                    |> Seq.map _.FileName
                    |> Seq.distinct
                    |> List.ofSeq

                let named (part: string) = files |> List.filter _.Contains(part, StringComparison.Ordinal)

                // libtorch brings its own, beside it; a build without uses that of the system.
                let own =
                    named "/libtorch_cpu"
                    |> List.tryExactlyOne
                    |> Option.bind (fun torch ->
                        let folder = torch.Substring(0, torch.LastIndexOf '/')
                        named (folder + "/libgomp") |> List.tryExactlyOne)

                own
                |> Option.orElse (named "/libgomp" |> List.tryExactlyOne)
                |> Option.map (fun file ->
                    let library = NativeLibrary.Load file

                    Marshal.GetDelegateForFunctionPointer<GompParallel>(NativeLibrary.GetExport(library, "GOMP_parallel")),
                    Marshal.GetDelegateForFunctionPointer<ThreadNumber>(NativeLibrary.GetExport(library, "omp_get_thread_num")))
             with _ ->
                 // Whatever is missing: then loops are not shared.
                 None)

    let private body =
        ParallelBody(fun data ->
            match GCHandle.FromIntPtr(data).Target, runtime.Value with
            | (:? SharedLoop as loop), Some(_, number) -> loop.Run(number.Invoke())
            | _ -> ())

    let private bodyPointer = lazy Marshal.GetFunctionPointerForDelegate body

    /// Whether loops can be shared.
    let isSupported () = runtime.Value.IsSome

    /// The threads that share a loop of a number of operations.
    let threadsFor (operations: float) =
        if operations < Tuning.measured.LeastShared || not (isSupported ()) then
            1
        else
            torch.get_num_threads ()

    /// How many parts to cut a loop of a number of operations into.
    let partsFor (operations: float) =
        match threadsFor operations with
        | 1 -> 1
        | threads -> Tuning.measured.PartsOfThread * threads

    /// Calls `act` with every part from 0 on, each once, in any order, on several threads.
    let run (parts: int) (act: int -> unit) : unit =
        match runtime.Value with
        | Some(fork, _) when parts > 1 && torch.get_num_threads () > 1 ->
            let threads = min parts (torch.get_num_threads ())
            let loop = SharedLoop(parts, threads, act)
            let handle = GCHandle.Alloc loop

            try
                fork.Invoke(bodyPointer.Value, GCHandle.ToIntPtr handle, uint32 threads, 0u)
            finally
                handle.Free()

            loop.Failure |> Option.iter (ExceptionDispatchInfo.Throw)
        | _ ->
            for part in 0 .. parts - 1 do
                act part

    /// Cuts 0 .. total − 1 into ranges and calls `act` with the first of each and the one behind its last. `operations`: those of all
    /// together.
    let ranges (operations: float) (total: int) (act: int -> int -> unit) : unit =
        let parts = max 1 (min total (partsFor operations))
        run parts (fun i -> act (i * total / parts) ((i + 1) * total / parts))
