namespace TensorNets.CSharp;

/// <summary>The named networks without ranks, for which <see cref="TensorNetwork.FactorizeToBound"/> finds them.</summary>
public static class Families
{
    /// <summary>CP: the rank by search.</summary>
    public static FormatFamily Cp => FormatFamily.CP;

    /// <summary>Tucker: the ranks by truncation.</summary>
    public static FormatFamily Tucker => FormatFamily.Tucker;

    /// <summary>Tucker-2: the two ranks by truncation.</summary>
    public static FormatFamily Tucker2 => FormatFamily.Tucker2;

    /// <summary>Tensor train: the ranks by truncation.</summary>
    public static FormatFamily TensorTrain => FormatFamily.TensorTrain;

    /// <summary>Tensor chain (tensor ring) of three modes or more.</summary>
    public static FormatFamily TensorChain => FormatFamily.TensorChain;

    /// <summary>Hierarchical Tucker over a dimension tree, from <see cref="Mode"/> and <see cref="Split"/>.</summary>
    /// <param name="tree">The groups of modes.</param>
    public static FormatFamily HierarchicalTucker(ModeTree tree) => FormatFamily.NewHierarchicalTucker(tree);

    /// <summary>A leaf of a dimension tree: one mode, counted from 0.</summary>
    /// <param name="mode">Counted from 0.</param>
    public static ModeTree Mode(int mode) => ModeTree.NewMode(mode);

    /// <summary>A node of a dimension tree: two or more groups.</summary>
    /// <param name="children">The groups.</param>
    public static ModeTree Split(params IReadOnlyList<ModeTree> children) => ModeTree.NewSplit([.. children]);
}
