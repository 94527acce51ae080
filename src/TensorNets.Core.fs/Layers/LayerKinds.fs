namespace TensorNets

open TorchSharp

/// <summary>A linear layer whose weight is a tensor network.</summary>
[<Sealed>]
type FactorizedLinear internal (plan', cores, bias', trained) =
    inherit FactorizedLayer("FactorizedLinear", plan', cores, bias', trained)

    /// <summary>The dense layer with the same weight.</summary>
    member this.ToLinear() = this.ToDense() :?> Modules.Linear

/// <summary>A one-dimensional convolution whose kernel is a tensor network.</summary>
[<Sealed>]
type FactorizedConv1d internal (plan', cores, bias', trained) =
    inherit FactorizedLayer("FactorizedConv1d", plan', cores, bias', trained)

    /// <summary>The dense layer with the same kernel.</summary>
    member this.ToConv1d() = this.ToDense() :?> Modules.Conv1d

/// <summary>A two-dimensional convolution whose kernel is a tensor network.</summary>
[<Sealed>]
type FactorizedConv2d internal (plan', cores, bias', trained) =
    inherit FactorizedLayer("FactorizedConv2d", plan', cores, bias', trained)

    /// <summary>The dense layer with the same kernel.</summary>
    member this.ToConv2d() = this.ToDense() :?> Modules.Conv2d

    /// Multiplications and additions for one image of the given height and width, without bias.
    member _.Flops(height: int64, width: int64) = base.Flops [| height; width |]

/// <summary>A three-dimensional convolution whose kernel is a tensor network.</summary>
[<Sealed>]
type FactorizedConv3d internal (plan', cores, bias', trained) =
    inherit FactorizedLayer("FactorizedConv3d", plan', cores, bias', trained)

    /// <summary>The dense layer with the same kernel.</summary>
    member this.ToConv3d() = this.ToDense() :?> Modules.Conv3d

/// <summary>A transposed one-dimensional convolution whose kernel is a tensor network.</summary>
[<Sealed>]
type FactorizedConvTranspose1d internal (plan', cores, bias', trained) =
    inherit FactorizedLayer("FactorizedConvTranspose1d", plan', cores, bias', trained)

    /// <summary>The dense layer with the same kernel.</summary>
    member this.ToConvTranspose1d() = this.ToDense() :?> Modules.ConvTranspose1d

/// <summary>A transposed two-dimensional convolution whose kernel is a tensor network.</summary>
[<Sealed>]
type FactorizedConvTranspose2d internal (plan', cores, bias', trained) =
    inherit FactorizedLayer("FactorizedConvTranspose2d", plan', cores, bias', trained)

    /// <summary>The dense layer with the same kernel.</summary>
    member this.ToConvTranspose2d() = this.ToDense() :?> Modules.ConvTranspose2d

/// <summary>An embedding whose table is a tensor network: for tokens of any shape their rows, tokens × features.</summary>
/// <remarks><para>y[i, :] = T[tokens[i], :]. A token is written in digits, one for each axis of the network that stands for tokens; the
/// slices of the cores at the digits are gathered and contracted: rows are made for the tokens asked for, and the table never is.
/// Gradients reach what those rows are made of, and none comes from the row of <c>padding_idx</c>, which is zero.</para>
/// <para>Tokens are Int64 or Int32. The network may have up to twice as many rows as there are tokens; none asks for
/// those.</para></remarks>
[<Sealed>]
type FactorizedEmbedding internal (plan', cores, bias', trained) =
    inherit FactorizedLayer("FactorizedEmbedding", plan', cores, bias', trained)

    /// <summary>The dense layer with the same table.</summary>
    member this.ToEmbedding() = this.ToDense() :?> Modules.Embedding

    /// The token whose row is zero and has no gradient, if there is one.
    member this.PaddingIdx: System.Nullable<int64> = this.Geometry.PaddingIdx |> Option.toNullable
