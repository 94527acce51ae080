namespace TensorNets.CSharp;

/// <summary>The named networks. For a convolution kernel the modes are input channels, kernel positions, output channels.</summary>
public static class Formats
{
    /// <summary>CP: T = Σ_r a_r ∘ b_r ∘ c_r.</summary>
    /// <param name="rank">The number of terms.</param>
    public static Format Cp(int rank) => Format.NewCP(rank);

    /// <summary>Tucker: one rank for each mode.</summary>
    /// <param name="ranks">One for each mode.</param>
    public static Format Tucker(params IReadOnlyList<int> ranks) => Format.NewTucker([.. ranks]);

    /// <summary>Tucker-2: only the first and the last mode are compressed.</summary>
    /// <param name="first">The rank of the first mode.</param>
    /// <param name="last">The rank of the last mode.</param>
    public static Format Tucker2(int first, int last) => Format.NewTucker2(first, last);

    /// <summary>Tensor train: one rank for each bond between neighbours.</summary>
    /// <param name="ranks">One fewer than there are modes.</param>
    public static Format TensorTrain(params IReadOnlyList<int> ranks) => Format.NewTensorTrain([.. ranks]);

    /// <summary>Block-term decomposition with equal ranks: a sum of Tucker networks.</summary>
    /// <param name="blocks">The number of terms.</param>
    /// <param name="ranks">One for each mode, the same in every term.</param>
    public static Format BlockTerm(int blocks, params IReadOnlyList<int> ranks) => Format.NewBlockTerm(blocks, [.. ranks]);

    /// <summary>Hierarchical Tucker over a dimension tree, from <see cref="Mode"/> and <see cref="Split"/>.</summary>
    /// <param name="tree">The groups of modes and the ranks between them.</param>
    public static Format HierarchicalTucker(DimTree tree) => Format.NewHierarchicalTucker(tree);

    /// <summary>A leaf of a dimension tree: one mode, counted from 0.</summary>
    /// <param name="mode">Counted from 0.</param>
    public static DimTree Mode(int mode) => DimTree.NewMode(mode);

    /// <summary>A node of a dimension tree: two or more groups, each with the rank of the bond that joins it.</summary>
    /// <param name="children">The groups.</param>
    public static DimTree Split(params IReadOnlyList<(int Rank, DimTree Tree)> children) =>
        DimTree.NewSplit([.. children.Select(child => Tuple.Create(child.Rank, child.Tree))]);

    /// <summary>TT-matrix: rows and columns of a matrix split into factors, one core for each pair.</summary>
    /// <param name="rows">The factors of the number of rows.</param>
    /// <param name="columns">The factors of the number of columns, as many.</param>
    /// <param name="ranks">One fewer than there are factors.</param>
    public static Format TensorTrainMatrix(IReadOnlyList<int> rows, IReadOnlyList<int> columns, params IReadOnlyList<int> ranks) =>
        Format.NewTensorTrainMatrix([.. rows], [.. columns], [.. ranks]);

    /// <summary>The tensor itself, one core, which few bits make smaller.</summary>
    public static Format Dense { get; } = Format.Dense;

    /// <summary>Tensor chain (tensor ring): rank i is the bond in front of core i; the first closes the ring.</summary>
    /// <param name="ranks">One for each mode.</param>
    public static Format TensorChain(params IReadOnlyList<int> ranks) => Format.NewTensorChain([.. ranks]);
}
