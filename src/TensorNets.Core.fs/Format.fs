namespace TensorNets

/// <summary>The named networks, with their ranks. Each is a smart constructor of <c>Spec</c>; no format has code of its own beyond that.</summary>
/// <remarks>For a convolution kernel the modes are (s, d, t): input channels, kernel positions, output channels.</remarks>
[<RequireQualifiedAccess>]
type Format =
    /// CP: `sr, dr, tr -> sdt`. T = Σ_r a_r ∘ b_r ∘ c_r.
    | CP of rank: int
    /// Tucker-2 (TKD) of a tensor of three modes, the middle one kept whole: `sa, abd, tb -> sdt`.
    | Tucker2 of first: int * last: int
    /// Tensor chain (TC, tensor ring): `asb, bdc, cta -> sdt`. Rank i is the bond in front of core i; the first closes the ring.
    | TensorChain of ranks: int list

[<RequireQualifiedAccess>]
module Format =
    /// The format's name.
    let name format =
        match format with
        | Format.CP _ -> "CP"
        | Format.Tucker2 _ -> "Tucker-2"
        | Format.TensorChain _ -> "Tensor chain"

    let private modeNames = [ "s"; "d"; "t"; "u"; "v"; "w"; "x"; "y"; "z" ]

    let private mode order i = Axis(if order <= modeNames.Length then modeNames[i] else $"m{i}")

    let private bond i = Axis(if i < 12 then string (char (int 'a' + i)) else $"b{i}")

    let private core i axes = { Name = Spec.positionName i; Axes = axes }

    let private product dims = dims |> List.fold (fun p n -> p * int64 n) 1L

    let private atMost (size: int64) = int (min size (int64 System.Int32.MaxValue))

    let private checkRank name rank found largest bound =
        [
            if found < 1 || found > largest then
                FormatError.RankOutOfRange(name, rank, found, largest, bound)
        ]

    /// The product of all dimensions but one mode's.
    let private others (shape: int list) i = product (List.removeAt i shape) |> atMost

    let private build dims cores output =
        match Spec.create dims cores output with
        | Ok spec -> spec
        | Error errors -> invalidOp (String.concat "; " (errors |> List.map _.Message))

    let private orderAtLeast name least (shape: int list) =
        [
            if shape.Length < least then
                FormatError.WrongOrder(name, shape.Length, $"at least {least}")
        ]

    let private cp rank (shape: int list) =
        let name = "CP"

        // T is a sum of as many rank-one terms as the product of all dimensions but the largest.
        let largest = if shape.IsEmpty then 1 else atMost (product shape / int64 (List.max shape))

        let errors =
            orderAtLeast name 2 shape
            @ checkRank name "rank" rank largest "the product of all dimensions but the largest"

        let r = Axis "r"
        let modes = shape |> List.mapi (fun i _ -> mode shape.Length i)

        errors, fun () -> build ((r, rank) :: List.zip modes shape) (modes |> List.mapi (fun i axis -> core i [ axis; r ])) modes

    let private tucker2 first last (shape: int list) =
        let name = "Tucker-2"

        let errors =
            if shape.Length <> 3 then
                [ FormatError.WrongOrder(name, shape.Length, "3") ]
            else
                checkRank name "first rank" first shape[0] "the dimension of the first mode"
                @ checkRank name "last rank" last shape[2] "the dimension of the last mode"
                @ (if first >= 1 && last >= 1 then
                       [
                           if int64 first > int64 shape[1] * int64 last then
                               FormatError.RankOutOfRange(
                                   name,
                                   "first rank",
                                   first,
                                   atMost (int64 shape[1] * int64 last),
                                   "middle dimension times last rank"
                               )
                           if int64 last > int64 shape[1] * int64 first then
                               FormatError.RankOutOfRange(
                                   name,
                                   "last rank",
                                   last,
                                   atMost (int64 shape[1] * int64 first),
                                   "middle dimension times first rank"
                               )
                       ]
                   else
                       [])

        let s, d, t, a, b = Axis "s", Axis "d", Axis "t", Axis "a", Axis "b"

        errors,
        fun () ->
            build
                [ s, shape[0]; d, shape[1]; t, shape[2]; a, first; b, last ]
                [ core 0 [ s; a ]; core 1 [ a; b; d ]; core 2 [ t; b ] ]
                [ s; d; t ]

    let private tensorChain (ranks: int list) (shape: int list) =
        let name = "Tensor chain"
        let n = shape.Length

        let errors =
            orderAtLeast name 2 shape
            @ [
                if ranks.Length <> n then
                    FormatError.WrongRankCount(name, ranks.Length, n)
            ]
            @ (if ranks.Length <> n || n < 2 then
                   []
               else
                   [
                       for i in 0 .. n - 1 do
                           let after = ranks[(i + 1) % n]

                           // Past n_i times the other bond, the unfolding of core i along this bond cannot have full column rank.
                           yield!
                               checkRank
                                   name
                                   $"rank {i + 1}"
                                   ranks[i]
                                   (atMost (int64 shape[i] * int64 (max 1 after)))
                                   "mode dimension times the bond behind it"

                           let before = ranks[(i + n - 1) % n]
                           let previous = shape[(i + n - 1) % n]

                           yield!
                               checkRank
                                   name
                                   $"rank {i + 1}"
                                   ranks[i]
                                   (atMost (int64 previous * int64 (max 1 before)))
                                   "mode dimension in front of it times the bond in front of that"
                   ])
            |> List.distinct

        let modes = shape |> List.mapi (fun i _ -> mode n i)

        errors,
        fun () ->
            build
                (List.zip modes shape @ (ranks |> List.mapi (fun i rank -> bond i, rank)))
                (modes |> List.mapi (fun i axis -> core i [ bond i; axis; bond ((i + 1) % n) ]))
                modes

    /// <summary>The network of a format over a tensor of the given shape; ranks outside what is admissible are named with their bound.</summary>
    let spec (shape: int list) (format: Format) : Result<Spec, FormatError list> =
        let errors, make =
            match format with
            | Format.CP rank -> cp rank shape
            | Format.Tucker2(first, last) -> tucker2 first last shape
            | Format.TensorChain ranks -> tensorChain ranks shape

        let bad =
            [
                for i, n in List.indexed shape do
                    if n < 1 then
                        FormatError.NonPositiveMode(i, n)
            ]

        match bad @ errors with
        | [] -> Ok(make ())
        | errors -> Error errors
