using System.Diagnostics;

namespace TensorNets.Integration;

/// <summary>Programs that tests run.</summary>
internal static class Command
{
    /// <summary>Runs a program in a folder to its end; returns exit code and what it has printed.</summary>
    internal static (int Code, string Output, string Errors) Run(
        string folder, string program, string[] arguments, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.Result);
    }
}
