namespace TensorNets

#nowarn "9"

open System
open System.Runtime.InteropServices
open Microsoft.FSharp.NativeInterop

/// `numbers` values in native memory for the time of a computation, in whole cache lines of its own; what they are at first is not told.
[<Sealed>]
type internal Scratch<'T when 'T: unmanaged>(numbers: int) =
    let bytes = unativeint (max 1 numbers) * unativeint sizeof<'T>
    let memory = NativeMemory.AlignedAlloc(bytes, 64un)

    member _.Start: nativeptr<'T> = NativePtr.ofVoidPtr memory

    /// The same, all zero.
    static member Zeros(numbers: int) : Scratch<'T> =
        let scratch = new Scratch<'T>(numbers)
        NativeMemory.Clear(NativePtr.toVoidPtr scratch.Start, unativeint numbers * unativeint sizeof<'T>)
        scratch

    interface IDisposable with
        member _.Dispose() = NativeMemory.AlignedFree memory
