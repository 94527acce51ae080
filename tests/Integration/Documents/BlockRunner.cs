namespace TensorNets.Integration;

/// <summary>Compiles and runs blocks of code as a reader would: C# as the Program.cs of a new console project, F# as a script.</summary>
internal static class BlockRunner
{
    /// <summary>What <c>dotnet new console</c> opens unasked.</summary>
    private const string ImplicitUsings = """
        global using System;
        global using System.Collections.Generic;
        global using System.IO;
        global using System.Linq;
        global using System.Threading;
        global using System.Threading.Tasks;
        """;

    /// <summary>
    /// Compiles by the SDK's compiler against what this program has loaded and runs the result in a folder of its own, where the files
    /// beside this program that it needs are to be found; returns exit code and text.
    /// </summary>
    internal static (int ExitCode, string Text) CSharp(string code, params string[] needs) => TempFolder.With(folder =>
    {
        var program = Path.Combine(AppContext.BaseDirectory, $"document-{Guid.NewGuid():N}.dll");

        try
        {
            File.WriteAllText(Path.Combine(folder, "Usings.cs"), ImplicitUsings);
            File.WriteAllText(Path.Combine(folder, "Program.cs"), code);
            var assemblies = (string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!;
            var references = assemblies.Split(Path.PathSeparator).Select(path => $"-r:\"{path}\"");
            File.WriteAllLines(Path.Combine(folder, "compile.rsp"), [
                "-nologo", "-nullable:enable", "-langversion:latest", $"-out:\"{program}\"", "Usings.cs", "Program.cs", .. references,
            ]);
            var compiled = Run(folder, [Compiler(), "-noconfig", "@compile.rsp"]);
            if (compiled.ExitCode != 0) return compiled;
            var settings = Path.Combine(AppContext.BaseDirectory, typeof(BlockRunner).Assembly.GetName().Name!);
            foreach (var file in needs) File.CreateSymbolicLink(Path.Combine(folder, file), Path.Combine(AppContext.BaseDirectory, file));
            string[] host = ["exec", "--depsfile", $"{settings}.deps.json", "--runtimeconfig", $"{settings}.runtimeconfig.json"];
            return Run(folder, [.. host, program]);
        }
        finally
        {
            File.Delete(program);
        }
    });

    /// <summary>Runs a script beside the libraries of docs/host; its own references to packages make way for them.</summary>
    internal static (int ExitCode, string Text) FSharp(string host, string code) => TempFolder.With(folder =>
    {
        string[] libraries = ["TorchSharp.dll", "TensorNets.Core.dll"];
        var references = libraries.Select(library => $"#r @\"{Path.Combine(host, library)}\"");
        var script = references.Concat(code.Split('\n').Where(line => !line.StartsWith("#r \"nuget:")));
        File.WriteAllLines(Path.Combine(folder, "block.fsx"), script);
        return Run(folder, ["fsi", "--quiet", "--nologo", "block.fsx"]);
    });

    /// <summary>Runs a script as it lies in the repository, with the packages that it asks for.</summary>
    internal static (int ExitCode, string Text) Script(string path) => Run(Repository.Root, ["fsi", "--quiet", "--nologo", path]);

    /// <summary>The C# compiler of the newest SDK beside the runtime that runs this program.</summary>
    private static string Compiler()
    {
        var runtime = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        var sdks = Path.GetFullPath(Path.Combine(runtime, "..", "..", "..", "sdk"));
        var compilers = Directory.EnumerateFiles(sdks, "csc.dll", SearchOption.AllDirectories).Where(path => path.Contains("bincore"));
        return compilers.Max()
            ?? throw new FileNotFoundException($"There is no C# compiler under {sdks}.");
    }

    private static (int ExitCode, string Text) Run(string folder, string[] arguments)
    {
        var (code, output, errors) = Command.Run(folder, "dotnet", arguments);
        return (code, code == 0 ? output : $"{output}\n{errors}");
    }
}
