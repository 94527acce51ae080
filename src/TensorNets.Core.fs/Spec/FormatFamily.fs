namespace TensorNets

/// <summary>A named network without its ranks, for which a bound on the error finds them (<c>Factorize.toBound</c>).</summary>
[<RequireQualifiedAccess>]
type FormatFamily =
    /// <c>Format.CP</c>.
    | CP
    /// <c>Format.Tucker</c>.
    | Tucker
    /// <c>Format.Tucker2</c>.
    | Tucker2
    /// <c>Format.TensorTrain</c>.
    | TensorTrain
    /// <c>Format.TensorChain</c>; three modes or more.
    | TensorChain
    /// <c>Format.HierarchicalTucker</c>.
    | HierarchicalTucker of ModeTree

[<RequireQualifiedAccess>]
module FormatFamily =
    /// <summary>The family's format over a tensor of that many modes with every rank 1.</summary>
    let lowest (modes: int) (family: FormatFamily) : Format =
        if modes < 0 then
            invalidArg (nameof modes) $"{modes} modes; expected 0 or more."

        let ones n = List.replicate n 1

        match family with
        | FormatFamily.CP -> Format.CP 1
        | FormatFamily.Tucker -> Format.Tucker(ones modes)
        | FormatFamily.Tucker2 -> Format.Tucker2(1, 1)
        | FormatFamily.TensorTrain -> Format.TensorTrain(ones (max 0 (modes - 1)))
        | FormatFamily.TensorChain -> Format.TensorChain(ones modes)
        | FormatFamily.HierarchicalTucker tree -> Format.HierarchicalTucker(DimTree.lowest tree)

    /// The network with every rank 1, or why the family does not fit the shape.
    let internal spec (shape: int list) (family: FormatFamily) : Result<Spec, FormatError list> =
        match family with
        // A ring of two cores has no start from singular value decompositions.
        | FormatFamily.TensorChain when shape.Length < 3 -> Error [ FormatError.WrongOrder("Tensor chain", shape.Length, "at least 3") ]
        | _ -> Format.spec shape (lowest shape.Length family)
