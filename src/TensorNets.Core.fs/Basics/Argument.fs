namespace TensorNets

open System.IO

/// What a caller gives, at the doors of the library.
[<RequireQualifiedAccess>]
module internal Argument =
    /// Throws an ArgumentNullException that names the parameter where there is none: from C#, or of a default value, any type of F# may be
    /// null.
    let notNull (name: string) (value: 'T) : unit =
        if isNull (box value) then
            nullArg name

    /// Throws where there is no stream, or one that is closed or cannot do what is wanted.
    let stream (name: string) (can: Stream -> bool) (verb: string) (stream: Stream) : unit =
        notNull name stream

        if not (can stream) then
            invalidArg name $"The stream is closed, or cannot be {verb}."

    /// The same as a value.
    let given (name: string) (value: 'T) : 'T =
        notNull name value
        value
