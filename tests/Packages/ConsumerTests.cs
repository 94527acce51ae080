using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Packages;

/// <summary>What a stranger does with the packages: the readme's quick start in a fresh C# console, a fresh F# console and a fresh script.</summary>
internal static partial class ConsumerTests
{
    private const string Library = "libLibTorchSharp.so";

    internal static Test All(Lazily<Stranger> stranger) => TestSequenced(TestList("consumers", [
        TestCase("a fresh C# console runs the quick start, and again after a second build", () =>
        {
            var folder = Console(stranger.Value, "csharp", "C#", "TensorNets.CSharp");
            File.WriteAllText(Path.Combine(folder, "Program.cs"), QuickStart("csharp"));
            Runs(stranger.Value.Dotnet(folder, "run", "-c", "Release"), "csharp");
            var before = Mended(folder);
            Stranger.Must(stranger.Value.Dotnet(folder, "build", "-c", "Release", "--no-restore"));
            Expect.SequenceEqual(before, Mended(folder));
            Runs(stranger.Value.Dotnet(folder, "run", "-c", "Release", "--no-build"), "csharp");
        }),
        TestCase("published for one system as a single file it runs there", () =>
        {
            if (!OperatingSystem.IsLinux()) Expect.Skip("published for linux-x64");
            var folder = Path.Combine(stranger.Value.Folder("csharp"));
            Stranger.Must(stranger.Value.Dotnet(folder, "publish", "-c", "Release", "-r", "linux-x64", "--self-contained", "false", "-p:PublishSingleFile=true", "-o", "out"));
            Runs(stranger.Value.Program(Path.Combine(folder, "out", "csharp-app")), "csharp");
        }),
        TestCase("with the mending off, a system that needs it is told in two lines what is missing and what to do", () =>
        {
            var folder = stranger.Value.Folder("csharp");
            File.WriteAllText(Path.Combine(folder, "Program.cs"), FirstCallIsOurs);
            var said = stranger.Value.Dotnet(folder, "run", "-c", "Debug", "-p:TensorNetsMendNative=false");
            if (said.Code == 0) Expect.Skip("this system's libstdc++ is new enough");
            Expect.True(Regex.IsMatch(said.Output, @"GLIBCXX_3\.4\.32.*\n.*TensorNetsMendNative"), said.Output);
        }),
        TestCase("without a libtorch the build warns, and the first call says in two lines what is missing and what to add", () =>
        {
            var folder = stranger.Value.Folder("csharp");
            var project = Directory.GetFiles(folder, "*.csproj").Single();
            File.WriteAllText(project, Regex.Replace(File.ReadAllText(project), @"<PackageReference Include=""TorchSharp-cpu""[^>]*/>", ""));
            Directory.Delete(Path.Combine(folder, "bin"), recursive: true);
            var built = Stranger.Must(stranger.Value.Dotnet(folder, "build", "-c", "Debug"));
            Expect.True(built.Output.Contains("TENSORNETS001") && built.Output.Contains("dotnet add package TorchSharp-cpu"), built.Output);
            var said = stranger.Value.Dotnet(folder, "run", "-c", "Debug", "--no-build");
            Expect.Equal(1, said.Code);
            Expect.True(Regex.IsMatch(said.Output, @"libtorch is missing.*\n.*dotnet add package TorchSharp-cpu"), said.Output);
        }),
        TestCase("in a clone of this repository the project of README's first command restores, with a home that has no tools", () =>
        {
            var clone = Path.Combine(stranger.Value.Folder("own"), "clone");
            Stranger.Must(stranger.Value.Program("/usr/bin/env", "git", "clone", "--quiet", Stranger.Repository, clone));
            Stranger.Must(stranger.Value.Dotnet(clone, "restore", "docs/samples/Transfer", "--verbosity", "quiet"));
            Expect.True(File.Exists(Path.Combine(clone, "paket-files", "tools.restored")), "the tools were not restored");
        }),
        TestCase("a fresh F# console runs the quick start", () =>
        {
            var folder = Console(stranger.Value, "fsharp", "F#", "TensorNets.Core");
            File.WriteAllText(Path.Combine(folder, "Program.fs"), QuickStart("fsharp"));
            Runs(stranger.Value.Dotnet(folder, "run", "-c", "Release"), "fsharp");
        }),
        TestCase("a fresh script whose first call is ours runs the quick start, twice", () =>
        {
            var script = Path.Combine(stranger.Value.Folder("script"), "start.fsx");
            var version = Regex.Match(Directory.GetFiles(stranger.Value.Feed, "TensorNets.Core.*.nupkg").Single(), @"Core\.(.*)\.nupkg").Groups[1].Value;
            File.WriteAllText(script, ScriptHead(version) + QuickStart("fsharp"));
            for (var i = 0; i < 2; i++) Runs(stranger.Value.Dotnet(Path.GetDirectoryName(script)!, "fsi", "--quiet", script), "fsharp");
        }),
    ]));

    /// <summary>The first lines of a script, as the page on troubles has them.</summary>
    private static string ScriptHead(string version)
    {
        var page = File.ReadAllText(Path.Combine(Stranger.Repository, "docs", "troubleshooting.md"));
        var head = FirstScript().Match(page).Groups["code"].Value;
        Expect.True(head.Contains("#r \"nuget: TensorNets.Core"), "the page on troubles has no script");
        return head.Replace("nuget: TensorNets.Core", $"nuget: TensorNets.Core, {version}") + "\n";
    }

    /// <summary>A program that asks TensorNets before torch.</summary>
    private const string FirstCallIsOurs = """
        try
        {
            TensorNets.CSharp.Native.Check();
            return 0;
        }
        catch (TensorNets.TensorNetException error) when (error.Errors.All(found => found.IsNativeLibrary))
        {
            Console.WriteLine(error.Message);
            return 1;
        }
        """;

    /// <summary>Not a fenced block: the program that makes the site would ask a feed for the packages.</summary>
    [GeneratedRegex("<pre><code>(?<code>#r .*?)</code></pre>", RegexOptions.Singleline)]
    private static partial Regex FirstScript();

    private static string Readme => File.ReadAllText(Path.Combine(Stranger.Repository, "README.md"));

    /// <summary>The first block of a language in the readme.</summary>
    private static string QuickStart(string language) => Regex.Match(Readme, $"```{language}\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;

    /// <summary>What it prints there, up to the first number that another processor may round otherwise.</summary>
    private static string Printed(string language) =>
        Regex.Match(Readme, $"```{language}\n.*?```text\n(.*?=)", RegexOptions.Singleline).Groups[1].Value;

    private static void Runs(Said said, string language)
    {
        Stranger.Must(said);
        Expect.True(Printed(language).Length > 2, "the readme says nothing of what is printed");
        Expect.True(said.Output.Contains(Printed(language), StringComparison.Ordinal), said.Output);
        System.Console.WriteLine($"    {language}: {said.Time.TotalSeconds:F0} s");
    }

    /// <summary>A fresh project with a package and a libtorch, made as the readme says.</summary>
    private static string Console(Stranger stranger, string name, string language, string package)
    {
        var folder = stranger.Folder(name);
        var made = Stranger.Must(stranger.Dotnet(folder, "new", "console", "--language", language, "--name", $"{name}-app", "--output", ".")).Time;
        foreach (var added in new[] { package, "TorchSharp-cpu" }) made += Stranger.Must(stranger.Dotnet(folder, "add", "package", added)).Time;
        System.Console.WriteLine($"    {language}: project and packages in {made.TotalSeconds:F0} s");
        return folder;
    }

    /// <summary>The hash of the native library beside the program.</summary>
    private static byte[] Mended(string folder) =>
        Directory.EnumerateFiles(Path.Combine(folder, "bin"), Library, SearchOption.AllDirectories).Select(file => SHA256.HashData(File.ReadAllBytes(file))).FirstOrDefault() ?? [];
}
