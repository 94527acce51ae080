namespace TensorNets

open System
open System.Collections.Generic

/// Lists, shapes and numbers as messages show them.
module internal ErrorText =
    let list (items: string list) = String.Join(", ", items)

    let shape (dims: int64 list) = "[" + String.Join(", ", dims |> List.map string) + "]"

    /// The most errors that a message says in words.
    let private mostLines = 100

    let lines (messages: string seq) (count: int) =
        let rest = if count > mostLines then [ $"And {count - mostLines} more." ] else []
        String.Join(Environment.NewLine, Seq.append (Seq.truncate mostLines messages) rest)

    let quoted (items: string list) = items |> List.map (fun item -> $"'{item}'") |> list

    let joined (items: string list) = items |> List.map (fun item -> $"'{item}'") |> String.concat " and "
