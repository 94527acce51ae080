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

    let private product (dims: int seq) =
        // Beyond the largest int no rank is refused.
        dims |> Seq.fold (fun p n -> min (p * int64 n) (int64 System.Int32.MaxValue)) 1L |> int

    /// The largest rank of a bond between two cores: what either of them can span by its other axes.
    let largestBond (dim: Axis -> int) (axis: Axis) (first: Axis list) (second: Axis list) : int =
        let span core other = core |> List.except (axis :: other) |> List.map dim |> product
        min (span first second) (span second first)

    /// The largest rank of a sum of rank-one terms: the product of all dimensions but the largest.
    let largestSum (dims: int list) : int = dims |> List.sort |> List.truncate (dims.Length - 1) |> product

    /// The largest rank of a bond, and why.
    let private largest (layout: FormatLayout) (axis: Axis) : int * string =
        let dims = Map.ofList (layout.Modes @ layout.Bonds)

        match layout.Cores |> List.filter (List.contains axis) with
        | [ first; second ] ->
            largestBond (fun a -> dims[a]) axis first second, "the product of the other dimensions at either end of the bond"
        | _ -> largestSum (layout.Modes |> List.map snd), "the product of all dimensions but the largest"

    /// The ranks that are larger than any tensor of these dimensions needs.
    let refused (name: string) (layout: FormatLayout) =
        [
            for i, (axis, rank) in List.indexed layout.Bonds do
                let most, reason = largest layout axis

                if rank > most then
                    let what = if layout.Bonds.Length = 1 then "rank" else $"rank {i + 1} (bond {axis})"
                    FormatError.RankOutOfRange(name, what, rank, most, reason)
        ]
