namespace TensorNets

/// What a caller gives, at the doors of the library.
[<RequireQualifiedAccess>]
module internal Argument =
    /// Throws an ArgumentNullException that names the parameter where there is none: from C#, or of a default value, any type of F# may be
    /// null.
    let notNull (name: string) (value: 'T) : unit =
        if isNull (box value) then
            nullArg name

    /// The same as a value.
    let given (name: string) (value: 'T) : 'T =
        notNull name value
        value
