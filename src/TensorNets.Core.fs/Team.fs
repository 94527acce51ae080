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

/// Parts of a job, taken by whoever is free.
[<Sealed>]
type private Job(parts: int, act: int -> unit) =
    let mutable next = -1
    let mutable failure: exn option = None

    member _.Failure = failure

    member _.Run() =
        let mutable part = Interlocked.Increment &next

        while part < parts do
            try
                act part
            with error ->
                failure <- Some error

            part <- Interlocked.Increment &next

/// Loops shared between the threads of libtorch's own OpenMP, which spin for milliseconds after each operation: whatever else ran beside them would have to share
/// the processor with them. Where there is no such runtime, as where libtorch was built with another, or one thread, the caller does it all.
[<RequireQualifiedAccess>]
module internal Team =
    let private work =
        Work(fun data ->
            match GCHandle.FromIntPtr(data).Target with
            | :? Job as job -> job.Run()
            | _ -> ())

    let private workPointer = lazy Marshal.GetFunctionPointerForDelegate work

    /// The runtime that libtorch has loaded: one of the same name from elsewhere would bring threads of its own.
    let private fork: Lazy<Fork option> =
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
                |> Option.map (fun file -> NativeLibrary.GetExport(NativeLibrary.Load file, "GOMP_parallel"))
                |> Option.map Marshal.GetDelegateForFunctionPointer<Fork>
             with _ ->
                 // Whatever is missing: then loops are not shared.
                 None)

    /// Whether loops can be shared.
    let isHere () = fork.Value.IsSome

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
        match fork.Value with
        | Some fork when parts > 1 && torch.get_num_threads () > 1 ->
            let job = Job(parts, act)
            let handle = GCHandle.Alloc job

            try
                let threads = min parts (torch.get_num_threads ())
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
