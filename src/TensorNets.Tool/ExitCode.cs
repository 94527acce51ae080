namespace TensorNets.Tool;

/// <summary>What the command tells whoever started it. The page on the tool lists them.</summary>
internal static class ExitCode
{
    /// <summary>What was asked for is done.</summary>
    internal const int Done = 0;

    /// <summary>It could not be done; one line says why and what to do.</summary>
    internal const int Failed = 1;

    /// <summary>The command line is not understood.</summary>
    internal const int Usage = 2;

    /// <summary>Done in part: layers stayed dense that the plan would have factorized, or are missing.</summary>
    internal const int Incomplete = 3;

    /// <summary>Interrupted; what was finished is in the work folder.</summary>
    internal const int Interrupted = 130;
}
