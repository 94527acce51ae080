using System.Runtime.CompilerServices;

namespace TensorNets.Integration;

/// <summary>The files of this repository.</summary>
internal static class Repository
{
    /// <summary>Its root.</summary>
    internal static readonly string Root = RootOf();

    /// <summary>A path in it.</summary>
    internal static string At(params string[] parts) => Path.Combine([Root, .. parts]);

    private static string RootOf([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", ".."));
}
