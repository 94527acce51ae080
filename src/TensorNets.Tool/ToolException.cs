namespace TensorNets.Tool;

/// <summary>Why a command cannot do what it is asked for.</summary>
/// <param name="what">What was found, and what was expected.</param>
/// <param name="remedy">What to do about it.</param>
internal sealed class ToolException(string what, string remedy) : Exception($"{what}; {remedy}");
