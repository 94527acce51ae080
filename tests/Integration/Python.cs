namespace TensorNets.Integration;

/// <summary>Debian's Python, beside the scripts of docs/samples.</summary>
internal static class Python
{
    private const string Program = "/usr/bin/python3";

    /// <summary>Where its scripts are.</summary>
    internal static readonly string Folder = Repository.At("docs", "samples");

    /// <summary>Ends the test as skipped where there is no such module; the Debian package that brings it is named.</summary>
    internal static void SkipWithout(string module, string package)
    {
        if (!File.Exists(Program)) Expect.Skip($"there is no {Program}");
        if (Start($"import {module}").Code != 0) Expect.Skip($"Python has no {module}; Debian's package is {package}");
    }

    /// <summary>What code prints; it must end well.</summary>
    internal static string Run(string code, params string[] arguments)
    {
        var (exit, output, errors) = Start(code, arguments);
        Expect.True(exit == 0, errors);
        return output;
    }

    private static (int Code, string Output, string Errors) Start(string code, params string[] arguments) =>
        Command.Run(Folder, Program, ["-B", "-c", code, .. arguments]);
}
