using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace TensorNets.Integration.Packages;

/// <summary>What a program has said, its exit code, and how long it took.</summary>
internal sealed record Said(int Code, string Output, TimeSpan Time);

/// <summary>Somebody with the SDK, an empty home and our packages in a folder.</summary>
internal sealed class Stranger : IDisposable
{
    /// <summary>No command takes as long; a cold cache takes a minute or two.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(6);

    private readonly string _folder = Directory.CreateTempSubdirectory("tensornets").FullName;

    internal Stranger()
    {
        Directory.CreateDirectory(Home);
        Must(Pack(Feed));
        var sources = Must(Run(Repository, "dotnet", ["nuget", "list", "source", "--format", "short"], ownHome: true)).Output.Split('\n')
            .Where(line => line.StartsWith("E ", StringComparison.Ordinal)).Select((line, i) => $"<add key=\"source{i}\" value=\"{line[2..].Trim()}\" />");
        var cache = Must(Run(Repository, "dotnet", ["nuget", "locals", "global-packages", "--list"], ownHome: true)).Output.Split(": ")[1].Trim();
        var fallback = Environment.GetEnvironmentVariable("TENSORNETS_EMPTY_CACHE") == "1" ? "" : $"<add key=\"cache\" value=\"{cache}\" />";
        File.WriteAllText(Path.Combine(_folder, "NuGet.config"), $"""
            <configuration>
              <packageSources><clear /><add key="feed" value="{Feed}" />{string.Concat(sources)}</packageSources>
              <fallbackPackageFolders><clear />{fallback}</fallbackPackageFolders>
            </configuration>
            """);
    }

    /// <summary>The root of this repository.</summary>
    internal static string Repository { get; } = Root();

    /// <summary>The folder with our packages.</summary>
    internal string Feed => Path.Combine(_folder, "feed");

    private string Home => Path.Combine(_folder, "home");

    /// <summary>A new folder for a project.</summary>
    internal string Folder(string name) => Directory.CreateDirectory(Path.Combine(_folder, name)).FullName;

    /// <summary>Packs the libraries into a folder.</summary>
    internal Said Pack(string folder) => Run(Repository, "bash", ["build.sh", "pack", folder], ownHome: true);

    /// <summary>Packs the command for this system into a folder.</summary>
    internal Said PackTool(string folder) =>
        Run(Repository, "env", ["TENSORNETS_SYSTEMS=linux-x64", "bash", "build.sh", "pack-tool", folder], ownHome: true);

    /// <summary>What a command in a folder says; the home is the empty one.</summary>
    internal Said Dotnet(string folder, params string[] arguments) => Run(folder, "dotnet", arguments, ownHome: false);

    /// <summary>What a program says that needs no SDK.</summary>
    internal Said Program(string file, params string[] arguments) => Run(Path.GetDirectoryName(file)!, file, arguments, ownHome: false);

    /// <summary>The same, if the command went well.</summary>
    internal static Said Must(Said said) => said.Code == 0 ? said : throw new Expecto.AssertException($"exit code {said.Code}: {said.Output}");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private Said Run(string folder, string program, string[] arguments, bool ownHome)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["DOTNET_NOLOGO"] = start.Environment["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1";
        start.Environment["DOTNET_GENERATE_ASPNET_CERTIFICATE"] = start.Environment["DOTNET_CLI_USE_MSBUILD_SERVER"] = "false";
        // No server outlives the test.
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        start.Environment["UseSharedCompilation"] = "false";
        if (!ownHome)
        {
            start.Environment["HOME"] = start.Environment["DOTNET_CLI_HOME"] = Home;
            foreach (var name in new[] { "NUGET_PACKAGES", "NUGET_INDEX", "XDG_DATA_HOME", "XDG_CONFIG_HOME" }) start.Environment.Remove(name);
        }

        var watch = Stopwatch.StartNew();
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(Patience))
        {
            process.Kill(entireProcessTree: true);
            throw new Expecto.AssertException($"{program} {string.Join(" ", arguments)} did not end in {Patience}: {output.Result}");
        }

        return new Said(process.ExitCode, output.Result + errors.Result, watch.Elapsed);
    }

    private static string Root([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", ".."));
}
