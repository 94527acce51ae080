namespace TensorNets

/// What a format says about a shape: its modes, its bonds, and the axes of each core.
type internal FormatLayout = { Modes: (Axis * int) list; Bonds: (Axis * int) list; Cores: Axis list list }

/// Axes of formats by name, and the largest ranks that their bonds may have.
[<RequireQualifiedAccess>]
module internal FormatLayout =
    let private modeNames = [ "s"; "d"; "t"; "u"; "v"; "w"; "y"; "z" ]

    /// The modes of a shape: s, d, t, … where letters last.
    let modes (shape: int list) =
        shape
        |> List.mapi (fun i n -> Axis(if shape.Length <= modeNames.Length then modeNames[i] else $"m{i}"), n)

    // Letters that no mode and no hyperedge has.
    let private bondNames = "abcefghijklnopq"

    /// The bond of a place.
    let bond i = Axis(if i < bondNames.Length then string bondNames[i] else $"b{i}")

    /// Bonds of given ranks.
    let bonds (ranks: int list) = ranks |> List.mapi (fun i rank -> bond i, rank)

    /// Of each place in a row, the bonds to its neighbours: in front of it, behind it.
    let neighbours (links: Axis list) : (Axis list * Axis list) list =
        [
            for i in 0 .. links.Length ->
                links |> List.skip (max 0 (i - 1)) |> List.truncate (min 1 i), links |> List.skip i |> List.truncate 1
        ]

    let private product (dims: int64 list) =
        // Beyond the largest int no rank is refused.
        dims |> List.fold (fun p n -> min (p * n) (int64 System.Int32.MaxValue)) 1L |> int

    /// The largest rank of a bond, and why: an ordinary bond cannot exceed what either of its cores can span by its other axes; a hyperedge
    /// of a sum of rank-one terms, the product of all dimensions but the largest.
    let private largest (layout: FormatLayout) (axis: Axis) : int * string =
        let dims = Map.ofList (layout.Modes @ layout.Bonds)
        let carriers = layout.Cores |> List.filter (List.contains axis)

        match carriers with
        | [ first; second ] ->
            let span (core: Axis list) (other: Axis list) =
                core
                |> List.filter (fun a -> a <> axis && not (List.contains a other))
                |> List.map (fun a -> int64 dims[a])
                |> product

            min (span first second) (span second first), "the product of the other dimensions at either end of the bond"
        | _ ->
            let sizes = layout.Modes |> List.map (snd >> int64) |> List.sort
            product (sizes |> List.truncate (sizes.Length - 1)), "the product of all dimensions but the largest"

    /// The ranks that are larger than any tensor of these dimensions needs.
    let refused (name: string) (layout: FormatLayout) =
        [
            for i, (axis, rank) in List.indexed layout.Bonds do
                let most, reason = largest layout axis

                if rank > most then
                    let what = if layout.Bonds.Length = 1 then "rank" else $"rank {i + 1} (bond {axis})"
                    FormatError.RankOutOfRange(name, what, rank, most, reason)
        ]
