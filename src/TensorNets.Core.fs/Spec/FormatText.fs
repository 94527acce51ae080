namespace TensorNets

open System

/// Formats with their ranks as text: <c>CP(48)</c>, <c>Tucker-2(16,24)</c>, <c>TT-matrix(4,4;8,8;3)</c>, <c>HT(2:0 3:(1:1 1:2))</c>.
[<RequireQualifiedAccess>]
module internal FormatText =
    let private dense = "dense"

    let private numbers (values: int list) = String.Join(",", values)

    let rec private tree node =
        match node with
        | DimTree.Mode mode -> string mode
        | DimTree.Split children -> "(" + branches children + ")"

    and private branches children = String.Join(" ", children |> List.map (fun (rank, child) -> $"{rank}:{tree child}"))

    /// The text of a format.
    let print (format: Format) : string =
        match format with
        | Format.CP rank -> $"CP({rank})"
        | Format.Tucker ranks -> $"Tucker({numbers ranks})"
        | Format.Tucker2(first, last) -> $"Tucker-2({first},{last})"
        | Format.TensorTrain ranks -> $"TT({numbers ranks})"
        | Format.TensorChain ranks -> $"TC({numbers ranks})"
        | Format.BlockTerm(blocks, ranks) -> $"BTD({blocks};{numbers ranks})"
        | Format.TensorTrainMatrix(rows, columns, ranks) -> $"TT-matrix({numbers rows};{numbers columns};{numbers ranks})"
        | Format.HierarchicalTucker(DimTree.Split children) -> $"HT({branches children})"
        | Format.HierarchicalTucker(DimTree.Mode mode) -> $"HT({mode})"
        | Format.Dense -> dense

    let private number (text: string) : int option =
        match Int32.TryParse(text, Globalization.NumberStyles.None, Globalization.CultureInfo.InvariantCulture) with
        | true, value -> Some value
        | _ -> None

    let private all (items: 'T option list) = if List.forall Option.isSome items then Some(List.map Option.get items) else None

    let private list (text: string) : int list option =
        if text = "" then Some [] else text.Split(',') |> List.ofArray |> List.map number |> all

    /// Nodes of a tree one within another that a text may have.
    let private deepest = 100

    /// The node at a place, and the place behind it.
    let rec private node (text: string) depth at : (DimTree * int) option =
        if at < text.Length && text[at] = '(' then
            children text (depth + 1) (at + 1) []
            |> Option.bind (fun (found, next) ->
                if next < text.Length && text[next] = ')' then Some(DimTree.Split found, next + 1) else None)
        else
            let digits = text.Substring(at) |> Seq.takeWhile Char.IsAsciiDigit |> Seq.length
            number (text.Substring(at, digits)) |> Option.map (fun mode -> DimTree.Mode mode, at + digits)

    and private children (text: string) depth at found : ((int * DimTree) list * int) option =
        let colon = if depth > deepest then -1 else text.IndexOf(':', at)

        if colon < 0 then
            None
        else
            match number (text.Substring(at, colon - at)), node text depth (colon + 1) with
            | Some rank, Some(child, next) when next < text.Length && text[next] = ' ' ->
                children text depth (next + 1) ((rank, child) :: found)
            | Some rank, Some(child, next) -> Some(List.rev ((rank, child) :: found), next)
            | _ -> None

    let private hierarchical (text: string) =
        match children text 0 0 [] with
        | Some(found, next) when next = text.Length -> Some(Format.HierarchicalTucker(DimTree.Split found))
        | _ -> None

    let private named (name: string) (inside: string) : Format option =
        match name, inside.Split(';') |> List.ofArray |> List.map list with
        | "CP", [ Some [ rank ] ] -> Some(Format.CP rank)
        | "Tucker", [ Some ranks ] -> Some(Format.Tucker ranks)
        | "Tucker-2", [ Some [ first; last ] ] -> Some(Format.Tucker2(first, last))
        | "TT", [ Some ranks ] -> Some(Format.TensorTrain ranks)
        | "TC", [ Some ranks ] -> Some(Format.TensorChain ranks)
        | "BTD", [ Some [ blocks ]; Some ranks ] -> Some(Format.BlockTerm(blocks, ranks))
        | "TT-matrix", [ Some rows; Some columns; Some ranks ] -> Some(Format.TensorTrainMatrix(rows, columns, ranks))
        | "HT", _ -> hierarchical inside
        | _ -> None

    /// The format of a text that <c>print</c> has written, whether it fits any shape or not.
    let parse (text: string) : Format option =
        let at = text.IndexOf '('

        if text = dense then
            Some Format.Dense
        elif at > 0 && text.EndsWith ')' then
            named (text.Substring(0, at)) (text.Substring(at + 1, text.Length - at - 2))
        else
            None
