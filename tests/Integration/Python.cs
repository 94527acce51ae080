using System.Diagnostics;

namespace TensorNets.Integration;

/// <summary>Debian's Python, beside the scripts of docs/samples.</summary>
internal static class Python
{
    private const string Program = "/usr/bin/python3";

    /// <summary>Where its scripts are.</summary>
    internal static readonly string Folder = Path.Combine(DocumentTests.Root, "docs", "samples");

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

    private static (int Code, string Output, string Errors) Start(string code, params string[] arguments)
    {
        var start = new ProcessStartInfo(Program, ["-B", "-c", code, .. arguments])
        {
            WorkingDirectory = Folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.Result);
    }
}
