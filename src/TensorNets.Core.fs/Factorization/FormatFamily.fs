namespace TensorNets

/// <summary>A named network without its ranks, for which a bound on the error finds them (<c>Factorize.toBound</c>).</summary>
[<RequireQualifiedAccess>]
type FormatFamily =
    /// <summary><c>Format.CP</c>.</summary>
    | CP
    /// <summary><c>Format.Tucker</c>.</summary>
    | Tucker
    /// <summary><c>Format.Tucker2</c>.</summary>
    | Tucker2
    /// <summary><c>Format.TensorTrain</c>.</summary>
    | TensorTrain
    /// <summary><c>Format.TensorChain</c>; three modes or more.</summary>
    | TensorChain
    /// <summary><c>Format.HierarchicalTucker</c>.</summary>
    | HierarchicalTucker of ModeTree

/// <summary>From a family to a format with ranks.</summary>
[<RequireQualifiedAccess>]
module FormatFamily =
    /// <summary>The family's format over a tensor of <c>modes</c> modes with every rank 1.</summary>
    /// <exception cref="T:System.ArgumentException">A negative number of modes.</exception>
    /// <example><code>FormatFamily.lowest 3 FormatFamily.TensorTrain // Format.TensorTrain [ 1; 1 ]</code></example>
    let lowest (modes: int) (family: FormatFamily) : Format =
        Argument.notNull (nameof family) family

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
