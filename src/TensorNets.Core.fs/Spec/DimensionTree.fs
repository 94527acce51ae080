namespace TensorNets

/// <summary>A dimension tree: how the modes of a tensor are split into groups, and those again, down to single modes.</summary>
[<RequireQualifiedAccess>]
type DimTree =
    /// One mode, counted from 0.
    | Mode of mode: int
    /// Two or more groups, each with the rank of the bond that joins it to this node.
    | Split of children: (int * DimTree) list

/// <summary>The shape of a dimension tree, without ranks: how the modes of a tensor are split into groups, down to single modes.</summary>
[<RequireQualifiedAccess>]
type ModeTree =
    /// One mode, counted from 0.
    | Mode of mode: int
    /// Two or more groups.
    | Split of children: ModeTree list

[<RequireQualifiedAccess>]
module internal DimTree =
    /// The modes of the leaves, from left to right.
    let rec modes (tree: DimTree) : int list =
        match tree with
        | DimTree.Mode mode -> [ mode ]
        | DimTree.Split children -> children |> List.collect (snd >> modes)

    /// The ranks of the bonds, each node before what hangs on it.
    let rec ranks (tree: DimTree) : int list =
        match tree with
        | DimTree.Mode _ -> []
        | DimTree.Split children -> children |> List.collect (fun (rank, child) -> rank :: ranks child)

    /// Whether a node has fewer than two children.
    let rec isNarrow (tree: DimTree) : bool =
        match tree with
        | DimTree.Mode _ -> false
        | DimTree.Split children -> children.Length < 2 || children |> List.exists (snd >> isNarrow)

    /// The tree of a shape with every rank 1.
    let rec lowest (tree: ModeTree) : DimTree =
        match tree with
        | ModeTree.Mode mode -> DimTree.Mode mode
        | ModeTree.Split children -> DimTree.Split(children |> List.map (fun child -> 1, lowest child))
