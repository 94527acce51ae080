namespace TensorNets.CSharp;

/// <summary>The named networks. For a convolution kernel the modes are input channels, kernel positions, output channels.</summary>
public static class Formats
{
    /// <summary>CP: T = Σ_r a_r ∘ b_r ∘ c_r.</summary>
    public static Format Cp(int rank) => Format.NewCP(rank);

    /// <summary>Tucker-2 of a tensor of three modes, the middle one kept whole.</summary>
    public static Format Tucker2(int first, int last) => Format.NewTucker2(first, last);

    /// <summary>Tensor chain (tensor ring): rank i is the bond in front of core i; the first closes the ring.</summary>
    public static Format TensorChain(params IReadOnlyList<int> ranks) => Format.NewTensorChain([.. ranks]);
}

/// <summary>How far a network may be from its target, in the Frobenius norm.</summary>
public static class ErrorBounds
{
    /// <summary>‖K − T‖ ≤ δ.</summary>
    public static ErrorBound Absolute(double delta) => ErrorBound.NewAbsolute(delta);

    /// <summary>‖K − T‖ ≤ ε ‖K‖.</summary>
    public static ErrorBound Relative(double epsilon) => ErrorBound.NewRelative(epsilon);
}
