namespace TensorNets

open System

/// <summary>The name of an index of a tensor network: a letter, or a word of letters and digits that starts with a letter.</summary>
/// <remarks>Two cores that carry the same axis share that index. A name that ends in <c>'</c> is the second copy of an axis, made by
/// rewrites such as <c>Spec.normSq</c>.</remarks>
[<Struct>]
type Axis =
    /// An axis of that name; `Spec.create` refuses what is no name.
    | Axis of string

    /// The name as text.
    member this.Name =
        let (Axis name) = this
        name

    override this.ToString() = this.Name

/// <summary>Names of axes.</summary>
[<RequireQualifiedAccess>]
module Axis =
    /// <summary>The name of an axis as text.</summary>
    /// <example><code>Axis.name (Axis "s") // "s"</code></example>
    let name (Axis name) = name

    /// The same index in the second copy of a network: `a` becomes `a'`.
    let internal primed (Axis name) = Axis(name + "'")

    /// Whether a text is a name for an axis or a core: a letter, then letters, digits or underscores.
    let internal isName (name: string) =
        not (String.IsNullOrEmpty name)
        && Char.IsLetter name[0]
        && name |> Seq.forall (fun c -> Char.IsLetterOrDigit c || c = '_')

    /// The place of an axis among others that it is one of, as tensors count theirs.
    let internal place (axes: Axis list) (axis: Axis) : int64 = int64 (List.findIndex ((=) axis) axes)
