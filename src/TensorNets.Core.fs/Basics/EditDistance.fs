namespace TensorNets

open System

/// Levenshtein's distance between two names: how many letters are put in, left out or changed.
[<RequireQualifiedAccess>]
module internal EditDistance =
    let private between (a: string) (b: string) : int =
        let next (row: int[]) (i: int) =
            let fresh = Array.create row.Length (i + 1)

            for j in 1 .. b.Length do
                let substituted = row[j - 1] + (if a[i] = b[j - 1] then 0 else 1)
                fresh[j] <- Math.Min(substituted, 1 + Math.Min(row[j], fresh[j - 1]))

            fresh

        Array.last (Seq.fold next [| 0 .. b.Length |] (seq { 0 .. a.Length - 1 }))

    /// The names most like one that is not known, the nearest first, as many as a message can carry.
    let nearest (most: int) (name: string) (known: string seq) : string list =
        known |> Seq.distinct |> Seq.sortBy (between name) |> Seq.truncate most |> List.ofSeq
