namespace TensorNets.CSharp;

/// <summary>How far a network may be from its target, in the norm of the options.</summary>
public static class ErrorBounds
{
    /// <summary>‖K − T‖ ≤ δ.</summary>
    /// <param name="delta">δ, in the units of the target; not negative.</param>
    public static ErrorBound Absolute(double delta) => ErrorBound.NewAbsolute(delta);

    /// <summary>‖K − T‖ ≤ ε ‖K‖.</summary>
    /// <param name="epsilon">ε, not negative.</param>
    public static ErrorBound Relative(double epsilon) => ErrorBound.NewRelative(epsilon);
}
