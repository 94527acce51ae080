using System.Text.RegularExpressions;
using System.Xml.Linq;
using Expecto;
using static Expecto.CSharp.Runner;
using static TensorNets.Integration.Repository;

namespace TensorNets.Integration;

/// <summary>What README, CONTRIBUTING and the pages under docs/ tell a reader to type. What the scripts among the pages compute is run when
/// the site is made; here it is the blocks in their text.</summary>
internal static partial class DocumentTests
{
    private static readonly string Host = At("docs", ".build", "DocsHost", "bin", "Release", "net10.0", "linux-x64");
    private static readonly string[] Documents = [.. DocumentPaths()];
    private static readonly List<CodeBlock> Blocks = [.. Documents.SelectMany(document => CodeBlock.Of(Root, document))];

    internal static Test All => TestList("documents", [
        TestCase("every block of C# compiles as it stands, runs, and prints what the document says", () =>
            RunAll("csharp", block => BlockRunner.CSharp(block.Text))),
        .. Blocks.Where(block => block.Needs is not null).Select(block =>
            TestCase($"the block of {block.Document} that reads {block.Needs} runs and prints what the document says", () =>
                RunWith(block, block.Needs!))),
        TestCase("every block of F# runs as a script and prints what the document says", () =>
        {
            if (!File.Exists(Path.Combine(Host, "TensorNets.Core.dll"))) Expect.Skip("docs/host is not built, which scripts refer to");
            RunAll("fsharp", block => BlockRunner.FSharp(Host, block.Text));
        }),
        TestCase("every command names a project, a mode, a verb and a package that exist", EveryCommandExists),
        TestCase("every block names its language, and one of XML can be read", EveryBlockIsKnown),
        TestCase("every link from one document to another leads to a file", EveryLinkLeadsToAFile),
        TestCase("every file of results bears the name of a table and says when and where it was measured", EveryResultIsKnown),
        TestCase("a table in Markdown of a file of results stands in a document, row by row", ResultsStandInDocuments),
        TestCase("what is printed counts as said within two per cent of each number, and not beyond", ComparisonTells),
    ]);

    private static IEnumerable<string> DocumentPaths() =>
        new[] { "README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md" }.Where(path => File.Exists(At(path)))
            .Concat(Directory.EnumerateFiles(At("docs"), "*.md").Concat(Directory.EnumerateFiles(At("docs"), "*.fsx")).Order()
                .Select(path => Path.GetRelativePath(Root, path)));

    private static void RunAll(string language, Func<CodeBlock, (int ExitCode, string Text)> run)
    {
        var blocks = Blocks.Where(block => block.Language == language && block.Excuse is null && block.Needs is null).ToList();
        Expect.True(blocks.Count > 0, $"there are no blocks of {language}");
        var faults = blocks.Select(block => Fault(block, run(block))).Where(fault => fault is not null).ToList();
        Expect.True(faults.Count == 0, string.Join("\n", faults));
    }

    /// <summary>A block of C# with a file that the build puts beside this program, where it could be fetched.</summary>
    private static void RunWith(CodeBlock block, string file)
    {
        Expect.Equal("csharp", block.Language);
        Expect.True(block.Printed is not null, $"{block.Name}: the document does not say what it prints");
        if (!File.Exists(Path.Combine(AppContext.BaseDirectory, file))) Expect.Skip($"{file} is not beside this program");
        var fault = Fault(block, BlockRunner.CSharp(block.Text, file));
        Expect.True(fault is null, fault ?? "");
    }

    private static string? Fault(CodeBlock block, (int ExitCode, string Text) ran)
    {
        var fault = ran.ExitCode != 0 ? $"ends with {ran.ExitCode}:\n{ran.Text}"
            : block.Printed is { } expected ? CodeBlock.Difference(expected, ran.Text)
            : null;
        return fault is null ? null : $"{block.Name}: {fault}";
    }

    private static void EveryCommandExists()
    {
        var faults =
            from document in Documents
            from command in CommandsIn(document)
            from fault in Faults(command)
            select $"{document}: {command}: {fault}";
        Expect.True(!faults.Any(), string.Join("\n", faults));
    }

    /// <summary>The lines of blocks of commands, and the commands of this repository in running text.</summary>
    private static IEnumerable<string> CommandsIn(string document) =>
        Blocks.Where(block => block.Document == document && block.IsCommands)
            .SelectMany(block => block.Text.Replace("\\\n", "").Split('\n'))
            .Concat(InlineCommand().Matches(File.ReadAllText(At(document))).Select(match => match.Groups[1].Value))
            .Select(line => Comment().Replace(line, "").Trim())
            .Where(line => line.Length > 0);

    private static IEnumerable<string> Faults(string command)
    {
        var words = command.Split(' ', StringSplitOptions.RemoveEmptyEntries).SkipWhile(word => Assignment().IsMatch(word)).ToArray();

        switch (words)
        {
            case ["dotnet", "run", ..]:
                var project = After(words, "--project") ?? "";
                if (!IsProject(project)) yield return $"no project {project}";
                var mode = project == "benchmarks" ? After(words, "--") : null;
                if (mode is not null && !IsMode(project, mode)) yield return $"no mode {mode}";
                break;
            case ["./build.sh", var verb, ..]:
                if (!HasLine("build.sh", $@"    {Regex.Escape(verb)}\) .*")) yield return $"no verb {verb}";
                break;
            case ["dotnet", "add", "package", var package, ..]:
                if (!IsPackage(package)) yield return $"no package {package}";
                break;
            case ["python3", var script, ..]:
                if (!File.Exists(At(script))) yield return $"no script {script}";
                break;
            case ["tensornets", var verb, ..]:
                if (!IsVerb(verb)) yield return $"no command {verb}";
                break;
            case ["dotnet", "new" or "fsi" or "build" or "publish" or "nuget" or "tool" or "restore" or "fantomas", ..]:
            case ["./build.sh"] or [".ci/run", ..]:
            case ["apt-get" or "sudo" or "git" or "cd" or "export", ..]:
                break;
            default:
                yield return "this test does not know that command";
                break;
        }
    }

    private static string? After(string[] words, string option) => words.SkipWhile(word => word != option).Skip(1).FirstOrDefault();

    private static bool IsProject(string path) =>
        Directory.Exists(At(path)) && Directory.EnumerateFiles(At(path), "*.*proj").Any();

    /// <summary>Whether the project's sources name the mode; options, and MODE for any of them, are not looked at.</summary>
    private static bool IsMode(string project, string mode) =>
        mode.StartsWith('-') || mode == "MODE" || FilesIn(project, "*.fs").Any(path => File.ReadAllText(path).Contains($"\"{mode}\""));

    private static bool IsVerb(string verb) =>
        FilesIn("src/TensorNets.Tool/Commands", "*.cs")
            .Any(path => Regex.IsMatch(File.ReadAllText(path), $@"new Command\(\s*""{Regex.Escape(verb)}"""));

    private static bool IsPackage(string name) =>
        FilesIn("src", "*.*proj").Any(path => Path.GetFileNameWithoutExtension(path) == name)
        || HasLine("paket.dependencies", $"nuget {Regex.Escape(name)}( .*)?");

    private static IEnumerable<string> FilesIn(string folder, string pattern) =>
        Directory.EnumerateFiles(At(folder), pattern, SearchOption.AllDirectories);

    private static bool HasLine(string file, string pattern) =>
        File.ReadLines(At(file)).Any(line => Regex.IsMatch(line, $"^{pattern}$"));

    private static void EveryBlockIsKnown()
    {
        string[] known = ["csharp", "fsharp", "python", "bash", "sh", "text", "xml", "json"];
        var unknown = Blocks.Where(block => !known.Contains(block.Language)).Select(block => $"{block.Name}: '{block.Language}'");
        Expect.True(!unknown.Any(), string.Join("\n", unknown));
        var asking = Blocks.Where(block => block.Document.StartsWith("docs") && block.Text.Contains("#r \"nuget:"));
        var names = string.Join(", ", asking.Select(block => block.Name));
        Expect.True(names.Length == 0, $"the program that makes the site would ask a feed for packages, use <pre><code>: {names}");
        foreach (var block in Blocks.Where(block => block.Language == "xml")) XElement.Parse($"<block>{block.Text}</block>");
    }

    private static void EveryLinkLeadsToAFile()
    {
        var broken =
            from document in Documents
            from Match match in Link().Matches(File.ReadAllText(At(document)))
            let address = match.Groups[1].Value.Split('#')[0]
            where address.Length > 0 && !address.Contains("://")
            where !Path.Exists(At(Path.GetDirectoryName(document)!, address)) && !IsPage(document, address)
            select $"{document}: {address}";
        Expect.True(!broken.Any(), string.Join("\n", broken));
    }

    /// <summary>Pages link to the site's other pages, each made from a source of the same name.</summary>
    private static bool IsPage(string document, string address)
    {
        bool HasSource(string ending) => File.Exists(At("docs", Path.ChangeExtension(address, ending)));
        return document.StartsWith("docs") && (address.StartsWith("reference/") || HasSource(".md") || HasSource(".fsx"));
    }

    private static void EveryResultIsKnown()
    {
        var program = File.ReadAllText(At("benchmarks", "Program.fs"));
        var files = FilesIn("benchmarks/results", "*.txt").ToList();
        Expect.True(files.Count > 3, $"there are {files.Count} files of results");
        foreach (var file in files)
        {
            var lines = File.ReadAllLines(file);
            var name = lines[0].Replace("# benchmarks -- ", "");
            Expect.Equal(name.Replace(' ', '-'), Path.GetFileNameWithoutExtension(file));
            Expect.True(program.Contains($"\"{name}\", "), $"benchmarks has no table {name}");
            Expect.True(Regex.IsMatch(lines[1], @"^# \d{4}-\d\d-\d\d, .+ processors, threads: "), $"{file}: {lines[1]}");
        }
    }

    private static void ResultsStandInDocuments()
    {
        var documents = Documents.Select(path => File.ReadAllText(At(path))).ToList();
        var tables = FilesIn("benchmarks/results", "*.txt")
            .Select(file => (File: file, Rows: File.ReadAllLines(file).Where(line => line.StartsWith("| ")).ToList()))
            .Where(table => table.Rows.Count > 0).ToList();
        Expect.True(tables.Count > 3, $"{tables.Count} files of results are tables in Markdown");
        var missing = tables.Where(table => !documents.Any(text => text.Contains(string.Join("\n", table.Rows))));
        Expect.True(!missing.Any(), "in no document: " + string.Join(", ", missing.Select(table => table.File)));
    }

    private static void ComparisonTells()
    {
        Expect.Equal(null, CodeBlock.Difference("S = 1,000.0, 5 of 7", "S =  1010, 5\nof 7"));
        Expect.True(CodeBlock.Difference("S = 1000", "S = 1021") is not null, "a number that is off by 2.1 % passes");
        Expect.True(CodeBlock.Difference("S = 1000", "T = 1000") is not null, "another word passes");
        Expect.True(CodeBlock.Difference("S = 1000", "S = 1000\nT = 5") is not null, "another line passes");
        Expect.True(CodeBlock.Difference("S = 1000", "S = NaN") is not null, "NaN passes");
        Expect.Equal(null, CodeBlock.Difference("a 1\n…\nd 4\n…", "a 1\nb 2\nc 3\nd 4\ne 5"));
        Expect.Equal(null, CodeBlock.Difference("…\nd 4", "a 1\nb 2\nd 4"));
        Expect.True(CodeBlock.Difference("a 1\n…", "b 1\na 1") is not null, "another line before what is left out passes");
        Expect.True(CodeBlock.Difference("…\nd 4", "d 4\ne 5") is not null, "another line after what is left out passes");
        Expect.True(CodeBlock.Difference("a 1\n…\nd 4", "a 1\nb 2") is not null, "a line that is missing passes");
        Expect.True(CodeBlock.Difference("a 1\n…\nd 4", "a 1\nb 2\nd 5") is not null, "another number behind what is left out passes");
    }

    [GeneratedRegex(@"`((?:[A-Z_]+=\S+ )*(?:dotnet run|dotnet add package|\./build\.sh) [^`\n]*)`")]
    private static partial Regex InlineCommand();

    [GeneratedRegex(@"(^|\s)#.*$")]
    private static partial Regex Comment();

    [GeneratedRegex(@"^[A-Z_]+=")]
    private static partial Regex Assignment();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();
}
