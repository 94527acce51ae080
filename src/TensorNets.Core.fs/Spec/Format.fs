namespace TensorNets

/// <summary>The named networks, with their ranks. Each is a smart constructor of <c>Spec</c>; no format has code of its own beyond
/// that.</summary>
/// <remarks>For a convolution kernel the modes are (s, d, t), input channels, kernel positions, output channels, or (s, h, w, t) with the
/// kernel's axes kept apart.</remarks>
[<RequireQualifiedAccess>]
type Format =
    /// CP: `sr, dr, tr -> sdt`. T = Σ_r a_r ∘ b_r ∘ c_r.
    | CP of rank: int
    /// Tucker: `sa, db, tc, abc -> sdt`, one rank for each mode.
    | Tucker of ranks: int list
    /// Tucker-2 (TKD): only the first and the last mode are compressed, `sa, abd, tb -> sdt`.
    | Tucker2 of first: int * last: int
    /// Tensor train (TT): `sa, adb, bt -> sdt`, one rank for each of the bonds between neighbours.
    | TensorTrain of ranks: int list
    /// Tensor chain (TC, tensor ring): `asb, bdc, cta -> sdt`. Rank i is the bond in front of core i; the first closes the ring.
    | TensorChain of ranks: int list
    /// Hierarchical Tucker over any dimension tree: `sa, db, abe, tc, ud, cde -> sdtu`.
    | HierarchicalTucker of DimTree
    /// Block-term decomposition with equal ranks: `sax, dbx, tcx, abcx -> sdt`, a sum over x of Tucker networks.
    | BlockTerm of blocks: int * ranks: int list
    /// TT-matrix of a matrix (m, n) with m = Π rows and n = Π columns: core k carries row factor k and column factor k. Output: all row
    /// factors, then all column factors.
    | TensorTrainMatrix of rows: int list * columns: int list * ranks: int list
    /// The tensor itself, one core: `sdt -> sdt`. Rounded to few bits it is what other formats are held against.
    | Dense

/// <summary>Names of formats, and their networks over a shape.</summary>
[<RequireQualifiedAccess>]
module Format =
    /// <summary>The format's name without its ranks, as errors print it.</summary>
    /// <example><code>Format.name (Format.CP 3) // "CP"</code></example>
    let name format =
        Argument.notNull (nameof format) format

        match format with
        | Format.CP _ -> "CP"
        | Format.Tucker _ -> "Tucker"
        | Format.Tucker2 _ -> "Tucker-2"
        | Format.TensorTrain _ -> "Tensor train"
        | Format.TensorChain _ -> "Tensor chain"
        | Format.HierarchicalTucker _ -> "Hierarchical Tucker"
        | Format.BlockTerm _ -> "Block-term"
        | Format.TensorTrainMatrix _ -> "TT-matrix"
        | Format.Dense -> "Dense"

    let private modes, private bond, private bonds =
        FormatLayout.modes, FormatLayout.bond, FormatLayout.bonds

    let private order name (expected: string) fits (shape: int list) =
        [
            if not (fits shape.Length) then
                FormatError.WrongOrder(name, shape.Length, expected)
        ]

    let private rankCount name expected (ranks: int list) =
        [
            if ranks.Length <> expected then
                FormatError.WrongRankCount(name, ranks.Length, expected)
        ]

    let private positive name (what: string) (ranks: int list) =
        [
            for i, rank in List.indexed ranks do
                if rank < 1 then
                    FormatError.RankOutOfRange(
                        name,
                        (if ranks.Length = 1 then what else $"{what} {i + 1}"),
                        rank,
                        System.Int32.MaxValue,
                        "a rank is at least 1"
                    )
        ]

    let private cp rank (shape: int list) =
        let r = Axis "r"
        let modes = modes shape

        { Modes = modes; Bonds = [ r, rank ]; Cores = modes |> List.map (fun (axis, _) -> [ axis; r ]) }

    let private tucker ranks (shape: int list) =
        let modes, bonds = modes shape, bonds ranks

        {
            Modes = modes
            Bonds = bonds
            Cores = List.map2 (fun (m, _) (b, _) -> [ m; b ]) modes bonds @ [ List.map fst bonds ]
        }

    let private tucker2 first last (shape: int list) =
        let modes, bonds = modes shape, bonds [ first; last ]
        let a, b = fst bonds[0], fst bonds[1]
        let axes = List.map fst modes
        let middle = axes[1 .. axes.Length - 2]

        {
            Modes = modes
            Bonds = bonds
            Cores = [ [ axes.Head; a ]; a :: b :: middle; [ List.last axes; b ] ]
        }

    let private train ranks (shape: int list) =
        let modes, bonds = modes shape, bonds ranks
        let ends = FormatLayout.neighbours (List.map fst bonds)

        {
            Modes = modes
            Bonds = bonds
            Cores = List.map2 (fun (axis, _) (before, after) -> before @ [ axis ] @ after) modes ends
        }

    let private chain ranks (shape: int list) =
        let modes, bonds = modes shape, bonds ranks
        let n = modes.Length

        {
            Modes = modes
            Bonds = bonds
            Cores = modes |> List.mapi (fun i (axis, _) -> [ bond i; axis; bond ((i + 1) % n) ])
        }

    let private hierarchical tree (shape: int list) =
        let modes = modes shape
        let mutable count = 0
        let mutable links = []

        // Children before their node; the bond to the parent last.
        let rec visit (up: Axis list) tree =
            match tree with
            | DimTree.Mode mode -> [ fst modes[mode] :: up ]
            | DimTree.Split children ->
                let named =
                    children
                    |> List.map (fun (rank, child) ->
                        let axis = bond count
                        count <- count + 1
                        links <- (axis, rank) :: links
                        axis, child)

                (named |> List.collect (fun (axis, child) -> visit [ axis ] child)) @ [ List.map fst named @ up ]

        let cores = visit [] tree

        { Modes = modes; Bonds = List.rev links; Cores = cores }

    let private blockTerm blocks ranks (shape: int list) =
        let x = Axis "x"
        let modes, bonds = modes shape, bonds ranks

        {
            Modes = modes
            Bonds = (x, blocks) :: bonds
            Cores = List.map2 (fun (m, _) (b, _) -> [ m; b; x ]) modes bonds @ [ List.map fst bonds @ [ x ] ]
        }

    let private trainMatrix (rows: int list) (columns: int list) ranks =
        let rowModes = rows |> List.mapi (fun i n -> Axis $"m{i}", n)
        let columnModes = columns |> List.mapi (fun i n -> Axis $"n{i}", n)
        let bonds = bonds ranks
        let ends = FormatLayout.neighbours (List.map fst bonds)

        {
            Modes = rowModes @ columnModes
            Bonds = bonds
            Cores = List.map3 (fun (m, _) (n, _) (before, after) -> before @ [ m; n ] @ after) rowModes columnModes ends
        }

    let private dense (shape: int list) =
        let modes = modes shape
        { Modes = modes; Bonds = []; Cores = [ List.map fst modes ] }

    /// What must hold before there is a network: numbers of modes and ranks.
    let private wellFormed (shape: int list) format =
        let name = name format
        let n = shape.Length
        let atLeast least = order name $"at least {least}" (fun found -> found >= least) shape

        match format with
        | Format.CP rank -> atLeast 2 @ positive name "rank" [ rank ]
        | Format.Tucker ranks -> atLeast 2 @ rankCount name n ranks @ positive name "rank" ranks
        | Format.Tucker2(first, last) -> atLeast 3 @ positive name "first rank" [ first ] @ positive name "last rank" [ last ]
        | Format.TensorTrain ranks -> atLeast 2 @ rankCount name (n - 1) ranks @ positive name "rank" ranks
        | Format.TensorChain ranks -> atLeast 2 @ rankCount name n ranks @ positive name "rank" ranks
        | Format.BlockTerm(blocks, ranks) ->
            atLeast 2
            @ rankCount name n ranks
            @ positive name "number of blocks" [ blocks ]
            @ positive name "rank" ranks
        | Format.HierarchicalTucker tree ->
            [
                yield! atLeast 2
                if List.sort (DimTree.modes tree) <> [ 0 .. n - 1 ] then
                    FormatError.BadTree(List.sort (DimTree.modes tree), n)
                if DimTree.isNarrow tree then
                    FormatError.NarrowTree
                yield! positive name "rank" (DimTree.ranks tree)
            ]
        | Format.TensorTrainMatrix(rows, columns, ranks) ->
            let product dims = List.fold (fun p k -> p * int64 k) 1L dims

            [
                yield! order name "2" ((=) 2) shape
                if rows.Length <> columns.Length || rows.IsEmpty then
                    FormatError.UnequalSplits(rows.Length, columns.Length)
                if n = 2 && product rows <> int64 shape[0] then
                    FormatError.WrongSplit("rows", rows, shape[0])
                if n = 2 && product columns <> int64 shape[1] then
                    FormatError.WrongSplit("columns", columns, shape[1])
                yield! rankCount name (max 0 (rows.Length - 1)) ranks
                yield! positive name "rank" ranks
            ]
        | Format.Dense -> atLeast 1

    let private layout (shape: int list) format =
        match format with
        | Format.CP rank -> cp rank shape
        | Format.Tucker ranks -> tucker ranks shape
        | Format.Tucker2(first, last) -> tucker2 first last shape
        | Format.TensorTrain ranks -> train ranks shape
        | Format.TensorChain ranks -> chain ranks shape
        | Format.HierarchicalTucker tree -> hierarchical tree shape
        | Format.BlockTerm(blocks, ranks) -> blockTerm blocks ranks shape
        | Format.TensorTrainMatrix(rows, columns, ranks) -> trainMatrix rows columns ranks
        | Format.Dense -> dense shape

    /// <summary>The network of a format over a tensor of the given shape, each dimension at least 1.</summary>
    /// <remarks>Errors: every case of <c>FormatError</c>; ranks outside what is admissible are named with their bound.</remarks>
    /// <example><code>Format.spec [ 4; 9; 5 ] (Format.CP 3) // Ok: sr, dr, tr -> sdt</code></example>
    let spec (shape: int list) (format: Format) : Result<Spec, FormatError list> =
        Argument.notNull (nameof shape) shape
        Argument.notNull (nameof format) format

        let bad =
            [
                for i, n in List.indexed shape do
                    if n < 1 then
                        FormatError.NonPositiveMode(i, n)
            ]

        match bad @ wellFormed shape format with
        | [] ->
            let layout = layout shape format

            match FormatLayout.refused (name format) layout with
            | [] ->
                let cores = layout.Cores |> List.mapi (fun i axes -> { Name = Spec.positionName i; Axes = axes })

                match Spec.create (layout.Modes @ layout.Bonds) cores (List.map fst layout.Modes) with
                | Ok spec -> Ok spec
                | Error errors -> invalidOp (String.concat "; " (errors |> List.map _.Message))
            | errors -> Error errors
        | errors -> Error errors
