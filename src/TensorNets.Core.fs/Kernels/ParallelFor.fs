namespace TensorNets

open System
open System.Diagnostics
open System.Runtime.ExceptionServices
open System.Runtime.InteropServices
open System.Threading
open TorchSharp

/// What a part of a job is done by.
[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private Work = delegate of nativeint -> unit

/// `void GOMP_parallel(void (*fn)(void *), void *data, unsigned threads, unsigned flags)`
[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private Fork = delegate of nativeint * nativeint * uint32 * uint32 -> unit

/// `int omp_get_thread_num(void)`
[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private Number = delegate of unit -> int

/// Parts of a job. Each thread takes its own range of them first, the same in every job of that many parts, whose numbers may still be in its cache; then what
/// others have left.
[<Sealed>]
type private Job(parts: int, threads: int, act: int -> unit) =
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

/// Loops shared between the threads of libtorch's own OpenMP, which spin for milliseconds after each operation: whatever else ran beside them would have to share
/// the processor with them. Where there is no such runtime, as where libtorch was built with another, or one thread, the caller does it all.
[<RequireQualifiedAccess>]
module internal Team =
    /// The runtime that libtorch has loaded: one of the same name from elsewhere would bring threads of its own.
    let private runtime: Lazy<(Fork * Number) option> =
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

                    Marshal.GetDelegateForFunctionPointer<Fork>(NativeLibrary.GetExport(library, "GOMP_parallel")),
                    Marshal.GetDelegateForFunctionPointer<Number>(NativeLibrary.GetExport(library, "omp_get_thread_num")))
             with _ ->
                 // Whatever is missing: then loops are not shared.
                 None)

    let private work =
        Work(fun data ->
            match GCHandle.FromIntPtr(data).Target, runtime.Value with
            | (:? Job as job), Some(_, number) -> job.Run(number.Invoke())
            | _ -> ())

    let private workPointer = lazy Marshal.GetFunctionPointerForDelegate work

    /// Whether loops can be shared.
    let isHere () = runtime.Value.IsSome

    /// Fewer operations than this take longer shared than alone.
    let private least = 6e6

    /// Parts for each thread, so that one that is held up does fewer.
    let private partsOfOne = 2

    /// The threads that share so many operations.
    let threadsFor (operations: float) = if operations < least || not (isHere ()) then 1 else torch.get_num_threads ()

    /// How many parts to make of so many operations.
    let partsFor (operations: float) =
        match threadsFor operations with
        | 1 -> 1
        | threads -> partsOfOne * threads

    /// Each of so many parts once, in any order, on several threads.
    let run (parts: int) (act: int -> unit) : unit =
        match runtime.Value with
        | Some(fork, _) when parts > 1 && torch.get_num_threads () > 1 ->
            let threads = min parts (torch.get_num_threads ())
            let job = Job(parts, threads, act)
            let handle = GCHandle.Alloc job

            try
                fork.Invoke(workPointer.Value, GCHandle.ToIntPtr handle, uint32 threads, 0u)
            finally
                handle.Free()

            job.Failure |> Option.iter (ExceptionDispatchInfo.Throw)
        | _ ->
            for part in 0 .. parts - 1 do
                act part

    /// So many places in ranges, each from the first to before the last, for so many operations in all.
    let ranges (operations: float) (total: int) (act: int -> int -> unit) : unit =
        let parts = max 1 (min total (partsFor operations))
        run parts (fun i -> act (i * total / parts) ((i + 1) * total / parts))
